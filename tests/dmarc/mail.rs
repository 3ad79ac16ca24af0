//! The test messages, and the DNS records of their senders.

use super::signer::{Canonicalization, Key, Signer};
use std::net::IpAddr;

/// Keys of the signers.
pub struct Keys {
    rsa: Key,
}

impl Keys {
    pub fn generate() -> Self {
        Self { rsa: Key::rsa() }
    }
}

/// One message.
pub struct Mail {
    pub name: String,
    pub client: IpAddr,
    pub helo: &'static str,
    pub from: &'static str,
    pub message: String,
    want: Verdict,
}

/// What OpenDMARC is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub behind_sixgate: &'static str,
    pub behind_the_others: &'static str,
}

impl Verdict {
    const fn same(verdict: &'static str) -> Self {
        Self {
            behind_sixgate: verdict,
            behind_the_others: verdict,
        }
    }

    pub fn of(mail: &Mail) -> Self {
        mail.want
    }

    pub fn is_same(&self) -> bool {
        self.behind_sixgate == self.behind_the_others
    }
}

const PASS: Verdict = Verdict::same("pass");
const FAIL: Verdict = Verdict::same("fail");
const NONE: Verdict = Verdict::same("none");

/// The hosts: their names are their HELO names, and their addresses `2001:db8:1::N` and
/// `192.0.2.N`.
const HOSTS: [(&str, u8); 5] = [
    ("mail.good.example", 10),
    ("mail.esp.example", 20),
    ("mail.list.example", 30),
    ("mail.forwarder.example", 40),
    ("mail.stranger.example", 50),
];

/// The records of all senders.
pub fn zone(keys: &Keys) -> String {
    let mut zone = String::new();
    for (host, number) in HOSTS {
        let domain = host.strip_prefix("mail.").unwrap_or(host);
        zone += &format!(
            "2001:db8:1::{number} PTR {host}\n{host} AAAA 2001:db8:1::{number}\n\
             192.0.2.{number} PTR {host}\n{host} A 192.0.2.{number}\n\
             {host} TXT \"v=spf1 a -all\"\n\
             {domain} TXT \"v=spf1 a:{host} -all\"\n{domain} MX 10 {host}\n"
        );
    }
    let key = format!("\"v=DKIM1; k=rsa; p={}\"", keys.rsa.public());
    for domain in [
        "good",
        "mail.good",
        "strict",
        "news.strict",
        "esp",
        "list",
        "quarantine",
        "subdomains",
    ] {
        for selector in ["s", "second"] {
            zone += &format!("{selector}._domainkey.{domain}.example TXT {key}\n");
        }
    }
    zone += "\
_dmarc.good.example TXT \"v=DMARC1; p=reject\"
_dmarc.strict.example TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"
_dmarc.quarantine.example TXT \"v=DMARC1; p=quarantine\"
_dmarc.monitored.example TXT \"v=DMARC1; p=none\"
_dmarc.subdomains.example TXT \"v=DMARC1; p=none; sp=reject\"
_dmarc.list.example TXT \"v=DMARC1; p=none\"
_dmarc.esp.example TXT \"v=DMARC1; p=reject\"
_dmarc.soft.example TXT \"v=DMARC1; p=reject\"
_dmarc.neutral.example TXT \"v=DMARC1; p=reject\"
_dmarc.twice.example TXT \"v=DMARC1; p=reject\"
_dmarc.broken.example TXT \"v=DMARC1; p=reject\"
_dmarc.bare.example TXT \"v=DMARC1; p=reject\"
bounces.good.example TXT \"v=spf1 a:mail.good.example a:mail.esp.example -all\"
strict.example TXT \"v=spf1 a:mail.good.example -all\"
news.strict.example TXT \"v=spf1 a:mail.good.example -all\"
quarantine.example TXT \"v=spf1 a:mail.good.example -all\"
monitored.example TXT \"v=spf1 a:mail.good.example -all\"
subdomains.example TXT \"v=spf1 a:mail.good.example -all\"
soft.example TXT \"v=spf1 ~all\"
neutral.example TXT \"v=spf1 ?all\"
twice.example TXT \"v=spf1 +all\"
twice.example TXT \"v=spf1 -all\"
broken.example SERVFAIL
unpublished.example TXT \"v=spf1 a:mail.good.example -all\"
";
    zone
}

/// How a message is made, for each family of clients.
struct Recipe {
    name: &'static str,
    host: &'static str,
    from: &'static str,
    author: &'static str,
    /// Signatures from the innermost one on: domain, selector, and whether the body is
    /// changed afterwards.
    signed: &'static [(&'static str, &'static str, Fate)],
    /// Header fields in front.
    fields: &'static str,
    want: Verdict,
}

