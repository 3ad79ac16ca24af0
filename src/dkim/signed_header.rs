//! The octets that a signature signs: the chosen header fields and the
//! signature's own field without its signature, canonicalized (RFC 6376
//! sections 3.4 and 3.7).

use super::{
    header_block::{Field, Index},
    signature::{Canonicalization, Signature},
};

/// What the signature in the field at `own` was made over.
pub(super) fn signed_octets(index: &Index<'_>, signature: &Signature, own: usize) -> Vec<u8> {
    let canonicalization = signature.header_canonicalization;
    let mut octets = Vec::new();
    for field in index.select(signature.signed_fields(), own) {
        write_field(field, canonicalization, &mut octets);
    }
    write_own_field(index.field(own), signature, &mut octets);
    octets
}

/// RFC 6376 section 3.7: the field itself comes last, "with the value of the
/// "b=" tag (including all surrounding whitespace) deleted", and without the
/// CRLF at its end.
fn write_own_field(field: Field<'_>, signature: &Signature, octets: &mut Vec<u8>) {
    let span = &signature.octets_span;
    let unsigned = [&field.value[..span.start], &field.value[span.end..]].concat();
    let value = unsigned.strip_suffix(b"\r\n").unwrap_or(&unsigned);
    let field = Field { value, ..field };
    write_field(field, signature.header_canonicalization, octets);
}

fn write_field(field: Field<'_>, canonicalization: Canonicalization, octets: &mut Vec<u8>) {
    match canonicalization {
        Canonicalization::Simple => {
            octets.extend_from_slice(field.name);
            octets.push(b':');
            octets.extend_from_slice(field.value);
        }
        Canonicalization::Relaxed => {
            octets.extend(field.bare_name().iter().map(u8::to_ascii_lowercase));
            octets.push(b':');
            write_relaxed_value(field.value, octets);
        }
    }
}

/// RFC 6376 section 3.4.2: unfolded, runs of white space as one space, none at
/// the ends. A fold has white space after it, so its CRLF can be taken for
/// white space too; form feed and the like are none.
fn write_relaxed_value(value: &[u8], octets: &mut Vec<u8>) {
    let white = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let words = value.split(white).filter(|word| !word.is_empty());
    for (place, word) in words.enumerate() {
        if place > 0 {
            octets.push(b' ');
        }
        octets.extend_from_slice(word);
    }
    if value.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
}
