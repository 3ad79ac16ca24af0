//! Reads and writes a value of milter.yaml: a scalar, an optional scalar, or a list.
//!
//! The [`Kind`] of a value parses its text while the YAML library still knows the line,
//! so that errors have a line; there are no later checks.

use serde::{
    Deserializer, Serializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use std::{fmt, marker::PhantomData, net::Ipv6Addr};

/// A kind of scalar.
pub(super) trait Kind {
    /// The type of the parsed value.
    type Value;
    /// The description of a valid value, for errors.
    const EXPECTED: &'static str;

    /// Parses the text of the file, without its quotes. The error is a part of a line for
    /// people: what is wrong and what to write.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// Returns the text that [`Kind::parse`] parses as this value.
    fn show(value: &Self::Value) -> String;

    /// Checks a whole list after its items.
    fn check_list(_values: &[Self::Value]) -> Result<(), String> {
        Ok(())
    }
}

/// One value, for `#[serde(with)]`.
pub(super) struct Scalar<K>(PhantomData<K>);

impl<K: Kind> Scalar<K> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<K::Value, D::Error> {
        Self(PhantomData).deserialize_seed(from)
    }

    pub(super) fn serialize<S: Serializer>(value: &K::Value, to: S) -> Result<S::Ok, S::Error> {
        serialize_text(&K::show(value), to)
    }

    fn deserialize_seed<'de, D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        // Requesting a string makes the YAML library return every scalar as written: 0660
        // keeps its zero and 1e3 its letter.
        from.deserialize_str(self)
    }
}

impl<K: Kind> Visitor<'_> for Scalar<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K::Value, E> {
        K::parse(text).map_err(E::custom)
    }
}

/// One value, for reading a mapping key by key.
pub(super) struct ScalarSeed<K>(Scalar<K>);

impl<K> Default for ScalarSeed<K> {
    fn default() -> Self {
        Self(Scalar(PhantomData))
    }
}

impl<'de, K: Kind> DeserializeSeed<'de> for ScalarSeed<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        self.0.deserialize_seed(from)
    }
}

/// One value or none (`null` or nothing at all), for `#[serde(with)]`.
pub(super) struct Optional<K>(PhantomData<K>);

impl<K: Kind> Optional<K> {
    pub(super) fn deserialize<'de, D>(from: D) -> Result<Option<K::Value>, D::Error>
    where
        D: Deserializer<'de>,
    {
        from.deserialize_option(Self(PhantomData))
    }

    pub(super) fn serialize<S>(value: &Option<K::Value>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        match value {
            Some(value) => Scalar::<K>::serialize(value, to),
            None => to.serialize_none(),
        }
    }
}

impl<'de, K: Kind> Visitor<'de> for Optional<K> {
    type Value = Option<K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Scalar::<K>::deserialize(from).map(Some)
    }
}

/// Any number of values, for `#[serde(with)]`. A single one needs no list.
pub(super) struct List<K>(PhantomData<K>);

impl<K: Kind> List<K> {
    pub(super) fn deserialize<'de, D>(from: D) -> Result<Vec<K::Value>, D::Error>
    where
        D: Deserializer<'de>,
    {
        from.deserialize_any(Self(PhantomData))
    }

    pub(super) fn serialize<S>(values: &Vec<K::Value>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        let mut list = to.serialize_seq(Some(values.len()))?;
        for value in values {
            list.serialize_element(&K::show(value))?;
        }
        list.end()
    }

    fn of<E: Error>(values: Vec<K::Value>) -> Result<Vec<K::Value>, E> {
        K::check_list(&values).map_err(E::custom)?;
        Ok(values)
    }
}

impl<'de, K: Kind> Visitor<'de> for List<K> {
    type Value = Vec<K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of such", K::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Item::<K>(PhantomData))? {
            values.push(value);
        }
        Self::of(values)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Self::of(Vec::new())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Self::of(vec![Item::<K>(PhantomData).visit_str(text)?])
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Err(mapping_in_place_of(K::EXPECTED, map))
    }
}

/// One value of a list.
struct Item<K>(PhantomData<K>);

impl<'de, K: Kind> DeserializeSeed<'de> for Item<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, K: Kind> Visitor<'de> for Item<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K::Value, E> {
        K::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<K::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<K::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<K::Value, A::Error> {
        Err(mapping_in_place_of(K::EXPECTED, map))
    }
}

/// Returns the error for a mapping in place of a text: to YAML, `- 2001:db8::` is the key
/// `2001:db8:` without a value.
fn mapping_in_place_of<'de, A: MapAccess<'de>>(expected: &str, mut map: A) -> A::Error {
    let key = match map.next_entry::<String, IgnoredAny>() {
        Ok(Some((key, _))) => key,
        Ok(None) => String::new(),
        Err(error) => return error,
    };
    let address = format!("{key}:");
    match address.parse::<Ipv6Addr>() {
        Ok(_) => A::Error::custom(format_args!(
            "quote IPv6 addresses, or YAML takes them for keys: \"{address}\""
        )),
        Err(_) => A::Error::custom(format_args!("found keys; write {expected}")),
    }
}

/// Writes a text; numbers and booleans without quotes.
fn serialize_text<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    if let Ok(value) = text.parse::<bool>() {
        return to.serialize_bool(value);
    }
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => to.serialize_u64(number),
        Ok(_) | Err(_) => to.serialize_str(text),
    }
}