/// What happens to a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// The body is changed behind it.
    Broken,
}

use Fate::{Broken, Kept};

const DIRECT: Recipe = Recipe {
    name: "aligned SPF and DKIM",
    host: "mail.good.example",
    from: "<a@good.example>",
    author: "a@good.example",
    signed: &[("good.example", "s", Kept)],
    fields: "",
    want: PASS,
};

/// Everything but the messages with which the two sets are known to differ.
const RECIPES: [Recipe; 41] = [
    DIRECT,
    Recipe {
        name: "aligned SPF alone",
        signed: &[],
        ..DIRECT
    },
    Recipe {
        name: "SPF aligned by a subdomain",
        from: "<a@bounces.good.example>",
        signed: &[],
        ..DIRECT
    },
    Recipe {
        name: "aligned DKIM alone",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        ..DIRECT
    },
    Recipe {
        name: "DKIM aligned by a subdomain",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[("mail.good.example", "s", Kept)],
        ..DIRECT
    },
    // OpenDMARC 1.4.2 takes these two, whoever is in front of it.
    Recipe {
        name: "DKIM aligned by a subdomain, where that is not enough",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        author: "a@strict.example",
        signed: &[("news.strict.example", "s", Kept)],
        ..DIRECT
    },
    Recipe {
        name: "SPF aligned by a subdomain, where that is not enough",
        from: "<a@news.strict.example>",
        author: "a@strict.example",
        signed: &[],
        ..DIRECT
    },
    Recipe {
        name: "strictly aligned SPF",
        from: "<a@strict.example>",
        author: "a@strict.example",
        signed: &[],
        ..DIRECT
    },
    Recipe {
        name: "strictly aligned DKIM",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        author: "a@strict.example",
        signed: &[("strict.example", "s", Kept)],
        ..DIRECT
    },
    Recipe {
        name: "nothing aligned, reject",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[("esp.example", "s", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "nothing aligned, quarantine",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        author: "a@quarantine.example",
        signed: &[("esp.example", "s", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "nothing aligned, none",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        author: "a@monitored.example",
        signed: &[("esp.example", "s", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "nothing aligned, a subdomain by sp=",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        author: "a@any.subdomains.example",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "an aligned subdomain without a record of its own",
        from: "<a@subdomains.example>",
        author: "a@any.subdomains.example",
        signed: &[],
        ..DIRECT
    },
    Recipe {
        name: "no DMARC record",
        from: "<a@unpublished.example>",
        author: "a@unpublished.example",
        signed: &[],
        want: NONE,
        ..DIRECT
    },
    Recipe {
        name: "neither SPF nor DKIM",
        host: "mail.stranger.example",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "a changed message",
        host: "mail.stranger.example",
        signed: &[("good.example", "s", Broken)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "forwarded",
        host: "mail.forwarder.example",
        ..DIRECT
    },
    Recipe {
        name: "forwarded with a sender of the forwarder's",
        host: "mail.forwarder.example",
        from: "<SRS0=xxxx=yy=good.example=a@forwarder.example>",
        ..DIRECT
    },
    Recipe {
        name: "forwarded without a signature",
        host: "mail.forwarder.example",
        from: "<SRS0=xxxx=yy=good.example=a@forwarder.example>",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "forwarded and changed",
        host: "mail.forwarder.example",
        signed: &[("good.example", "s", Broken)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "by a list that changes the body",
        host: "mail.list.example",
        from: "<list-bounces@list.example>",
        signed: &[("good.example", "s", Broken)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "by a list that changes the body and signs",
        host: "mail.list.example",
        from: "<list-bounces@list.example>",
        signed: &[("good.example", "s", Broken), ("list.example", "s", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "by a list that changes nothing",
        host: "mail.list.example",
        from: "<list-bounces@list.example>",
        fields: "List-Id: <list.list.example>\r\n",
        ..DIRECT
    },
    Recipe {
        name: "by a list that rewrites From",
        host: "mail.list.example",
        from: "<list-bounces@list.example>",
        author: "list@list.example",
        signed: &[("list.example", "s", Kept)],
        ..DIRECT
    },
    // OpenDMARC 1.4.2 aligns no HELO name.
    Recipe {
        name: "null sender, aligned HELO name",
        from: "<>",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "null sender, another HELO name",
        host: "mail.esp.example",
        from: "<>",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "null sender, aligned DKIM",
        host: "mail.forwarder.example",
        from: "<>",
        ..DIRECT
    },
    Recipe {
        name: "null sender, broken DKIM",
        host: "mail.forwarder.example",
        from: "<>",
        signed: &[("good.example", "s", Broken)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "two signatures, the aligned one passes",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[("esp.example", "s", Broken), ("good.example", "s", Kept)],
        ..DIRECT
    },
    Recipe {
        name: "two signatures, the other one passes",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[("good.example", "s", Broken), ("esp.example", "s", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "three signatures, the second of the author passes",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[
            ("good.example", "s", Broken),
            ("esp.example", "s", Kept),
            ("good.example", "second", Kept),
        ],
        ..DIRECT
    },
    Recipe {
        name: "three signatures of others besides",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[
            ("good.example", "s", Kept),
            ("esp.example", "s", Kept),
            ("list.example", "second", Kept),
        ],
        ..DIRECT
    },
    Recipe {
        name: "an aligned HELO name, and a sender without an SPF record",
        from: "<a@bare.example>",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "an aligned HELO name, and a sender that fails",
        from: "<a@soft.example>",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "softfail",
        host: "mail.stranger.example",
        from: "<a@soft.example>",
        author: "a@soft.example",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "neutral",
        host: "mail.stranger.example",
        from: "<a@neutral.example>",
        author: "a@neutral.example",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "permerror: two SPF records",
        host: "mail.stranger.example",
        from: "<a@twice.example>",
        author: "a@twice.example",
        signed: &[],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "a key that is not there",
        host: "mail.stranger.example",
        signed: &[("good.example", "gone", Kept)],
        want: FAIL,
        ..DIRECT
    },
    Recipe {
        name: "SPF is not known now, DKIM passes",
        from: "<a@broken.example>",
        ..DIRECT
    },
    Recipe {
        name: "forged results, which are removed",
        host: "mail.stranger.example",
        signed: &[],
        fields: "Authentication-Results: mx.sixgate.test; dkim=pass header.d=other.example\r\n\
                 Authentication-Results: elsewhere.example; dkim=pass header.d=good.example\r\n",
        want: FAIL,
        ..DIRECT
    },
];

/// Where the two sets differ, and what each makes OpenDMARC say.
const DIFFERENT: [Recipe; 1] = [
    // OpenDKIM verifies three signatures (MaximumSignaturesToVerify), and sixgate those of
    // the author's domain first.
    Recipe {
        name: "eight signatures",
        host: "mail.esp.example",
        from: "<a@esp.example>",
        signed: &[
            ("list.example", "s", Kept),
            ("esp.example", "s", Kept),
            ("list.example", "second", Kept),
            ("esp.example", "second", Kept),
            ("quarantine.example", "s", Kept),
            ("quarantine.example", "second", Kept),
            ("good.example", "second", Kept),
            ("good.example", "s", Kept),
        ],
        want: Verdict {
            behind_sixgate: "pass",
            behind_the_others: "fail",
        },
        ..DIRECT
    },
];

/// All messages, each from a client of either family.
pub fn all(keys: &Keys) -> Vec<Mail> {
    let recipes = RECIPES.iter().chain(&DIFFERENT);
    recipes
        .flat_map(|recipe| ["IPv6", "IPv4"].map(|family| recipe.make(family, keys)))
        .collect()
}

impl Recipe {
    fn make(&self, family: &str, keys: &Keys) -> Mail {
        let host = HOSTS.iter().find(|(name, _)| *name == self.host);
        let (helo, number) = *host.expect("a host");
        let client = match family {
            "IPv6" => format!("2001:db8:1::{number}"),
            _ => format!("192.0.2.{number}"),
        };
        Mail {
            name: format!("{} over {family}", self.name),
            client: client.parse().expect("an address"),
            helo,
            from: self.from,
            message: self.message(keys),
            want: self.want,
        }
    }

    fn message(&self, keys: &Keys) -> String {
        let mut message = format!(
            "From: {}\r\nTo: b@contoso.example\r\nSubject: {}\r\n\
             Date: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\nIt says this.\r\n",
            self.author, self.name
        );
        for &(domain, selector, fate) in self.signed {
            let signer = Signer {
                key: &keys.rsa,
                domain,
                selector,
                header: Canonicalization::Relaxed,
                body: Canonicalization::Relaxed,
                fields: &["from", "to", "subject", "date"],
                tags: "",
            };
            message = match fate {
                Kept => signer.sign(&message),
                Broken => signer
                    .sign(&message.replace("It says this.", "It said this."))
                    .replace("It said this.", "It says this."),
            };
        }
        format!("{}{message}", self.fields)
    }
}
