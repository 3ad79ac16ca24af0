//! The input of the header hash: the signed header fields and the DKIM-Signature field
//! without its signature, canonicalized (RFC 6376 sections 3.4 and 3.7).

use super::{
    header_block::{Field, Index},
    signature::{Canonicalization, Signature},
};

/// The initial buffer size in bytes, enough for an ordinary message.
const USUAL_LENGTH: usize = 1000;

/// Returns the bytes that the signature in the field at `own` signs.
pub(super) fn signed_bytes(index: &Index<'_>, signature: &Signature, own: usize) -> Vec<u8> {
    let canonicalization = signature.header_canonicalization;
    let mut bytes = Vec::with_capacity(USUAL_LENGTH);
    for field in index.select(signature.signed_fields(), own) {
        write_field(field, canonicalization, &mut bytes);
    }
    write_own_field(index.field(own), signature, &mut bytes);
    bytes
}

/// Writes the DKIM-Signature field itself, which comes last, "with the value of the "b="
/// tag (including all surrounding whitespace) deleted" and without the CRLF at its end
/// (RFC 6376 section 3.7).
fn write_own_field(field: Field<'_>, signature: &Signature, bytes: &mut Vec<u8>) {
    let span = &signature.bytes_span;
    let unsigned = [&field.value[..span.start], &field.value[span.end..]].concat();
    let value = unsigned.strip_suffix(b"\r\n").unwrap_or(&unsigned);
    let field = Field { value, ..field };
    write_field(field, signature.header_canonicalization, bytes);
}

fn write_field(field: Field<'_>, canonicalization: Canonicalization, bytes: &mut Vec<u8>) {
    match canonicalization {
        Canonicalization::Simple => {
            bytes.extend_from_slice(field.name);
            bytes.push(b':');
            bytes.extend_from_slice(field.value);
        }
        Canonicalization::Relaxed => {
            bytes.extend(field.bare_name().iter().map(u8::to_ascii_lowercase));
            bytes.push(b':');
            write_relaxed_value(field.value, bytes);
        }
    }
}

/// Writes a value in relaxed form (RFC 6376 section 3.4.2): unfolded, each run of white
/// space as one space, none at the ends. White space follows the CRLF of a fold, so the
/// CRLF counts as white space too; form feed and similar characters do not.
fn write_relaxed_value(value: &[u8], bytes: &mut Vec<u8>) {
    let white = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let words = value.split(white).filter(|word| !word.is_empty());
    for (place, word) in words.enumerate() {
        if place > 0 {
            bytes.push(b' ');
        }
        bytes.extend_from_slice(word);
    }
    if value.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::HeaderBlock;
    use std::time::SystemTime;

    /// Returns what the signature in the first field signs.
    fn signed(fields: &[(&str, &str)]) -> String {
        let mut headers = HeaderBlock::new(10_000);
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let (_, parsed) = Signature::parse(headers.field(0).value, SystemTime::now());
        let signature = parsed.unwrap();
        let index = headers.index(signature.signed_fields());
        String::from_utf8(signed_bytes(&index, &signature, 0)).unwrap()
    }

    /// Returns a signature of no field but the author's, with `b=` among what is given.
    fn signature(before: &str, after: &str) -> String {
        let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        format!("{before}; v=1; a=rsa-sha256; d=example.org; s=s; bh={hash}{after}")
    }

    #[test]
    fn fields_are_canonicalized_as_in_rfc_6376_section_3_4_5() {
        let (a, b) = (("A", " X"), ("B ", " Y\t\n\tZ  "));
        let table = [
            (
                "c=relaxed; h=a:b:from",
                "a:X\r\nb:Y Z\r\nfrom:\r\ndkim-signature:c=relaxed; ",
            ),
            (
                "c=simple; h=A:B:From",
                "A: X\r\nB : Y\t\r\n\tZ  \r\nFrom:\r\nDKIM-Signature:c=simple; ",
            ),
        ];
        for (tags, want) in table {
            let own = signature(tags, "; b=AAAA");
            let found = signed(&[("DKIM-Signature", &own), a, b, ("From", "")]);
            assert!(found.starts_with(want), "{found}");
        }
    }

    #[test]
    fn the_value_of_b_is_taken_out_and_nothing_else() {
        let table = [
            // before and after the other tags, and the expected result
            ("h=from;b=AAAA", "", "h=from;b=", ""),
            (
                "h=from; b =\n A\n\tA ;bb=b=A",
                ";",
                "h=from; b =;bb=b=A",
                ";",
            ),
            ("b=AAAA; h=from", "; z=b=AAAA", "b=; h=from", "; z=b=AAAA"),
            ("h=from", "; b= AAAA ;\n ", "h=from", "; b=;\r\n "),
            ("h=from", ";b=AAAA \n ", "h=from", ";b="),
        ];
        for (before, after, before_left, after_left) in table {
            let found = signed(&[("DKIM-Signature", &signature(before, after))]);
            let left = signature(before_left, after_left);
            assert_eq!(found, format!("DKIM-Signature:{left}"));
        }
    }

    #[test]
    fn a_form_feed_is_not_white_space() {
        let own = signature("c=relaxed; h=from", "; b=AAAA");
        let found = signed(&[("DKIM-Signature", &own), ("From", " a \u{c} b\u{b}")]);
        assert!(found.starts_with("from:a \u{c} b\u{b}\r\n"), "{found}");
    }
}
