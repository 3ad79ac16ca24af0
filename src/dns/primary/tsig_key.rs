//! The file with the TSIG key: a `key` clause as tsig-keygen and ddns-confgen write it,
//! or `algorithm:name:secret` as nsupdate -y takes it.

use data_encoding::BASE64;
use hickory_proto::rr::{Name, TSigner, rdata::tsig::TsigAlgorithm};
use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

/// The tolerated clock difference in seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;

/// The maximum size of the file in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// A TSIG key. `Debug` does not show the secret.
#[derive(Clone)]
pub struct TsigKey {
    pub(super) signer: TSigner,
    /// Whether every user of this machine can read the file.
    pub is_world_readable: bool,
}

/// Why a key file is invalid. `Display` writes one line, without the secret.
#[derive(Debug)]
pub enum KeyError {
    /// The file can't be read.
    Unreadable(io::Error),
    /// A line is invalid.
    Invalid {
        /// Counted from 1.
        line: usize,
        /// What is wrong and what to write.
        complaint: String,
    },
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.signer.signer_name();
        f.debug_struct("TsigKey").field("name", name).finish()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, " can't be read: {error}"),
            Self::Invalid { line, complaint } => write!(f, "{line}: {complaint}"),
        }
    }
}

const FORM: &str = "write key \"NAME\" { algorithm hmac-sha256; secret \"BASE64\"; }; as \
                    tsig-keygen does, or hmac-sha256:NAME:BASE64";

impl TsigKey {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails if the file can't be read or does not contain exactly one key.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let found = fs::metadata(file).map_err(KeyError::Unreadable)?;
        if !found.is_file() || found.len() > MAX_BYTES {
            return Err(at(1, format!("this is not a file with a key; {FORM}")));
        }
        let text = fs::read_to_string(file).map_err(KeyError::Unreadable)?;
        Ok(Self {
            signer: parse(&text)?,
            is_world_readable: found.mode() & 0o004 != 0,
        })
    }

    /// Returns the name of the key.
    pub fn name(&self) -> String {
        self.signer.signer_name().to_string()
    }
}

fn at(line: usize, complaint: impl Into<String>) -> KeyError {
    KeyError::Invalid {
        line,
        complaint: complaint.into(),
    }
}

fn parse(text: &str) -> Result<TSigner, KeyError> {
    let tokens = tokens(text)?;
    match tokens.as_slice() {
        [] => Err(at(1, format!("there is no key in it; {FORM}"))),
        [(line, Token::Word(word))] if word.contains(':') => short_form(*line, word),
        [
            (_, Token::Word(key)),
            (line, Token::Word(name)),
            (_, Token::Open),
            rest @ ..,
        ] if key.eq_ignore_ascii_case("key") => clause(*line, name, rest),
        [(line, _), ..] => Err(at(*line, format!("this is not a key; {FORM}"))),
    }
}

fn short_form(line: usize, word: &str) -> Result<TSigner, KeyError> {
    let parts: Vec<&str> = word.split(':').collect();
    match parts.as_slice() {
        [algorithm, name, secret] => signer(line, name, (line, algorithm), (line, secret)),
        _ => Err(at(line, format!("this is not a key; {FORM}"))),
    }
}

fn clause(line: usize, name: &str, tokens: &[(usize, Token)]) -> Result<TSigner, KeyError> {
    let (mut algorithm, mut secret) = (None, None);
    let mut rest = tokens;
    loop {
        rest = match rest {
            [(_, Token::Close), (_, Token::Semicolon), after @ ..]
            | [(_, Token::Close), after @ ..] => {
                if let Some((line, _)) = after.first() {
                    return Err(at(
                        *line,
                        "there is something behind the key; keep one key only",
                    ));
                }
                break;
            }
            [
                (line, Token::Word(word)),
                (_, Token::Word(value)),
                (_, Token::Semicolon),
                after @ ..,
            ] => {
                let place = match word.to_ascii_lowercase().as_str() {
                    "algorithm" => &mut algorithm,
                    "secret" => &mut secret,
                    _ => {
                        let complaint = "only algorithm and secret are allowed in a key";
                        return Err(at(*line, complaint));
                    }
                };
                *place = Some((*line, value.as_str()));
                after
            }
            [(line, _), ..] => return Err(at(*line, format!("this is not a key; {FORM}"))),
            [] => return Err(at(line, format!("the key does not end; {FORM}"))),
        };
    }
    let missing = |what| at(line, format!("the key has no {what}; {FORM}"));
    let algorithm = algorithm.ok_or_else(|| missing("algorithm"))?;
    let secret = secret.ok_or_else(|| missing("secret"))?;
    signer(line, name, algorithm, secret)
}

