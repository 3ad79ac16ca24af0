//! The messages that dialogues send, by name.

use super::signer::{Canonicalization, Key, Signer};
use Canonicalization::{Relaxed, Simple};

/// The keys that messages are signed with.
pub struct Keys {
    pub rsa: Key,
    pub ed25519: Key,
}

impl Keys {
    pub fn generate() -> Self {
        Self {
            rsa: Key::rsa(),
            ed25519: Key::ed25519(),
        }
    }
}

/// The id of the MTA in Authentication-Results fields.
pub const AUTHSERV_ID: &str = "mx.sixgate.test";

const SIGNED: [&str; 4] = ["From", "To", "Subject", "Date"];

/// Returns the message of that name with CRLF lines, without dot stuffing. It contains the
/// token outside the signed part.
pub fn message(name: &str, token: &str, keys: &Keys) -> String {
    let mark = format!("X-Dialogue: {token}\r\n");
    let text = match name {
        // It has no field for the token.
        "without-headers" => return format!("\r\nnothing but a body, {token}\r\n"),
        name => by_name(name, keys),
    };
    mark + &text
}

fn by_name(name: &str, keys: &Keys) -> String {
    let rsa = Signer {
        key: &keys.rsa,
        domain: "signed.example",
        selector: "rsa",
        header: Relaxed,
        body: Relaxed,
        fields: &SIGNED,
        tags: "",
    };
    let ed25519 = Signer {
        key: &keys.ed25519,
        selector: "ed25519",
        ..rsa
    };
    match name {
        "plain" => plain(),
        "empty-body" => empty_body(),
        "dots" => dots(),
        "forged-results" => forged_results() + &plain(),
        "8bit" => eight_bit(),
        "utf8-header" => utf8_header(),
        "many-fields" => many_fields() + &plain(),

        "rsa-relaxed" => rsa.sign(&plain()),
        "rsa-simple" => rsa.canonical(Simple, Simple).sign(&untidy()),
        "rsa-relaxed-simple" => rsa.canonical(Relaxed, Simple).sign(&untidy()),
        "rsa-simple-relaxed" => rsa.canonical(Simple, Relaxed).sign(&untidy()),
        "rsa-folded-simple" => rsa.canonical(Simple, Simple).sign(&folded()),
        "rsa-folded-relaxed" => rsa.sign(&folded()),
        "rsa-dots" => rsa.sign(&dots()),
        "rsa-empty-body" => rsa.sign(&empty_body()),
        "rsa-many-fields" => many_fields() + &rsa.sign(&plain()),
        "rsa-forged-results" => forged_results() + &rsa.sign(&plain()),
        "rsa-30-megabytes" => rsa.sign(&huge()),
        "rsa-8bit" => rsa.sign(&eight_bit()),
        "rsa-8bit-simple" => rsa.canonical(Simple, Simple).sign(&eight_bit()),
        "rsa-utf8-header" => rsa.sign(&utf8_header()),
        "rsa-utf8-domain" => rsa.domain("bücher.example").sign(&utf8_header()),
        "ed25519-relaxed" => ed25519.sign(&plain()),
        "ed25519-simple" => ed25519.canonical(Simple, Simple).sign(&untidy()),

        "rsa-broken-body" => rsa.sign(&plain()) + "one line more\r\n",
        "rsa-broken-header" => rsa.sign(&plain()).replace("Subject: ", "Subject: Re: "),
        "rsa-expired" => rsa.tags("t=1000000000; x=1000000060; ").sign(&plain()),
        "rsa-body-in-part" => rsa.tags("l=10; ").sign(&plain()),
        "rsa-without-from" => rsa.fields(&["To", "Subject"]).sign(&plain()),
        "rsa-key-missing" => rsa.selector("missing").sign(&plain()),
        "rsa-key-revoked" => rsa.selector("revoked").sign(&plain()),
        "rsa-key-testing" => rsa.selector("testing").sign(&plain()),
        "rsa-selector-with-underscore" => rsa.selector("default_1807").sign(&plain()),
        "rsa-key-among-others" => rsa.selector("several").sign(&plain()),
        "rsa-key-only-tokens" => rsa.selector("tokens").sign(&plain()),
        "rsa-key-servfail" => rsa.selector("servfail").sign(&plain()),
        "rsa-key-silent" => rsa.selector("silent").sign(&plain()),
        "ed25519-broken-body" => ed25519.sign(&plain()) + "one line more\r\n",

        "rsa-bad-above-good" => rsa.selector("missing").sign(&rsa.sign(&plain())),
        "rsa-good-above-bad" => rsa.sign(&rsa.selector("missing").sign(&plain())),
        "rsa-third-party" => rsa.domain("list.example").sign(&plain()),
        other => panic!("there is no message {other:?}"),
    }
}

