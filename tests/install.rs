//! Installation without the Debian package, and the supported glibc.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

#[test]
#[ignore = "builds a clean checkout"]
fn a_clean_checkout_installs_below_a_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let [checkout, root] = ["checkout", "root"].map(|name| folder.path().join(name));
    run(Command::new("git")
        .args(["clone", "--quiet", env!("CARGO_MANIFEST_DIR")])
        .arg(&checkout));
    let install = || {
        run(Command::new(checkout.join("packaging/install.sh"))
            .arg("--debug")
            .env("DESTDIR", &root)
            // Reuses compiled crates.
            .env(
                "CARGO_TARGET_DIR",
                concat!(env!("CARGO_MANIFEST_DIR"), "/target"),
            ))
    };
    install();

    let program = root.join("usr/local/sbin/sixgate");
    let version = run(Command::new(&program).arg("--version")).stdout;
    let want = concat!("sixgate ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&version), want);

    let configuration = root.join("etc/sixgate/milter.yaml");
    let text = fs::read_to_string(&configuration).expect("a configuration");
    assert!(text.contains("\nmode: observe\n"), "{text}");
    run(Command::new(&program)
        .args(["check-config", "-c"])
        .arg(&configuration));
    run(Command::new("man")
        .arg("-l")
        .arg(root.join("usr/local/share/man/man8/sixgate.8")));
    for file in [
        "etc/systemd/system/sixgate.socket",
        "etc/sysusers.d/sixgate.conf",
        "etc/tmpfiles.d/sixgate.conf",
        "usr/local/share/bash-completion/completions/sixgate",
        "usr/local/share/man/man5/milter.yaml.5",
        "usr/local/share/doc/sixgate/docs/rollout.md",
    ] {
        assert!(root.join(file).exists(), "{file}");
    }
    let unit = root.join("etc/systemd/system/sixgate.service");
    let unit = fs::read_to_string(unit).expect("a unit");
    assert!(
        unit.contains("ExecStart=/usr/local/sbin/sixgate serve"),
        "{unit}"
    );

    // The second installation keeps the administrator's configuration.
    fs::write(&configuration, "mode: enforce\n").expect("a file");
    install();
    let kept = fs::read_to_string(&configuration).expect("a configuration");
    assert_eq!(kept, "mode: enforce\n");
}

/// The versions of glibc that docs/install.md names for programs built on Debian 12 and 13.
const GLIBC: [(u32, u32); 2] = [(2, 34), (2, 39)];

#[test]
fn the_program_runs_with_the_glibc_that_the_documentation_names() {
    let program = Path::new(env!("CARGO_BIN_EXE_sixgate"));
    let symbols = run(Command::new("objdump").arg("--dynamic-syms").arg(program)).stdout;
    let symbols = String::from_utf8_lossy(&symbols);
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (major, minor) = rest[..end].split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let needed: Option<(u32, u32)> = versions.max();
    let debian = fs::read_to_string("/etc/debian_version").unwrap_or_default();
    assert_eq!(needed, Some(GLIBC[usize::from(debian.starts_with("13"))]));
    let page = include_str!("../docs/install.md");
    for (major, minor) in GLIBC {
        let named = format!("glibc {major}.{minor}");
        assert!(page.contains(&named), "{named}");
    }
}
