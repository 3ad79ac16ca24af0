//! Writes samples of each class of difference to the folder `SIXGATE_FUZZ_SAMPLES`, for other
//! verifiers (`judges/`).

use super::{Case, key_name};
use crate::zone::Found;
use sixgate::dkim::SignatureResult;
use std::{collections::HashMap, env, fs, path::PathBuf};

/// The maximum number of samples for each class.
const PER_CLASS: u32 = 5;

/// The samples that were written.
pub(super) struct Samples {
    folder: Option<PathBuf>,
    written: HashMap<&'static str, u32>,
}

impl Samples {
    pub(super) fn from_environment() -> Self {
        Self {
            folder: env::var_os("SIXGATE_FUZZ_SAMPLES").map(PathBuf::from),
            written: HashMap::new(),
        }
    }

    /// Writes a case, unless there are enough samples of its class. The message must have
    /// exactly one signature, so that a verdict about the message is one about the signature.
    ///
    /// # Panics
    /// If the files can't be written.
    pub(super) fn add(&mut self, class: &'static str, case: &Case, ours: &[SignatureResult]) {
        let (Some(folder), [our]) = (&self.folder, ours) else {
            return;
        };
        // Not every judge has Ed25519, and most change line breaks that are not CRLF.
        let is_rsa = our.algorithm.as_deref() == Some("rsa-sha256");
        if !is_ascii_with_crlf(&case.message.to_bytes())
            || !(is_rsa || class.starts_with("RFC 8463"))
        {
            return;
        }
        // Of several key records, each program uses a different one.
        let name = key_name(our);
        let records: Vec<String> = match case.zone.txt.get(&name) {
            Some(Found::Records(texts)) => texts.iter().map(|text| latin1(text)).collect(),
            Some(Found::Fails) | None => Vec::new(),
        };
        if records.len() > 1 && !class.starts_with("6.1.2") {
            return;
        }
        let written = self.written.entry(class).or_default();
        if *written == PER_CLASS {
            return;
        }
        *written += 1;
        let mark = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let file: String = class.chars().map(mark).collect();
        let file = folder.join(format!("{file}-{written}"));
        let facts = serde_json::json!({
            "class": class,
            "sixgate": our.result.word(),
            "reason": our.reason,
            "name": latin1(&name),
            "records": records,
        });
        fs::write(file.with_extension("eml"), case.message.to_bytes()).expect("a message");
        fs::write(file.with_extension("json"), facts.to_string()).expect("its facts");
    }
}

/// Returns whether a message is ASCII and has no line breaks other than CRLF.
fn is_ascii_with_crlf(bytes: &[u8]) -> bool {
    let rest = String::from_utf8_lossy(bytes).replace("\r\n", "");
    rest.is_ascii() && !rest.contains(['\r', '\n'])
}

/// Decodes ISO 8859-1.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
