//! Purses of permits in aligned windows.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ports::permit::Quota;

use super::rows::Rows;

pub(super) fn take(
    rows: &mut Rows,
    now: DateTime<Utc>,
    name: &str,
    quotas: &[Quota],
) -> Result<(), Duration> {
    let nanos = u128::try_from(now.timestamp_nanos_opt().unwrap_or(0)).unwrap_or(0);
    let mut limits: BTreeMap<Duration, u32> = BTreeMap::new();
    for quota in quotas {
        let limit = limits.entry(quota.window).or_insert(quota.limit);
        *limit = quota.limit.min(*limit);
    }
    let mut drawn = Vec::with_capacity(limits.len());
    let mut wait: Option<Duration> = None;
    for (window, limit) in limits {
        let length = window.as_nanos().max(1);
        let number = nanos / length;
        let purse = (name.to_owned(), window);
        let taken = match rows.permit.get(&purse) {
            Some((of, taken)) if *of == number => *taken,
            _ => 0,
        };
        if taken >= limit {
            let left = u64::try_from((number + 1) * length - nanos).unwrap_or(u64::MAX);
            wait = wait.max(Some(Duration::from_nanos(left)));
        }
        drawn.push((purse, (number, taken + 1)));
    }
    match wait {
        Some(wait) => Err(wait),
        None => {
            rows.permit.extend(drawn);
            Ok(())
        }
    }
}
