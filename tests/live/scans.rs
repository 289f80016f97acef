//! Scans in large numbers, and what must be true of them once everything has gone wrong and ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Where copies of all verdicts are kept.
const TAP: &str = "tap";
const ENDED: &str = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
/// Sessions of ours that rest within a transaction.
const RESTING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'knarr'
    AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '2 s'";

/// Scans that were submitted to a server's world.
pub(crate) struct Scans {
    wire: Wire,
    ids: BTreeSet<String>,
}

impl Scans {
    /// None yet; from now on every verdict is kept.
    pub(crate) async fn tapped(world: &World) -> Scans {
        let wire = Wire::open(world).await;
        wire.tap(TAP, SCANNED).await;
        Scans { wire, ids: BTreeSet::new() }
    }

    /// The same scans, over another connection: the broker was away.
    pub(crate) async fn tapped_again(self, world: &World) -> Scans {
        Scans { wire: Wire::open(world).await, ..self }
    }

    /// Submits as many more, of which half take a while; all are in the queue when this returns.
    pub(crate) async fn submit(&mut self, many: usize) {
        for number in 0..many {
            let kind = if number % 2 == 0 { "slow" } else { "clean" };
            let (scan, message_id) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
            let message = json!({ "scanId": scan, "url": format!("http://{kind}.test/{scan}") });
            let body = envelope(&message_id, message);
            let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
            self.wire.publish(&raw).await;
            self.ids.insert(scan);
        }
    }

    /// How many there are.
    pub(crate) fn many(&self) -> i64 {
        self.ids.len() as i64
    }

    /// Messages that nobody has taken from the endpoint's queue.
    pub(crate) async fn untaken(&self) -> i64 {
        self.wire.ready(ENDPOINT).await.into()
    }

    /// Waits for the end of all; each must have ended once, and been told under one id. Nobody is
    /// blamed for what the servers did, and nothing of ours is left on the database.
    pub(crate) async fn all_ended_well(self, world: &World, serving: &Serving) {
        let mut stored = Stored::open(world).await;
        // What still lies in the broker is in no table.
        until("all have ended", async || match stored.count(ENDED).await {
            ended if ended == self.many() => Ok(()),
            ended => Err(format!("{ended} of {}", self.many())),
        })
        .await;
        stored.all_ended_once(self.many()).await;
        for list in ["/api/v1/quarantine", "/api/v1/incidents"] {
            assert_eq!(serving.list(list).await, Vec::<Value>::new(), "{list}");
        }
        assert_eq!(self.untaken().await, 0, "nothing is left in the queue");
        assert_eq!(stored.count(RESTING).await, 0, "a session of ours rests in a transaction");
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let verdicts = self.wire.take_all(TAP).await;
        println!("{} verdicts were sent for {} scans", verdicts.len(), self.many());
        for verdict in verdicts {
            let verdict: Value = serde_json::from_slice(&verdict).expect("an envelope");
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            assert_eq!(verdict["message"]["verdict"], "clean", "{verdict:#}");
            let ids = told.entry(text(&verdict["message"]["scanId"])).or_default();
            ids.insert(text(&verdict["messageId"]));
        }
        assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), self.ids, "a verdict each");
        let twice: Vec<_> = told.iter().filter(|(_, ids)| ids.len() > 1).collect();
        assert!(twice.is_empty(), "told under several ids: {twice:?}");
        self.wire.close().await;
    }
}
