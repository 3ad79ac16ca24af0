//! Turns the YAML library's word on a text that is no YAML into one that says
//! what to write.
//!
//! The two slips that postmasters make are tabs and IPv6 addresses without
//! quotes; for others the library's own words have to do.

use std::net::Ipv6Addr;

/// The line to look at and what is wrong with it. `line` is where the library
/// stumbled, which may be after the line that is wrong.
pub(super) fn explain(text: &str, line: Option<usize>, said: &str) -> (Option<usize>, String) {
    let problem = said.split(" at line ").next().unwrap_or(said);
    let Some(line) = line else {
        return (None, format!("this is no YAML: {problem}"));
    };
    match slip_near(text, line) {
        Some((line, complaint)) => (Some(line), complaint),
        None => (Some(line), format!("this is no YAML: {problem}")),
    }
}

/// Looks at the line and then at the last one before it that says something.
fn slip_near(text: &str, line: usize) -> Option<(usize, String)> {
    let numbered = (1..).zip(text.lines()).take(line);
    let mut telling: Vec<_> = numbered.filter(|(_, line)| says_something(line)).collect();
    let last_two = telling.split_off(telling.len().saturating_sub(2));
    let mut nearest_first = last_two.into_iter().rev();
    nearest_first.find_map(|(number, line)| Some((number, slip(line)?)))
}

fn says_something(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

fn slip(line: &str) -> Option<String> {
    let indent = line.len() - line.trim_start().len();
    if line[..indent].contains('\t') {
        return Some("YAML does not take tabs; indent with spaces".to_owned());
    }
    let address = unquoted_ipv6(line)?;
    Some(format!(
        "YAML stumbles over IPv6 addresses; quote what has one in it: \"{address}\""
    ))
}

/// The first IPv6 address or network outside quotes.
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
