//! What the servers are fed with: scans, past every proxy, and a queue that keeps each verdict.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::wire::{MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::World;

/// Where copies of all verdicts are kept.
pub(crate) const TAP: &str = "tap";

/// All scans of a test.
pub(crate) struct Feed {
    pub(crate) wire: Wire,
    pub(crate) scans: BTreeSet<String>,
    /// The sandbox's kinds of URLs, in turn.
    kinds: &'static [&'static str],
}

impl Feed {
    /// Opens the tap. Scans may be submitted once a server has declared its queue.
    pub(crate) async fn open(world: &World) -> Feed {
        Feed::of(world, &["clean", "slow", "malicious", "unknown"]).await
    }

    /// The same, with these kinds of URLs.
    pub(crate) async fn of(world: &World, kinds: &'static [&'static str]) -> Feed {
        let wire = Wire::open(world).await;
        wire.tap(TAP, SCANNED).await;
        Feed { wire, scans: BTreeSet::new(), kinds }
    }

    /// Goes on with another connection: the broker has died.
    pub(crate) async fn reopen(&mut self, world: &World) {
        self.wire = Wire::open(world).await;
    }

    /// Submits scans; the broker has them all then.
    pub(crate) async fn submit(&mut self, many: usize) {
        for _ in 0..many {
            let kind = self.kinds[self.scans.len() % self.kinds.len()];
            let (scan, id) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
            let message = json!({ "scanId": scan, "url": format!("http://{kind}.test/{scan}") });
            let body = envelope(&id, message);
            let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
            self.wire.publish(&raw).await;
            self.scans.insert(scan);
        }
    }

    pub(crate) fn count(&self) -> i64 {
        i64::try_from(self.scans.len()).expect("a small number")
    }
}
