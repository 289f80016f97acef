//! What Safe Browsing has said about prefixes, for as long as it said that this may be kept.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::hashes::{FullHash, Prefix};
use crate::threats::Threat;

/// Hashes with what is held against them.
pub(crate) type Listed = Vec<(FullHash, Vec<Threat>)>;

/// Answers by prefix; bounded.
pub(crate) struct HashCache {
    entries: Mutex<BTreeMap<Prefix, Entry>>,
    most: usize,
}

struct Entry {
    until: DateTime<Utc>,
    listed: Listed,
}

impl HashCache {
    /// A cache of at most `most` prefixes.
    pub(crate) fn new(most: usize) -> Self {
        HashCache { entries: Mutex::default(), most }
    }

    /// What was said about a prefix, if it still counts; an empty list when nothing is held
    /// against any hash that begins so.
    pub(crate) fn get(&self, prefix: &Prefix, now: DateTime<Utc>) -> Option<Listed> {
        let entries = self.entries.lock();
        entries.get(prefix).filter(|entry| entry.until > now).map(|entry| entry.listed.clone())
    }

    /// Keeps what was said about a prefix. In a full cache the entries go that end first.
    pub(crate) fn put(
        &self,
        prefix: Prefix,
        listed: Listed,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        if until <= now || self.most == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        entries.insert(prefix, Entry { until, listed });
        if entries.len() <= self.most {
            return;
        }
        // A quarter at once, so that a full cache does not look through itself at every answer.
        let mut ends: Vec<_> =
            entries.iter().map(|(prefix, entry)| (entry.until, *prefix)).collect();
        ends.sort_unstable();
        let surplus = entries.len() - self.most + self.most / 4;
        for (_, gone) in ends.into_iter().take(surplus) {
            entries.remove(&gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn answers_count_until_they_end_and_the_cache_stays_bounded() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let later = |seconds| now + TimeDelta::seconds(seconds);
        let cache = HashCache::new(8);
        let listed = vec![([7; 32], vec![Threat::Malware])];
        cache.put([0; 4], listed.clone(), later(10), now);
        assert_eq!(cache.get(&[0; 4], later(9)), Some(listed));
        assert_eq!(cache.get(&[0; 4], later(10)), None);
        assert_eq!(cache.get(&[1; 4], now), None);
        cache.put([1; 4], Vec::new(), now, now);
        assert_eq!(cache.get(&[1; 4], now), None, "nothing is kept for no time");
        for n in 0..100_u8 {
            cache.put([n, 1, 1, 1], Vec::new(), later(100 + i64::from(n)), now);
            assert!(cache.entries.lock().len() <= 8);
        }
        assert_eq!(cache.get(&[0; 4], now), None, "what ended first is gone first");
        assert_eq!(cache.get(&[99, 1, 1, 1], now), Some(Vec::new()));
    }
}