fn signer(
    line: usize,
    name: &str,
    (algorithm_line, algorithm): (usize, &str),
    (secret_line, secret): (usize, &str),
) -> Result<TSigner, KeyError> {
    let name = Name::from_ascii(name.to_ascii_lowercase());
    let name = name.map_err(|_| at(line, "the name of the key is not a domain name"))?;
    let algorithm = match algorithm.to_ascii_lowercase().trim_end_matches('.') {
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => {
            let complaint = "the algorithm is not supported; \
                             write hmac-sha256, hmac-sha384 or hmac-sha512";
            return Err(at(algorithm_line, complaint));
        }
    };
    let secret = BASE64.decode(secret.as_bytes()).unwrap_or_default();
    if secret.is_empty() {
        return Err(at(secret_line, "the secret is not Base64"));
    }
    TSigner::new(secret, algorithm, name, FUDGE).map_err(|error| at(line, error.to_string()))
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word, with or without quotes.
    Word(String),
    Open,
    Close,
    Semicolon,
}

/// Splits the text into words and punctuation with their line numbers. Skips comments as
/// in named.conf.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, KeyError> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\n' => {
                line += 1;
                1
            }
            _ if first.is_whitespace() => first.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => {
                let end = rest
                    .find("*/")
                    .ok_or_else(|| at(line, "the comment does not end"))?;
                line += rest[..end].matches('\n').count();
                end + 2
            }
            '{' | '}' | ';' => {
                let token = match first {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::Semicolon,
                };
                tokens.push((line, token));
                1
            }
            '"' => {
                let end = rest[1..].find(['"', '\n']);
                let end = end.filter(|end| rest[1 + end..].starts_with('"'));
                let end = end.ok_or_else(|| at(line, "a quotation mark is missing"))?;
                tokens.push((line, Token::Word(rest[1..=end].to_owned())));
                end + 2
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"' | '#');
                let end = rest.find(ends).unwrap_or(rest.len());
                tokens.push((line, Token::Word(rest[..end].to_owned())));
                end
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_the_forms_that_programs_write() {
        let secret = "c2VjcmV0IG9mIHNpeHRlZW4=";
        let table = [
            format!("key \"mx\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{secret}\";\n}};\n"),
            format!("// ours\nkey MX. {{ secret {secret}; algorithm HMAC-SHA256; }}"),
            format!("# a\n/* b\n */ key mx {{algorithm hmac-sha256; # c\nsecret \"{secret}\";}};"),
            format!("hmac-sha256:mx:{secret}\n"),
        ];
        for text in table {
            let signer = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(signer.signer_name().to_string(), "mx.", "{text}");
            assert_eq!(signer.key(), b"secret of sixteen", "{text}");
            assert_eq!(*signer.algorithm(), TsigAlgorithm::HmacSha256, "{text}");
        }
    }

    #[test]
    fn an_error_has_its_line_and_never_the_secret() {
        let table = [
            ("", "1: there is no key in it; write key"),
            ("\n\nkey mx {\n", "3: the key does not end"),
            (
                "key mx { algorithm hmac-sha256; };",
                "1: the key has no secret",
            ),
            (
                "key mx { secret \"aHVudGVyMg==\"; };",
                "1: the key has no algorithm",
            ),
            (
                "key mx {\nalgorithm hmac-md5;\nsecret aHVudGVyMg==; };",
                "2: the algorithm is not supported; write hmac-sha256",
            ),
            (
                "key mx {\nalgorithm hmac-sha512;\nsecret hunter2; };",
                "3: the secret is not Base64",
            ),
            (
                "key mx {\nsecret \"aHVudGVyMg==;\n};",
                "2: a quotation mark is missing",
            ),
            (
                "key mx {\nsecrets aHVudGVyMg==; };",
                "2: only algorithm and secret",
            ),
            ("aHVudGVyMg==", "1: this is not a key"),
            ("mx:aHVudGVyMg==", "1: this is not a key"),
            (
                "hmac-sha256:mx:aHVudGVyMg==\nhmac-sha256:my:aHVudGVyMg==",
                "1: this is not a key",
            ),
            (
                "key a { algorithm hmac-sha256; secret aHVudGVyMg==; };\nkey b {",
                "2: there is something behind the key",
            ),
            (
                "key a..b { algorithm hmac-sha256; secret aHVudGVyMg==; };",
                "1: the name of",
            ),
            ("/* key", "1: the comment does not end"),
        ];
        for (text, want) in table {
            let error = parse(text).err().expect(text).to_string();
            assert!(error.starts_with(want), "{text:?}: {error}");
            assert!(
                !error.contains("aHVud") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
