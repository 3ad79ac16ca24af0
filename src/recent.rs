//! A map of the most recently used entries, in bounded memory.
//!
//! There are two generations: when the young one is full, it becomes the old one, and the
//! previous old one is dropped with all entries not used since. It does not measure time.

use std::{collections::HashMap, hash::Hash, mem};

/// The most recently used entries by key.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// Creates an empty map with at most `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    /// Returns the entry of a key and marks it as used.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Inserts an entry, or replaces the one of the key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.capacity == 0 {
            return;
        }
        self.old.remove(&key);
        if self.young.len() >= self.capacity / 2 && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Returns whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_used_entries() {
        let mut recent = Recent::new(100);
        for number in 0..1000 {
            recent.insert(number, number);
            assert_eq!(recent.get(&0), Some(0));
            assert_eq!(recent.get(&number), Some(number));
            assert!(recent.len() <= 100, "{number}");
        }
        assert_eq!(recent.get(&1), None);
    }

    #[test]
    fn a_key_has_one_entry_whatever_its_generation() {
        let mut recent = Recent::new(4);
        for value in 0..10 {
            recent.insert("same", value);
            recent.insert(["a", "b"][value % 2], value);
            assert_eq!(recent.get(&"same"), Some(value));
        }
        assert_eq!(recent.len(), 3);
    }
}
