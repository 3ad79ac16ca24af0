//! Messages with known verdicts, and the outcomes that each mask allows.

use crate::{
    masks::Mask,
    signer::{
        Canonicalization::{self, Relaxed, Simple},
        Key, Signer,
    },
};

/// What is true of a message, whatever an MTA hands over of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    SpfPasses,
    NotSigned,
    /// Signed, with this canonicalization of the header, and not changed since.
    Valid(Canonicalization),
    /// Changed after signing.
    Changed(Canonicalization),
    /// Signed by somebody without a key record.
    NoKey,
}

pub struct Mail {
    pub name: &'static str,
    pub truth: Truth,
    pub sender: &'static str,
    pub text: String,
    /// Whether a signed field has no space after its colon.
    pub is_tight: bool,
    pub is_forged: bool,
}

/// What comes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is accepted, with these words in its Authentication-Results.
    Pass(&'static str),
    /// It is refused with these words.
    Refused(&'static str),
}

const UNAUTHENTICATED: Want = Want::Refused("450 4.7.26 ");
const TEMPORARY: Want = Want::Refused("451 4.4.3 ");

impl Mail {
    pub fn want(&self, mask: &Mask) -> Want {
        let is_doubtful =
            |header| mask.is_stalwart || (header == Simple && !mask.keeps_leading_space());
        match self.truth {
            Truth::SpfPasses => Want::Pass("spf=pass"),
            Truth::NotSigned | Truth::NoKey => UNAUTHENTICATED,
            Truth::Valid(_) if mask.is_stalwart => TEMPORARY,
            Truth::Valid(header) if is_doubtful(header) && self.is_tight => TEMPORARY,
            Truth::Valid(_) => Want::Pass("dkim=pass"),
            Truth::Changed(header) if is_doubtful(header) => TEMPORARY,
            Truth::Changed(_) => UNAUTHENTICATED,
        }
    }
}

const PLAIN: &str = "From: A <a@signed.example>\r\nTo: b@contoso.com\r\n\
                     Subject: a subject\r\n that is folded\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\n\
                     \r\nHello,\r\n\r\nthis is a text.\r\n";

/// The selector of the key record that there is.
pub const SELECTOR: &str = "s1";

pub fn all(key: &Key) -> Vec<Mail> {
    let sign = |header, selector, message: &str| {
        let signer = Signer {
            key,
            domain: "signed.example",
            selector,
            header,
            body: Relaxed,
            fields: &["From", "To", "Subject", "Date"],
            tags: "",
        };
        signer.sign(message)
    };
    let mail = |name, truth, text| Mail {
        name,
        truth,
        sender: "<a@bad.example>",
        text,
        is_tight: false,
        is_forged: false,
    };
    let tight = PLAIN.replace("Subject: ", "Subject:");
    let quoting = PLAIN.replace(
        "Hello,",
        "From: somebody\r\nTo: somebody else\r\n\r\nHello,",
    );
    // Begins as the signed message does: its first field is the signature.
    let signing = PLAIN.replace("Hello,", "DKIM-Signature: is a field\r\n\r\nHello,");
    let forged = "Authentication-Results: mx.contoso.com; dkim=pass header.d=contoso.com\r\n";
    let mut mails = vec![
        Mail {
            sender: "<a@good.example>",
            ..mail("SPF pass", Truth::SpfPasses, PLAIN.to_owned())
        },
        mail("not signed", Truth::NotSigned, PLAIN.to_owned()),
        mail("no key", Truth::NoKey, sign(Relaxed, "s2", PLAIN)),
        mail(
            "quoting a header",
            Truth::Valid(Relaxed),
            sign(Relaxed, SELECTOR, &quoting),
        ),
        mail(
            "body like its header",
            Truth::Valid(Relaxed),
            sign(Relaxed, SELECTOR, &signing),
        ),
        Mail {
            is_forged: true,
            ..mail(
                "forged results",
                Truth::Valid(Relaxed),
                format!("{forged}{}", sign(Relaxed, SELECTOR, PLAIN)),
            )
        },
    ];
    for (header, [valid, tightly, body, field]) in [
        (
            Relaxed,
            [
                "relaxed",
                "relaxed, no space",
                "relaxed, body changed",
                "relaxed, field changed",
            ],
        ),
        (
            Simple,
            [
                "simple",
                "simple, no space",
                "simple, body changed",
                "simple, field changed",
            ],
        ),
    ] {
        let signed = sign(header, SELECTOR, PLAIN);
        let changed = Truth::Changed(header);
        mails.extend([
            mail(body, changed, signed.replace("a text", "another text")),
            mail(
                field,
                changed,
                signed.replace("a subject", "another subject"),
            ),
            mail(valid, Truth::Valid(header), signed),
            Mail {
                is_tight: true,
                ..mail(
                    tightly,
                    Truth::Valid(header),
                    sign(header, SELECTOR, &tight),
                )
            },
        ]);
    }
    mails
}
