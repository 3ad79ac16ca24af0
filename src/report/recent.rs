//! What was seen last, by key: a map that forgets the oldest keys.

use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub(super) struct Recent<V> {
    values: HashMap<u64, V>,
    /// As the keys came first.
    order: VecDeque<u64>,
    capacity: usize,
}

impl<V> Recent<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    pub(super) fn insert(&mut self, key: u64, value: V) {
        if self.values.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.values.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.values.get_mut(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::new(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            recent.insert(key, value);
        }
        let left = [1, 2, 3].map(|key| recent.get(key).copied());
        assert_eq!(left, [None, Some('b'), Some('d')]);
    }
}
