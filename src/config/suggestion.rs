//! Suggests a correction for a mistyped word.

use strsim::levenshtein;

/// Returns the word with the smallest edit distance, if at most half of the letters
/// differ.
pub(super) fn nearest<'a>(typed: &str, words: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let distances = words.iter().map(|word| (levenshtein(&typed, word), *word));
    let (distance, word) = distances.min()?;
    (distance * 2 <= word.len().max(typed.len())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognized_and_another_word_is_not() {
        let words = ["networks", "authenticated", "tls"];
        let table = [
            ("netwroks", Some("networks")),
            ("network", Some("networks")),
            ("Networks", Some("networks")),
            ("authentcated", Some("authenticated")),
            ("ssl", None),
            ("tl", Some("tls")),
            ("hosts", None),
            ("", None),
            ("anything", None),
        ];
        for (typed, want) in table {
            assert_eq!(nearest(typed, &words), want, "{typed}");
        }
    }
}
