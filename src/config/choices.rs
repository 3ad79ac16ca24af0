//! Values that are one of a few words: switches and choices.

use super::{Families, LogFormat, LogTarget, Mode, suggestion::nearest, value::Kind};
use crate::{
    policy::{ExemptTls, OnDnsFailure, ReverseDns},
    reply::Preset,
};
use std::marker::PhantomData;

/// A type with a word for each of its values.
pub(super) trait Words: Copy + PartialEq + 'static {
    const EXPECTED: &'static str;
    /// The words; the first word for a value is the one shown.
    const WORDS: &'static [(&'static str, Self)];
}

impl Words for Mode {
    const EXPECTED: &'static str = "enforce or observe";
    const WORDS: &'static [(&'static str, Self)] =
        &[("enforce", Self::Enforce), ("observe", Self::Observe)];
}

impl Words for ReverseDns {
    const EXPECTED: &'static str = "exists or confirmed";
    const WORDS: &'static [(&'static str, Self)] =
        &[("exists", Self::Exists), ("confirmed", Self::Confirmed)];
}

impl Words for OnDnsFailure {
    const EXPECTED: &'static str = "tempfail or accept";
    const WORDS: &'static [(&'static str, Self)] =
        &[("tempfail", Self::Tempfail), ("accept", Self::Accept)];
}

impl Words for ExemptTls {
    const EXPECTED: &'static str = "none, verified or any";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("verified", Self::Verified),
        ("any", Self::Any),
    ];
}

impl Words for Preset {
    const EXPECTED: &'static str = "exchange or exchange-ndr";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("exchange", Self::Exchange),
        ("exchange-ndr", Self::ExchangeNdr),
    ];
}

impl Words for Families {
    const EXPECTED: &'static str = "checked or all";
    const WORDS: &'static [(&'static str, Self)] =
        &[("checked", Self::Checked), ("all", Self::All)];
}

impl Words for LogFormat {
    const EXPECTED: &'static str = "text or json";
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Words for LogTarget {
    const EXPECTED: &'static str = "auto, journald, syslog or stderr";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("journald", Self::Journald),
        ("syslog", Self::Syslog),
        ("stderr", Self::Stderr),
    ];
}

impl Words for bool {
    const EXPECTED: &'static str = "true or false";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("true", true),
        ("false", false),
        ("yes", true),
        ("no", false),
    ];
}

/// One of the words of a type.
pub(super) struct Word<T>(PhantomData<T>);

impl<T: Words> Kind for Word<T> {
    type Value = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(text: &str) -> Result<T, String> {
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(no_such_word::<T>(text)),
        }
    }

    fn show(value: &T) -> String {
        let found = T::WORDS.iter().find(|(_, other)| other == value);
        found.map_or_else(String::new, |(word, _)| (*word).to_owned())
    }
}

fn no_such_word<T: Words>(text: &str) -> String {
    let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
    not_a_value(text, nearest(text, &words).unwrap_or(T::EXPECTED))
}

fn not_a_value(text: &str, write: &str) -> String {
    match text {
        "" => format!("nothing is given; write {write}"),
        _ => format!("{text:?} is not allowed here; write {write}"),
    }
}

/// A boolean, shown as `yes` and `no`.
pub(super) struct YesNo;

impl Kind for YesNo {
    type Value = bool;
    const EXPECTED: &'static str = "yes or no";

    fn parse(text: &str) -> Result<bool, String> {
        Word::<bool>::parse(text).map_err(|_| not_a_value(text, Self::EXPECTED))
    }

    fn show(value: &bool) -> String {
        if *value { "yes" } else { "no" }.to_owned()
    }
}
