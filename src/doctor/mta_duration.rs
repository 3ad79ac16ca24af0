//! Durations in the notation of Postfix and Sendmail.

use std::time::Duration;

/// Parses a number with an optional unit: s (the default), m, h, d or w (postconf(5), and
/// the same in sendmail.cf).
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_postfix_does() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("5m"), Some(300));
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("1x"), None);
        assert_eq!(seconds(""), None);
    }
}
