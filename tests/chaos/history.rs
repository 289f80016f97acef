//! The checker: what must be true of the history once nothing fails any more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::feed::{Feed, TAP};
use crate::stored::Stored;
use crate::wire::{DEAD, ENDPOINT};
use crate::world::{World, until};

/// Rows that must not be there, by what they would mean (reliability, "History checker").
const NONE_OF: [(&str, &str); 5] = [
    ("I1: messages set aside", "SELECT count(*) FROM knarr.quarantine"),
    ("I1: incidents", "SELECT count(*) FROM knarr.incident"),
    (
        "I4: instances with a gap in their steps",
        "SELECT count(*) FROM (SELECT instance, run FROM knarr.journal WHERE outcome = 'applied' \
         GROUP BY instance, run HAVING min(seq) <> 1 OR max(seq) <> count(*)) gaps",
    ),
    ("I7: suspects", "SELECT count(*) FROM knarr.suspect"),
    (
        "I11: connections that lie in a transaction",
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND state LIKE 'idle in transaction%'",
    ),
];

/// A history that is as it should be, in numbers.
pub(crate) struct Summary {
    /// Scans, each with its one verdict.
    pub(crate) scans: usize,
    /// Verdicts on the wire beyond one for each scan, under the same ids.
    pub(crate) copies: usize,
    /// Lines of the journal by outcome.
    pub(crate) outcomes: BTreeMap<String, i64>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { scans, copies, outcomes } = self;
        write!(f, "{scans} scans ended once; {copies} copies on the wire; journal {outcomes:?}")
    }
}

/// Waits until everything that was fed has come to its end, and checks how.
pub(crate) async fn check(world: &World, feed: &Feed) -> Summary {
    let mut stored = Stored::open(world).await;
    let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
    until("I10: all scans end", async || match stored.count(ended).await {
        many if many == feed.count() => Ok(()),
        many => Err(format!("{many} of {}", feed.count())),
    })
    .await;
    stored.all_ended_once(feed.count()).await;
    for (what, sql) in NONE_OF {
        until(what, async || match stored.count(sql).await {
            0 => Ok(()),
            some => Err(format!("{some}")),
        })
        .await;
    }
    // What was acked before its commit would have no line; what never was would lie here.
    for queue in [ENDPOINT, DEAD] {
        until("I1: the queue is empty", async || match feed.wire.ready(queue).await {
            0 => Ok(()),
            some => Err(format!("{some} in {queue}")),
        })
        .await;
    }
    let (told, copies) = verdicts(feed).await;
    assert_eq!(told, feed.scans, "I3: every scan has its verdict");
    let outcomes = "SELECT outcome, count(*) FROM knarr.journal GROUP BY outcome";
    let summary = Summary { scans: told.len(), copies, outcomes: stored.groups(outcomes).await };
    println!("{summary}");
    summary
}

/// The scans that were told about, and the copies beyond the first of each.
async fn verdicts(feed: &Feed) -> (BTreeSet<String>, usize) {
    let mut told: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    let mut copies = 0;
    for body in feed.wire.take_all(TAP).await {
        let verdict: Value = serde_json::from_slice(&body).expect("an envelope");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (scan, id) = (text(&verdict["message"]["scanId"]), text(&verdict["messageId"]));
        match told.get(&scan) {
            Some((first, first_body)) => {
                assert_eq!(*first, id, "I3: {scan} is told under two ids");
                assert!(*first_body == body, "I3: {scan} is told with different bytes");
                copies += 1;
            }
            None => {
                told.insert(scan, (id, body));
            }
        }
    }
    (told.into_keys().collect(), copies)
}
