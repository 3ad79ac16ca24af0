//! Base64 with folding white space in it (RFC 6376 section 2.10).

use super::tag_list::trim;
use data_encoding::{BASE64_NOPAD, Encoding};
use std::sync::LazyLock;

/// Ignores folding white space. Padding is removed before, because it may be missing, and
/// because this library would accept further digits after it.
static BASE64STRING: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = BASE64_NOPAD.specification();
    specification.ignore.push_str(" \t\r\n");
    // Some signers leave bits set that encode nothing.
    specification.check_trailing_bits = false;
    specification.encoding().ok()
});

/// Decodes `base64string`. White space is allowed anywhere, and padding may be missing;
/// returns `None` for anything else that is not Base64.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let encoding = BASE64STRING.as_ref()?;
    encoding.decode(without_padding(text)).ok()
}

fn without_padding(text: &[u8]) -> &[u8] {
    let mut text = trim(text);
    for _ in 0..2 {
        text = text.strip_suffix(b"=").map_or(text, trim);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    #[test]
    fn encoded_bytes_are_decoded() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..bytes.len() {
            let text = BASE64.encode(&bytes[..length]);
            assert_eq!(decode(text.as_bytes()).unwrap(), &bytes[..length]);
        }
    }

    #[test]
    fn base64_is_decoded_with_white_space_and_without_padding() {
        let table: [(&str, Option<&[u8]>); 19] = [
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
            ("Zh==", Some(b"f")),
            ("=", Some(b"")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Z", None),
            ("A=", None),
            ("Zg===", None),
            ("Zm9v!", None),
            ("Zm9v\x0b", None),
            ("Zg==Zg==", None),
        ];
        for (text, want) in table {
            assert_eq!(decode(text.as_bytes()).as_deref(), want, "{text}");
        }
    }
}
