//! Counts by key with bounded memory, exact as long as the keys fit.
//!
//! When there are more keys than fit, the median weight is subtracted from every key, and
//! keys without weight are removed (Misra and Gries, "Finding repeated elements", 1982,
//! in batches). The value of a key counts from its insertion; `missed` bounds the count
//! before: at most 2N / capacity of N.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// Values by key, for the most frequent keys.
#[derive(Debug)]
pub(super) struct TopK<K, V> {
    entries: HashMap<K, Entry<V>>,
    capacity: usize,
    /// The total weight subtracted so far.
    taken: u64,
}

#[derive(Debug)]
struct Entry<V> {
    weight: u64,
    missed: u64,
    value: V,
}

/// One key of the top of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Top<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    /// The maximum number of occurrences before the key was counted.
    pub(super) missed: u64,
}

impl<K: Hash + Eq + Ord + Clone, V: Default + Clone> TopK<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            capacity,
            taken: 0,
        }
    }

    /// Counts an occurrence of a key; `change` updates its value.
    pub(super) fn count<Q>(&mut self, key: &Q, change: impl FnOnce(&mut V))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // Most keys exist already and need not be copied.
        if let Some(entry) = self.entries.get_mut(key) {
            entry.weight += 1;
            return change(&mut entry.value);
        }
        if self.entries.len() >= self.capacity {
            self.make_room();
        }
        let mut value = V::default();
        change(&mut value);
        let entry = Entry {
            weight: 1,
            missed: self.taken,
            value,
        };
        self.entries.insert(key.to_owned(), entry);
    }

    fn make_room(&mut self) {
        let mut weights: Vec<u64> = self.entries.values().map(|entry| entry.weight).collect();
        let middle = weights.len() / 2;
        let (_, &mut median, _) = weights.select_nth_unstable(middle);
        self.taken += median;
        self.entries.retain(|_, entry| {
            entry.weight = entry.weight.saturating_sub(median);
            entry.weight > 0
        });
    }

    /// Returns the first `n` keys by `weight`, without those of weight 0; equal ones
    /// sorted by key.
    pub(super) fn top(&self, n: usize, weight: impl Fn(&V) -> u64) -> Vec<Top<K, V>> {
        let mut order: Vec<_> = (self.entries.iter())
            .map(|(key, entry)| (u64::MAX - weight(&entry.value), key, entry))
            .filter(|(lightness, _, _)| *lightness < u64::MAX)
            .collect();
        order.sort_unstable_by_key(|&(lightness, key, _)| (lightness, key));
        order.truncate(n);
        (order.into_iter())
            .map(|(_, key, entry)| Top {
                key: key.clone(),
                value: entry.value.clone(),
                missed: entry.missed,
            })
            .collect()
    }

    /// Returns the number of keys; `None` if there were more than fit.
    pub(super) fn distinct(&self) -> Option<usize> {
        (self.taken == 0).then_some(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(keys: impl IntoIterator<Item = String>, capacity: usize) -> TopK<String, u64> {
        let mut tops = TopK::new(capacity);
        for key in keys {
            tops.count(key.as_str(), |n| *n += 1);
        }
        tops
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let tops = count(["b", "a", "c", "a", "b", "a"].map(str::to_owned), 3);
        let top: Vec<_> = tops
            .top(2, |n| *n)
            .into_iter()
            .map(|t| (t.key, t.value, t.missed))
            .collect();
        assert_eq!(top, [("a".to_owned(), 3, 0), ("b".to_owned(), 2, 0)]);
        assert_eq!(tops.distinct(), Some(3));
    }

    #[test]
    fn many_keys_neither_grow_memory_nor_hide_the_frequent_ones() {
        // One key in four is "often"; the others occur once each.
        let keys = (0..100_000).map(|n| match n % 4 {
            0 => "often".to_owned(),
            _ => format!("once-{n}"),
        });
        let tops = count(keys, 100);
        assert!(tops.entries.len() <= 100);
        assert_eq!(tops.distinct(), None);
        let top = &tops.top(1, |n| *n)[0];
        assert_eq!(top.key, "often");
        assert!(
            top.value <= 25_000 && top.value + top.missed >= 25_000,
            "{top:?}"
        );
        assert!(top.missed <= 2 * 100_000 / 100, "{top:?}");
    }
}
