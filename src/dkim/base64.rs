//! Base64 with folding white space in it (RFC 6376 section 2.10).

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes `base64string`: white space is allowed anywhere, padding may be
/// missing, anything else that is not Base64 makes it `None`.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = text.to_vec();
    digits.retain(|digit| !is_white_space(*digit));
    let digits = strip_padding(&digits);
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut octets = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        decode_group(group, &mut octets)?;
    }
    Some(octets)
}

/// The text as one word.
pub(super) fn without_white_space(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|&octet| !is_white_space(octet))
}

fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn strip_padding(digits: &[u8]) -> &[u8] {
    let once = digits.strip_suffix(b"=").unwrap_or(digits);
    once.strip_suffix(b"=").unwrap_or(once)
}

/// Two to four digits make one to three octets.
fn decode_group(group: &[u8], octets: &mut Vec<u8>) -> Option<()> {
    let mut bits = 0_u32;
    for &digit in group {
        bits = bits << 6 | u32::from(value(digit)?);
    }
    bits <<= 6 * (4 - group.len());
    octets.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    Some(())
}

fn value(digit: u8) -> Option<u8> {
    VALUES[usize::from(digit)]
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

/// For the tests of the modules beside this one.
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
    fn what_is_encoded_is_decoded() {
        let octets: Vec<u8> = (0..=255).collect();
        for length in 0..octets.len() {
            let text = encode(&octets[..length]);
            assert_eq!(decode(text.as_bytes()).unwrap(), &octets[..length]);
        }
    }

    #[test]
    fn base64_is_decoded_with_white_space_and_without_padding() {
        let table: [(&str, Option<&[u8]>); 11] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYmFy", Some(b"foobar")),
            (" Zm\r\n\t9v YmFy ", Some(b"foobar")),
            ("Zg", Some(b"f")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Z", None),
            ("Zm9v!", None),
            ("Zg==Zg==", None),
        ];
        for (text, want) in table {
            assert_eq!(decode(text.as_bytes()).as_deref(), want, "{text}");
        }
    }
}