impl<'a> Signer<'a> {
    fn canonical(self, header: Canonicalization, body: Canonicalization) -> Self {
        Self {
            header,
            body,
            ..self
        }
    }

    fn domain(self, domain: &'a str) -> Self {
        Self { domain, ..self }
    }

    fn selector(self, selector: &'a str) -> Self {
        Self { selector, ..self }
    }

    fn fields(self, fields: &'a [&'a str]) -> Self {
        Self { fields, ..self }
    }

    fn tags(self, tags: &'a str) -> Self {
        Self { tags, ..self }
    }
}

fn plain() -> String {
    "From: Alice <a@signed.example>\r\n\
     To: b@open.example\r\n\
     Subject: A dialogue\r\n\
     Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
     \r\n\
     Hello,\r\n\
     \r\n\
     this is all.\r\n"
        .to_owned()
}

fn empty_body() -> String {
    "From: a@signed.example\r\n\r\n".to_owned()
}

fn dots() -> String {
    plain() + ".\r\n..\r\n.dot in front\r\n"
}

/// For BODY=8BITMIME.
fn eight_bit() -> String {
    "MIME-Version: 1.0\r\n\
     Content-Type: text/plain; charset=utf-8\r\n\
     Content-Transfer-Encoding: 8bit\r\n"
        .to_owned()
        + &plain()
        + "Grüße aus Köln\r\n"
}

/// For SMTPUTF8.
fn utf8_header() -> String {
    let (from, subject) = ("Alice <a@signed.example>", "A dialogue");
    plain()
        .replace(from, "Jürgen <jürgen@bücher.example>")
        .replace(subject, "Grüße")
}

/// White space that only `simple` considers.
fn untidy() -> String {
    "From:Alice   <a@signed.example>\r\n\
     To:\tb@open.example\r\n\
     Subject:  two  spaces \r\n\
     Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
     \r\n\
     Hello,  \r\n\
     \tthis is  all.\r\n\
     \r\n\
     \r\n"
        .to_owned()
}

/// The client folds with CRLF; the milter receives LF.
fn folded() -> String {
    "From: Alice\r\n\
     \x20<a@signed.example>\r\n\
     To: b@open.example,\r\n\
     \tc@open.example\r\n\
     Subject: a subject\r\n\
     \x20 that goes on\r\n\
     \t and on\r\n\
     Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
     \r\n\
     Hello\r\n"
        .to_owned()
}

/// Three with our authserv-id, in several spellings, and one with another.
fn forged_results() -> String {
    format!(
        "Authentication-Results: {AUTHSERV_ID}; spf=pass smtp.mailfrom=forged.example\r\n\
         Authentication-Results: elsewhere.example; spf=pass smtp.mailfrom=kept.example\r\n\
         authentication-results:\r\n\t{};\r\n\tdkim=pass header.d=forged.example\r\n\
         Authentication-Results: \"{AUTHSERV_ID}\"; iprev=pass policy.iprev=forged.example\r\n",
        AUTHSERV_ID.to_ascii_uppercase()
    )
}

fn many_fields() -> String {
    let fields = (0..2000).map(|number| format!("X-Field-{number}: some value or other\r\n"));
    fields.collect()
}

fn huge() -> String {
    let line = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ +-/\r\n";
    let mut text = plain();
    text.push_str(&line.repeat(30_000_000 / line.len()));
    text
}

/// Ready for DATA: dots stuffed (RFC 5321 section 4.5.2), the final one added.
pub fn stuffed(message: &str) -> String {
    let mut text = message.replace("\r\n.", "\r\n..");
    if text.starts_with('.') {
        text.insert(0, '.');
    }
    text.push_str(".\r\n");
    text
}
