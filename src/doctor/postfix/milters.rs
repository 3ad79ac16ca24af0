//! Parses lists of milters in Postfix's notation: `inet:host:port, { unix:/path,
//! default_action = tempfail }`.

use crate::config::Socket;
use std::{collections::HashMap, path::Path};

/// A milter in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Milter {
    /// Such as `inet:127.0.0.1:8894`.
    pub(super) socket: String,
    /// The options of this milter.
    pub(super) options: HashMap<String, String>,
}

impl Milter {
    /// Returns the address of the socket. A path starts at the queue directory if smtpd runs
    /// in a chroot, or if it is relative.
    pub(super) fn place(&self, chroot: bool, queue: &Path) -> Option<Socket> {
        match self.socket.strip_prefix("unix:") {
            Some(path) if chroot || !path.starts_with('/') => {
                Some(Socket::Unix(queue.join(path.trim_start_matches('/'))))
            }
            Some(_) | None => self.socket.parse().ok(),
        }
    }
}

/// Parses a list.
pub(super) fn parse(list: &str) -> Vec<Milter> {
    let items = items(list).into_iter();
    let bare = items.map(|item| match item.strip_prefix('{') {
        Some(braced) => braced.strip_suffix('}').unwrap_or(braced),
        None => item,
    });
    bare.filter_map(milter).collect()
}

/// Splits a list into items. Separators within braces belong to an item.
pub(super) fn items(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut rest = list.trim_start_matches(is_separator);
    while !rest.is_empty() {
        let (item, after) = rest.split_at(end_of_item(rest));
        items.push(item);
        rest = after.trim_start_matches(is_separator);
    }
    items
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

fn end_of_item(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 && is_separator(c) => return at,
            _ => {}
        }
    }
    text.len()
}

/// Parses an item: the socket and its options, which are separated by commas or white space;
/// an option that contains spaces is in braces (postconf(5), smtpd_milters).
fn milter(item: &str) -> Option<Milter> {
    let item = item.trim();
    let end = item.find(is_separator).unwrap_or(item.len());
    let (socket, rest) = item.split_at(end);
    let options = rest
        .split([',', '{', '}'])
        .filter_map(|option| option.split_once('='));
    (!socket.is_empty()).then(|| Milter {
        socket: socket.to_owned(),
        options: options
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_postfix_does() {
        let table = [
            ("", ""),
            ("inet:a:1", "inet:a:1[]"),
            (
                "inet:a:1, unix:/b\n inet:c:2",
                "inet:a:1[] unix:/b[] inet:c:2[]",
            ),
            (
                "{ inet:a:1, default_action=accept }, inet:c:2",
                "inet:a:1[default_action=accept] inet:c:2[]",
            ),
            (
                "{inet:a:1, { default_action = accept }}",
                "inet:a:1[default_action=accept]",
            ),
            (
                "{ inet:a:1 default_action=accept",
                "inet:a:1[default_action=accept]",
            ),
        ];
        for (list, want) in table {
            let shown: Vec<String> = parse(list).iter().map(show).collect();
            assert_eq!(shown.join(" "), want, "{list}");
        }
    }

    #[test]
    fn an_inline_table_is_one_item() {
        let table = [
            (
                "cidr:{{0.0.0.0/0 DISABLE}}",
                vec!["cidr:{{0.0.0.0/0 DISABLE}}"],
            ),
            (
                "hash:/a, cidr:{{::/0 inet:a:1, inet:b:2}, {1.2.3.4 x}} pcre:/b",
                vec![
                    "hash:/a",
                    "cidr:{{::/0 inet:a:1, inet:b:2}, {1.2.3.4 x}}",
                    "pcre:/b",
                ],
            ),
            (" ,", vec![]),
        ];
        for (list, want) in table {
            assert_eq!(items(list), want, "{list}");
        }
    }

    fn show(milter: &Milter) -> String {
        let options = milter
            .options
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        format!(
            "{}[{}]",
            milter.socket,
            options.collect::<Vec<_>>().join(",")
        )
    }

    #[test]
    fn a_chroot_moves_unix_sockets_below_the_queue_directory() {
        let table = [
            ("unix:/run/m.sock", false, "unix:/run/m.sock"),
            ("unix:/run/m.sock", true, "unix:/queue/run/m.sock"),
            ("unix:sixgate/m.sock", false, "unix:/queue/sixgate/m.sock"),
            ("inet:localhost:8894", true, "inet:localhost:8894"),
        ];
        for (socket, chroot, want) in table {
            let milter = milter(socket).unwrap();
            let place = milter.place(chroot, Path::new("/queue")).unwrap();
            assert_eq!(place.to_string(), want);
        }
    }
}
