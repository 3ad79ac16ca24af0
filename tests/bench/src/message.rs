//! Messages as Postfix hands them to a milter: fields with LF folds, body with
//! CRLF.

use crate::{
    arguments::{Algorithm, Run, Scenario},
    keys,
    signer::{Canonicalization::Relaxed, Key, Signer},
};
use std::{fs, io, path::Path};

const FIELDS: [&str; 5] = ["from", "to", "subject", "date", "message-id"];

/// As many octets as fit a line, and look like text to a canonicalization.
const LINE: &str = "The quick brown fox jumps over the lazy dog, and  goes on to do so again.\r\n";

pub struct Message {
    /// Name and value; the value begins with what follows the colon.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The messages that a run sends in turn.
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

/// A message of `size` octets, if its header leaves room for them.
fn text(number: usize, domain: &str, size: usize) -> String {
    let mut text = format!(
        "Received: from client.{domain} (client.{domain} [192.0.2.7])\r\n\
         \tby mail.{domain} (Postfix) with ESMTPS id 4F9D195432C\r\n\
         \tfor <r0@opted-in.example>; Mon, 2 Mar 2026 10:00:00 +0000 (UTC)\r\n\
         From: Sender <sender@{domain}>\r\nTo: r0@opted-in.example\r\n\
         Subject: Message number {number} of the bench\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <{number}@{domain}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\
         Content-Transfer-Encoding: 7bit\r\nX-Mailer: milter-load\r\n\r\n"
    );
    while text.len() + LINE.len() <= size {
        text.push_str(LINE);
    }
    let rest = size.saturating_sub(text.len() + 2);
    text.push_str(&"x".repeat(rest));
    text.push_str("\r\n");
    text
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
