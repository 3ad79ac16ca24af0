//! A mapping of milter.yaml with strict keys.
//!
//! serde's derive reports unknown keys in terms of Rust, and a duplicate key at the line
//! where the mapping begins. Here both are detected while the key is read, so that the
//! error has the key's line. Values pass through unchanged.

use super::suggestion::nearest;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use std::fmt;

/// Reads a mapping into a struct with defaults. For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(Strict(deserializer))
}

/// Writes a struct as a mapping. For `#[serde(serialize_with)]`.
pub(super) fn serialize<T, S>(section: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize,
    S: Serializer,
{
    section.serialize(serializer)
}

/// A deserializer that lets a derived `Deserialize` read through [`Section`].
struct Strict<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Section { fields, visitor })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

struct Section<V> {
    fields: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Section<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys below it ({})", self.fields.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Keys {
            access,
            allowed: self.fields,
            seen: Vec::new(),
        })
    }

    /// Accepts a section whose keys are all commented out.
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_map(NoKeys(std::marker::PhantomData))
    }

    /// Accepts an empty file.
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visit_unit()
    }
}

struct Keys<A> {
    access: A,
    allowed: &'static [&'static str],
    seen: Vec<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Keys<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let key = Key {
            allowed: self.allowed,
            seen: &self.seen,
        };
        let Some(key) = self.access.next_key_seed(key)? else {
            return Ok(None);
        };
        self.seen.push(key.clone());
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.access.next_value_seed(seed)
    }
}

/// A key, checked while the YAML library still knows its line.
struct Key<'a> {
    allowed: &'static [&'static str],
    seen: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key ({})", self.allowed.join(", "))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if !self.allowed.contains(&key) {
            return Err(wrong_key(key, &unknown(key, self.allowed)));
        }
        if self.seen.iter().any(|seen| seen == key) {
            return Err(wrong_key(key, "the key is given twice; remove one"));
        }
        Ok(key.to_owned())
    }
}

/// Returns the error for a key. The leading dot makes [`super::raw`] append the key to
/// the section's path.
fn wrong_key<E: Error>(key: &str, complaint: &str) -> E {
    E::custom(format_args!(".{}: {complaint}", key.escape_debug()))
}

fn unknown(key: &str, allowed: &[&str]) -> String {
    let all = allowed.join(", ");
    match nearest(key, allowed) {
        Some(meant) => format!("unknown key; did you mean {meant}? (allowed here: {all})"),
        None => format!("unknown key; allowed here: {all}"),
    }
}

struct NoKeys<E>(std::marker::PhantomData<E>);

impl<'de, E: Error> MapAccess<'de> for NoKeys<E> {
    type Error = E;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<S::Value, E> {
        Err(E::custom("there is no value without a key"))
    }
}
