//! Values with a standard syntax: replies, an authserv-id, a log filter.

use super::{suggestion::nearest, value::Kind};
use crate::reply::{Template, Url};
use tracing_subscriber::EnvFilter;

/// A whole reply with placeholders.
pub(super) struct ReplyLine;

impl Kind for ReplyLine {
    type Value = Template;
    const EXPECTED: &'static str = "a reply such as \"450 4.7.25 Service unavailable\"";

    fn parse(text: &str) -> Result<Template, String> {
        text.parse::<Template>().map_err(|error| error.to_string())
    }

    fn show(value: &Template) -> String {
        value.to_string()
    }
}

/// The URL at the end of a detailed reply.
pub(super) struct ReplyUrl;

impl Kind for ReplyUrl {
    type Value = Url;
    const EXPECTED: &'static str = "a URL such as https://mx.example.org/ipv6#{rule}";

    fn parse(text: &str) -> Result<Url, String> {
        text.parse::<Url>()
            .map_err(|error| format!("{text:?}: {error}"))
    }

    fn show(value: &Url) -> String {
        value.to_string()
    }
}

/// The authserv-id of Authentication-Results fields.
pub(super) struct AuthservId;

impl Kind for AuthservId {
    type Value = String;
    const EXPECTED: &'static str = "a name such as mx.example.org";

    /// Parses a "value" of RFC 2045 section 5.1 (RFC 8601 section 2.5) without the quoted
    /// form, which would have to be unquoted for comparison.
    fn parse(text: &str) -> Result<String, String> {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            return Err(format!(
                "{text:?} is not a valid authserv-id; write {}",
                Self::EXPECTED
            ));
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// Returns whether a byte may be in a token (RFC 2045 section 5.1): ASCII without space,
/// controls and tspecials.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// A filter in the syntax of tracing's `EnvFilter`.
pub(super) struct LogFilter;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl Kind for LogFilter {
    type Value = String;
    const EXPECTED: &'static str = "error, warn, info, debug or trace, \
         or a filter such as info,sixgate::dns=debug";

    fn parse(text: &str) -> Result<String, String> {
        let words = text.split(',').map(str::trim);
        if let Some(word) = words.into_iter().find(|word| is_no_directive(word)) {
            return Err(no_level(word));
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("{text:?}: {error}; write {}", Self::EXPECTED)),
        }
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// Returns whether a word is not a valid directive. `EnvFilter` takes a bare word that is
/// not a level for a target, so a mistyped level would suppress all other lines.
fn is_no_directive(word: &str) -> bool {
    let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    !is_level && !word.contains(['=', '[', ':'])
}

fn no_level(word: &str) -> String {
    match nearest(word, &LEVELS) {
        Some(level) => format!("{word:?} is not a valid level; write {level}"),
        None => format!(
            "{word:?} is not a valid level; write {}",
            LogFilter::EXPECTED
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authserv_id_is_a_token() {
        for text in ["mx.example.org", "mx", "example_org-1"] {
            assert_eq!(AuthservId::parse(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "mx example",
            "mx;x",
            "mx/1",
            "\"mx\"",
            "mx\n",
            "größe",
            "mx=1",
        ] {
            assert!(AuthservId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistyped_level_is_not_a_target() {
        for text in [
            "info",
            "INFO",
            "warn,sixgate::dns=debug",
            "off",
            "sixgate=trace",
        ] {
            assert_eq!(LogFilter::parse(text).as_deref(), Ok(text));
        }
        let table = [
            ("warning", "write warn"),
            ("inof", "write info"),
            ("verbose", "write error, warn"),
            ("", "write error, warn"),
            ("sixgate=loud", "write error, warn"),
            ("info,debgu", "write debug"),
        ];
        for (text, want) in table {
            let complaint = LogFilter::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }
}
