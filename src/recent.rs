//! A map that remembers what was used last, in bounded memory.
//!
//! It has two generations: the young one fills up, then it becomes the old one,
//! and what was old and not asked for since is gone. It knows nothing of time.

use std::{collections::HashMap, hash::Hash, mem};

/// Entries by key, those that were used last.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// Holds nothing yet, and never more than `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    /// The entry of a key, which counts as used.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Takes an entry in the place of the one that the key had.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.capacity / 2 && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
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
