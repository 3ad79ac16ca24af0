//! How a value of milter.yaml is read and written: as one scalar, as an optional
//! one, or as a list.
//!
//! What a text means is up to its [`Kind`], which parses it while the YAML
//! library still knows the line; nothing is checked afterwards.

use serde::{
    Deserializer, Serializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use std::{fmt, marker::PhantomData, net::Ipv6Addr};

/// What a scalar can mean.
pub(super) trait Kind {
    /// What it becomes.
    type Value;
    /// What to write, for whoever wrote something of another type.
    const EXPECTED: &'static str;

    /// Reads the text as it stands in the file, without its quotes. The error
    /// is half a line for people: what is wrong and what to write.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// The text that [`Kind::parse`] reads as this value.
    fn show(value: &Self::Value) -> String;

    /// Has the last word on a list.
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
        // Asked for a string, the YAML library hands every scalar over as it
        // is written: 0660 keeps its zero and 1e3 its letter.
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

/// One value, for whoever reads a mapping key by key.
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

/// `- 2001:db8::` is a mapping to YAML: the key `2001:db8:` without a value.
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

/// Numbers and booleans go without quotes.
fn serialize_text<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    if let Ok(value) = text.parse::<bool>() {
        return to.serialize_bool(value);
    }
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => to.serialize_u64(number),
        Ok(_) | Err(_) => to.serialize_str(text),
    }
}
