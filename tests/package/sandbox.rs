//! Applies the drop-ins in docs/operations.md that loosen the service's sandbox. Without
//! each the check fails, with it it succeeds, so none grants more than is needed.

use super::debian::Debian;
use std::{fs, io};

const PAGE: &str = include_str!("../../docs/operations.md");

struct Case {
    heading: &'static str,
    /// The existing configuration.
    given: &'static str,
    /// A check in addition to the running service.
    check: &'static str,
}

const CASES: [Case; 8] = [
    Case {
        heading: "A unix socket of another group",
        given: "true",
        check: "runuser -u postfix -- test -w /run/sixgate/milter.sock",
    },
    Case {
        heading: "A unix socket in another directory",
        given: "install -d -o sixgate -g sixgate /var/spool/postfix/sixgate",
        check: "test -S /var/spool/postfix/sixgate/milter.sock",
    },
    Case {
        heading: "A port below 1024",
        given: "true",
        check: "grep -q '^ *[0-9]*: 0100007F:030F 00000000:0000 0A' /proc/net/tcp",
    },
    Case {
        heading: "Lists that only a group may read",
        given: "groupadd --system customers && install -d -m 750 -g customers /srv/customers && \
                echo open.example >/srv/customers/their.list",
        check: "true",
    },
    Case {
        heading: "Lists below /home",
        given: "mkdir -p /home/customers/opt-in && \
                echo open.example >/home/customers/opt-in/their.list",
        check: "true",
    },
    Case {
        heading: "Lists on a mounted file system",
        given: "mkdir -p /srv/server /net/customers && \
                echo open.example >/srv/server/their.list && \
                printf '[Mount]\\nWhat=/srv/server\\nWhere=/net/customers\\nOptions=bind\\n' \
                  >/run/systemd/system/net-customers.mount",
        check: "mountpoint -q /net/customers",
    },
    Case {
        heading: "A log file",
        given: "true",
        // A separate thread writes the lines, all of them before the exit.
        check: "systemctl stop sixgate && grep -q 'ready version' /var/log/sixgate.log",
    },
    Case {
        heading: "Another configuration file",
        given: "mkdir -p /etc/mail && echo 'mode: observe' >/etc/mail/sixgate.yaml",
        check: "systemctl reload sixgate && \
                grep -qa /etc/mail/sixgate.yaml /proc/$(systemctl show -P MainPID sixgate)/cmdline",
    },
];

const TIDY_UP: &str = "systemctl disable --quiet --now sixgate.socket; \
    systemctl stop sixgate net-customers.mount; systemctl revert sixgate sixgate.socket; \
    rm -rf /run/systemd/system/net-customers.mount /home/customers /net /etc/mail \
      /var/spool/postfix/sixgate; \
    groupdel customers; systemctl daemon-reload; systemctl reset-failed";

/// Restores the system.
pub fn is_loosened_as_documented(system: &Debian) -> io::Result<()> {
    let file = system.root().join("etc/sixgate/milter.yaml");
    let configuration = fs::read_to_string(&file)?;
    let recipes = recipes();
    let headings: Vec<_> = recipes.iter().map(|recipe| recipe.heading).collect();
    assert_eq!(headings, CASES.each_ref().map(|case| case.heading));
    for (case, recipe) in CASES.iter().zip(&recipes) {
        fs::write(&file, recipe.block("/etc/sixgate/milter.yaml"))?;
        try_out(system, case, recipe)
            .map_err(|error| io::Error::other(format!("{}: {error}", case.heading)))?;
        system.run(TIDY_UP)?;
    }
    fs::write(&file, configuration)?;
    system.run("systemctl restart sixgate").map(drop)
}

fn try_out(system: &Debian, case: &Case, recipe: &Recipe) -> io::Result<()> {
    system.run(case.given)?;
    let plain = system.run(&format!("systemctl restart sixgate && {}", case.check));
    if plain.is_ok() {
        return Err(io::Error::other("it is not needed"));
    }
    edit(
        system,
        "sixgate.service",
        recipe.block("systemctl edit sixgate"),
    )?;
    edit(
        system,
        "sixgate.socket",
        recipe.block("systemctl edit sixgate.socket"),
    )?;
    system.run("systemctl daemon-reload && systemctl reset-failed sixgate")?;
    system.run(&format!(
        "set -e\n{}\nsystemctl restart sixgate\n{}",
        recipe.block("shell"),
        case.check
    ))?;
    Ok(())
}

/// Like `systemctl edit`.
fn edit(system: &Debian, unit: &str, text: &str) -> io::Result<()> {
    let folder = format!("etc/systemd/system/{unit}.d");
    let folder = system.root().join(folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("override.conf"), text)
}

/// Returns the code blocks of the section by their first line after "# ".
struct Recipe {
    heading: &'static str,
    blocks: Vec<(&'static str, String)>,
}

impl Recipe {
    fn parse(part: &'static str) -> Self {
        let (heading, text) = part.split_once('\n').unwrap_or((part, ""));
        let mut blocks: Vec<(_, String)> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
            match (line.strip_prefix("# "), blocks.last_mut()) {
                (Some(what), _) => blocks.push((what, String::new())),
                (None, Some((_, text))) => *text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        Self { heading, blocks }
    }

    fn block(&self, what: &str) -> &str {
        let found = self.blocks.iter().find(|(name, _)| *name == what);
        found.map_or("", |(_, text)| text)
    }
}

fn recipes() -> Vec<Recipe> {
    let (_, section) = PAGE.split_once("\n## The sandbox\n").unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let parts = section.split("\n### ").skip(1);
    parts.map(Recipe::parse).collect()
}
