//! Messages as Postfix sends them to a milter: folded fields with LF, the body with CRLF.

use crate::{
    arguments::{Algorithm, Run, Scenario},
    keys,
    signer::{Canonicalization::Relaxed, Key, Signer},
};
use std::{fs, io, path::Path};

const FIELDS: [&str; 5] = ["from", "to", "subject", "date", "message-id"];

/// A line of text, with white space that canonicalization changes.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and  goes on to do so again.\r\n";

/// The size from which a message is an attachment instead of text.
const ATTACHMENT: usize = 64 * 1024;

pub struct Message {
    /// Names and values; a value begins directly after the colon.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Returns the messages that a run sends in turn.
pub fn pool(run: &Run) -> io::Result<Vec<Message>> {
    if !run.message_file.is_empty() {
        let read = |file| fs::read_to_string(file).map(|text| Message::parse(&with_crlf(&text)));
        return run.message_file.iter().map(read).collect();
    }
    let key = keys::read(&run.keys, run.algorithm)?;
    let signatures = match run.scenario {
        Scenario::Unauthenticated => 0,
        Scenario::SpfPass
        | Scenario::DkimPass
        | Scenario::NoPtr
        | Scenario::NotOptedIn
        | Scenario::Ipv4 => run.signatures,
    };
    Ok((0..run.pool)
        .map(|number| Message::parse(&signed(number, run.size, &key, signatures)))
        .collect())
}

/// Prints a message of 4 KB with an RSA signature.
pub fn print(keys: &Path) -> io::Result<()> {
    let key = keys::read(keys, Algorithm::Rsa)?;
    print!("{}", signed(0, 4096, &key, 1).replace("\r\n", "\n"));
    Ok(())
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn signed(number: usize, size: usize, key: &Key, signatures: usize) -> String {
    let domain = match key {
        Key::Rsa(_) => format!("d{number}.signer.example"),
        Key::Ed25519(_) => format!("d{number}.ed25519.example"),
    };
    let mut message = text(number, &domain, size);
    for signature in 0..signatures {
        let selector = format!("s{signature}");
        let signer = Signer {
            key,
            domain: &domain,
            selector: &selector,
            header: Relaxed,
            body: Relaxed,
            fields: &FIELDS,
            tags: "",
        };
        message = signer.sign(&message);
    }
    message
}

/// Returns a message of at most `size` bytes, unless its header alone is larger.
fn text(number: usize, domain: &str, size: usize) -> String {
    let mut text = format!(
        "Received: from client.{domain} (client.{domain} [192.0.2.7])\r\n\
         \tby mail.{domain} (Postfix) with ESMTPS id 4F9D195432C\r\n\
         \tfor <r0@opted-in.example>; Mon, 2 Mar 2026 10:00:00 +0000 (UTC)\r\n\
         From: Sender <sender@{domain}>\r\nTo: r0@opted-in.example\r\n\
         Subject: Message number {number} of the bench\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <{number}@{domain}>\r\n\
         MIME-Version: 1.0\r\nX-Mailer: milter-load\r\n"
    );
    match size {
        0..ATTACHMENT => {
            text.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
            fill(&mut text, size, || TEXT.to_owned());
        }
        ATTACHMENT.. => {
            text.push_str("Content-Type: application/byte-stream\r\n");
            text.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
            let mut state = number as u64;
            fill(&mut text, size, || base64_line(&mut state));
        }
    }
    text
}

fn fill(text: &mut String, size: usize, mut line: impl FnMut() -> String) {
    let mut next = line();
    while text.len() + next.len() <= size {
        text.push_str(&next);
        next = line();
    }
}

/// Returns a full line of Base64, each time another one.
fn base64_line(state: &mut u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut letter = || {
        // Knuth's MMIX generator. Any generator with a long period would do.
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(ALPHABET[(*state >> 58) as usize])
    };
    let mut line: String = (0..76).map(|_| letter()).collect();
    line.push_str("\r\n");
    line
}

impl Message {
    fn parse(text: &str) -> Self {
        let (header, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in header.split("\r\n") {
            match fields.last_mut() {
                Some((_, value)) if line.starts_with([' ', '\t']) => {
                    value.push('\n');
                    value.push_str(line);
                }
                _ => {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    fields.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        Self {
            fields,
            body: body.as_bytes().to_vec(),
        }
    }
}
