//! Improves the YAML library's error for invalid YAML, so that it says what to write.
//!
//! The two common mistakes are tabs and IPv6 addresses without quotes; other errors keep
//! the library's text.

use std::net::Ipv6Addr;

/// Returns the wrong line and the error. `line` is where the library stopped, which may
/// be after the wrong line.
pub(super) fn explain(text: &str, line: Option<usize>, message: &str) -> (Option<usize>, String) {
    let lines: Vec<&str> = text.lines().collect();
    let mistake = line.and_then(|line| mistake_near(&lines, line));
    let (line, complaint) = match mistake {
        Some((line, complaint)) => (Some(line), complaint),
        None => (line, advice(message)),
    };
    match line.map(|line| key_at(&lines, line)) {
        Some(key) if !key.is_empty() => (line, format!("{key}: {complaint}")),
        Some(_) | None => (line, complaint),
    }
}

/// Messages of the library, and advice.
const ADVICE: [(&str, &str); 9] = [
    (
        "mapping values are not allowed",
        "quote the value if it contains a colon; otherwise check the indentation",
    ),
    ("cannot start any token", "quote the value"),
    ("unknown anchor", "quote what begins with *"),
    ("while scanning an alias", "quote what begins with *"),
    ("while scanning a tag", "quote what begins with !"),
    (
        "did not find expected key",
        "check the indentation: keys of one section begin in the same column",
    ),
    (
        "while parsing a flow sequence",
        "close the list with ] and put commas between its items",
    ),
    ("while scanning a quoted scalar", "close the quotes"),
    ("more than one document", "remove the line ---"),
];

fn advice(message: &str) -> String {
    let problem = message.split(" at line ").next().unwrap_or(message);
    match ADVICE.iter().find(|(sign, _)| message.contains(sign)) {
        Some((_, advice)) => format!("this is not valid YAML ({problem}); {advice}"),
        None => format!("this is not valid YAML ({problem})"),
    }
}

/// Returns the dotted path of the key that a line belongs to, according to the
/// indentation.
fn key_at(lines: &[&str], line: usize) -> String {
    let mut path = Vec::new();
    let mut column = usize::MAX;
    for line in lines.iter().take(line).rev().filter(|l| has_content(l)) {
        let indent = line.len() - line.trim_start().len();
        if let (true, Some(key)) = (indent < column, key_of(line)) {
            path.insert(0, key);
            column = indent;
        }
    }
    path.join(".")
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let is_key = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let key = key.trim();
    (!key.is_empty() && key.bytes().all(is_key)).then_some(key)
}

/// Checks the line, and then the last nonempty line before it.
fn mistake_near(lines: &[&str], line: usize) -> Option<(usize, String)> {
    let numbered = (1..).zip(lines).take(line);
    let nonempty: Vec<_> = numbered.filter(|(_, line)| has_content(line)).collect();
    let mut nearest_first = nonempty.into_iter().rev().take(2);
    nearest_first.find_map(|(number, line)| Some((number, mistake(line)?)))
}

fn has_content(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

fn mistake(line: &str) -> Option<String> {
    let indent = line.len() - line.trim_start().len();
    if line[..indent].contains('\t') {
        return Some("YAML does not allow tabs here; indent with spaces".to_owned());
    }
    let address = unquoted_ipv6(line)?;
    Some(format!(
        "values with IPv6 addresses need quotes in YAML: \"{address}\""
    ))
}

/// Returns the first IPv6 address or network outside quotes.
fn unquoted_ipv6(line: &str) -> Option<&str> {
    let outside_quotes = line.split(['"', '\'']).step_by(2);
    let words = outside_quotes.flat_map(|part| part.split([' ', '\t', ',', '[', ']', '{', '}']));
    words.into_iter().find(|word| {
        let address = word.split_once('/').map_or(*word, |(address, _)| address);
        address.parse::<Ipv6Addr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_ipv6_addresses_are_found() {
        let table = [
            ("  networks: [2001:db8::/32, ::1]", Some("2001:db8::/32")),
            ("x: ::", Some("::")),
            ("listen: [inet:[::1]:8894]", Some("::1")),
            ("networks: 2001:db8::", Some("2001:db8::")),
            ("networks: [\"2001:db8::/32\", ::1]", Some("::1")),
            ("networks: [\"2001:db8::/32\", '::1']", None),
            ("listen: inet:127.0.0.1:8894", None),
        ];
        for (line, want) in table {
            assert_eq!(unquoted_ipv6(line), want, "{line}");
        }
    }
}
