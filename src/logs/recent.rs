//! A cache of what was read recently from a log, in bounded memory.

use quick_cache::{OptionsBuilder, UnitWeighter, unsync};
use std::hash::Hash;

/// Creates a cache of at most `capacity` entries. An entry is kept until at least half of
/// `capacity` others have been inserted after it.
///
/// By default the cache would give 97 % of its capacity to entries that were found before.
/// What belongs together in a log is close together, so here new entries get half of it,
/// and the keys of evicted entries are not remembered.
pub(crate) fn cache<K: Eq + Hash, V>(capacity: usize) -> unsync::Cache<K, V> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .hot_allocation(0.5)
        .ghost_allocation(0.0)
        .build()
        .unwrap_or_else(|_| unreachable!("both capacities are set"));
    unsync::Cache::with_options(
        options,
        UnitWeighter,
        Default::default(),
        Default::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_found_entries() {
        let mut cache = cache(100);
        for number in 0..1000 {
            cache.insert(number, number);
            assert_eq!(cache.get(&0), Some(&0));
            assert!(cache.len() <= 100, "{number}");
        }
        assert_eq!(cache.get(&60), None);
    }

    #[test]
    fn an_entry_outlasts_the_next_half_of_the_capacity_even_if_all_others_are_found() {
        let mut cache = cache(100);
        for number in 0..1000_u32 {
            cache.insert(number, number);
            if number.is_multiple_of(50) {
                continue;
            }
            for _ in 0..3 {
                cache.get(&number);
            }
            let unused = number - number % 50;
            assert_eq!(cache.peek(&unused), Some(&unused), "{number}");
        }
    }
}
