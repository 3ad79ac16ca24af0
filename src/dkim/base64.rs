//! Base64 with folding white space in it (RFC 6376 section 2.10).

use super::tag_list::{is_white_space, trim};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes `base64string`: white space is allowed anywhere, padding may be missing,
/// returns `None` for anything else that is not Base64.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = without_padding(text);
    let mut octets = Vec::with_capacity(rest.len() * 3 / 4);
    while !rest.is_empty() {
        let (bits, digits) = next_group(&mut rest)?;
        push_octets(&mut octets, bits, digits)?;
    }
    Some(octets)
}

/// Returns the bits of the next up to four digits, and the number of digits.
fn next_group(rest: &mut &[u8]) -> Option<(u32, usize)> {
    // Most groups have no white space in them.
    match whole_group(rest) {
        Some(bits) => Some((bits, 4)),
        None => scattered_group(rest),
    }
}

fn whole_group(rest: &mut &[u8]) -> Option<u32> {
    let (group, after) = rest.split_first_chunk::<4>()?;
    let bits = group.iter().try_fold(0, |bits, &octet| {
        let value = VALUES[usize::from(octet)]?;
        Some(bits << 6 | u32::from(value))
    })?;
    *rest = after;
    Some(bits)
}

fn scattered_group(rest: &mut &[u8]) -> Option<(u32, usize)> {
    let (mut bits, mut digits) = (0, 0);
    while digits < 4
        && let Some((&octet, after)) = rest.split_first()
    {
        *rest = after;
        match VALUES[usize::from(octet)] {
            Some(value) => (bits, digits) = (bits << 6 | u32::from(value), digits + 1),
            None if is_white_space(octet) => {}
            None => return None,
        }
    }
    Some((bits, digits))
}

/// Appends the one or two bytes that two or three digits encode; a single digit is an
/// error.
fn push_octets(octets: &mut Vec<u8>, bits: u32, digits: usize) -> Option<()> {
    match digits {
        4 => octets.extend_from_slice(&bits.to_be_bytes()[1..]),
        0 => {}
        1 => return None,
        _ => octets.extend_from_slice(&(bits << (6 * (4 - digits))).to_be_bytes()[1..digits]),
    }
    Some(())
}

/// Returns the text without its white space.
pub(super) fn without_white_space(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|&octet| !is_white_space(octet))
}

fn without_padding(text: &[u8]) -> &[u8] {
    let mut text = trim(text);
    for _ in 0..2 {
        text = text.strip_suffix(b"=").map_or(text, trim);
    }
    text
}

const VALUES: [Option<u8>; 256] = {
    let mut values = [None; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = Some(value as u8);
        value += 1;
    }
    values
};

/// Encodes bytes, for the tests of this and the neighboring modules.
#[cfg(test)]
pub(super) fn encode(octets: &[u8]) -> String {
    let mut text = String::new();
    for group in octets.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, &octet| bits << 8 | usize::from(octet));
        let bits = bits << (8 * (3 - group.len()));
        let digit = |place: usize| char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
        text.extend((0..=group.len()).map(digit));
        text.extend((group.len()..3).map(|_| '='));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_bytes_are_decoded() {
        let octets: Vec<u8> = (0..=255).collect();
        for length in 0..octets.len() {
            let text = encode(&octets[..length]);
            assert_eq!(decode(text.as_bytes()).unwrap(), &octets[..length]);
        }
    }

    #[test]
    fn base64_is_decoded_with_white_space_and_without_padding() {
        let table: [(&str, Option<&[u8]>); 17] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYmFy", Some(b"foobar")),
            (" Zm\r\n\t9v YmFy ", Some(b"foobar")),
            ("Zg", Some(b"f")),
            ("Z g", Some(b"f")),
            ("Zg= =", Some(b"f")),
            ("Zg=\r\n\t= ", Some(b"f")),
            ("=", Some(b"")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Z", None),
            ("A=", None),
            ("Zg===", None),
            ("Zm9v!", None),
            ("Zg==Zg==", None),
        ];
        for (text, want) in table {
            assert_eq!(decode(text.as_bytes()).as_deref(), want, "{text}");
        }
    }
}
