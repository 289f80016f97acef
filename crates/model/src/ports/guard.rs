//! The guard's door to the store: under the closed fence of one endpoint, look, decide, write.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::commit::{JournalRow, Key};
use crate::ids::{InstanceId, Name, NodeId, RowId, derived_id};
use crate::incident::{Audit, Block, Incident, StepDone, Whole};
use crate::instance::Instance;
use crate::ports::endpoint::{EndpointRow, Served};
use crate::ports::trouble::StoreError;
use crate::quarantine::Quarantined;
pub use crate::statement::{Dialects, Statement};
use crate::work::{Chunk, ClaimedRow, Outgoing, Parked, RowKind};

/// What a verb must see.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The endpoint whose fence is closed.
    pub endpoint: Name,
    /// A run with everything around it.
    pub instance: Option<(Name, InstanceId)>,
    /// An incident, with its snapshot; the endpoint's oldest open one if none is named.
    pub incident: Option<Uuid>,
    /// Set-aside messages, with what they block.
    pub quarantined: Vec<Uuid>,
    /// The key of a request that may have been carried out already.
    pub key: Option<String>,
    /// An internal delivery that must be this node's, under this very claim.
    pub row: Option<ClaimedRow>,
    /// The node that asks.
    pub node: NodeId,
    /// The clock port's time: stores without a clock of their own use it.
    pub now: DateTime<Utc>,
}

impl Ask {
    /// Nothing but the endpoint's row.
    pub fn endpoint(endpoint: &Name, node: NodeId, now: DateTime<Utc>) -> Ask {
        Ask {
            endpoint: endpoint.clone(),
            instance: None,
            incident: None,
            quarantined: Vec::new(),
            key: None,
            row: None,
            node,
            now,
        }
    }
}

/// What was asked for, as it stands while the fence is closed: no commit of the endpoint is under
/// way, and none begins before the plan is carried out. Rows around the instance are locked.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The endpoint's row, made if there was none.
    pub endpoint: EndpointRow,
    /// The run.
    pub whole: Option<Whole>,
    /// The incident asked for, else the endpoint's oldest open one with scope `endpoint`.
    pub incident: Option<Incident>,
    /// What that incident keeps.
    pub snapshot: Option<Whole>,
    /// The set-aside messages, in the order asked for; unknown ids are left out.
    pub quarantined: Vec<Quarantined>,
    /// What these block.
    pub blocks: Vec<Block>,
    /// The request that was carried out under this key.
    pub repeated: Option<Audit>,
    /// Whether the internal delivery is there and the node's own.
    pub owned: bool,
}

/// All that one verb writes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// The endpoint's new row.
    pub endpoint: Option<EndpointRow>,
    /// This run is emptied: its timers, calls, parked messages, keys and start message are deleted,
    /// its unsent messages are taken out of the outbox, and `(instance, run)` is marked withdrawn.
    pub empty: Option<(Name, InstanceId, u32)>,
    /// The instance's new row: a tombstone, or a run restored. `version` is already raised.
    pub instance: Option<Instance>,
    /// What comes back around an instance: its mark as withdrawn goes, and rows are inserted under
    /// their old ids, claimed by nobody. The instance itself is `instance`.
    #[serde(skip)]
    pub restore: Option<Whole>,
    /// Messages that wait, `held`, for this instance become due: it holds them back no more.
    pub wake: Option<(Name, InstanceId)>,
    /// Incidents written: inserted, or replaced by id.
    pub incidents: Vec<Incident>,
    /// A snapshot kept for an incident.
    #[serde(skip)]
    pub snapshot: Option<(Uuid, Whole)>,
    /// Incidents whose snapshots are deleted.
    pub forget_snapshots: Vec<Uuid>,
    /// Messages set aside anew; one that is there already (same endpoint, id and digest) is
    /// replaced, its id kept.
    pub set_aside: Vec<Quarantined>,
    /// Set-aside messages replaced by id: status, body, history.
    pub changed: Vec<Quarantined>,
    /// Blocks written: inserted, or replaced by id.
    pub blocks: Vec<Block>,
    /// Blocks lifted, by the set-aside message that blocks.
    pub unblocked: Vec<Uuid>,
    /// Journal lines.
    pub journal: Vec<JournalRow>,
    /// Internal deliveries that are done: deleted.
    pub taken: Vec<(RowKind, RowId)>,
    /// Messages that become internal deliveries; one whose message id is journaled or parked
    /// already is left out.
    #[serde(skip)]
    pub deliveries: Vec<Parked>,
    /// Messages that leave: one chunk of the asking node, under this id.
    #[serde(skip)]
    pub outgoing: Option<(RowId, Vec<Outgoing>)>,
    /// Purge steps, in order.
    pub steps: Vec<Statement>,
    /// One line of the audit.
    pub audit: Option<Audit>,
}

impl Plan {
    /// The saga that its journal lines and outgoing messages belong to: an endpoint has one.
    pub fn saga<'a>(&'a self, ask: &'a Ask) -> &'a Name {
        let asked = ask.instance.as_ref().map(|(saga, _)| saga);
        asked
            .or(self.empty.as_ref().map(|(saga, ..)| saga))
            .or(self.instance.as_ref().map(|instance| &instance.saga))
            .or(self.incidents.first().map(|incident| &incident.saga))
            .or(self.set_aside.iter().chain(&self.changed).next().map(|row| &row.saga))
            .or(self.deliveries.first().map(|row| &row.saga))
            .unwrap_or(&ask.endpoint)
    }

    /// The outbox rows that it makes: what a restored run had not sent, then what leaves anew. The
    /// former's ids follow from the run and the version at which it is back.
    pub fn chunks(&self, endpoint: &Name) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if let Some(whole) = &self.restore {
            let run = &whole.instance;
            let version = self.instance.as_ref().map_or(run.version, |back| back.version);
            let mut number = 0_u64;
            chunks = Chunk::split(endpoint, whole.unsent.clone(), || {
                number += 1;
                let back = format!("{} {version} {number}", run.run);
                RowId(derived_id(&[b"restored", run.id.as_bytes(), back.as_bytes()]))
            });
        }
        if let Some((id, messages)) = self.outgoing.as_ref().filter(|(_, list)| !list.is_empty()) {
            let endpoint = endpoint.clone();
            chunks.push(Chunk { id: *id, endpoint, messages: messages.clone() });
        }
        chunks
    }

    /// A message that is set aside already keeps its id: whatever names the drafted one follows.
    pub fn keep_id(&mut self, drafted: Uuid, kept: Uuid) {
        let rows = self.set_aside.iter_mut().map(|row| &mut row.id);
        let incidents = self.incidents.iter_mut().filter_map(|row| row.quarantined.as_mut());
        let blocks = self.blocks.iter_mut().map(|block| &mut block.quarantined);
        for id in rows.chain(incidents).chain(blocks).filter(|id| **id == drafted) {
            *id = kept;
        }
    }

    /// An incident that gathers messages of its class is open already: the drafted one adds to it,
    /// and whatever names the drafted one follows.
    pub fn join(&mut self, drafted: Uuid, open: &Incident) {
        for incident in self.incidents.iter_mut().filter(|incident| incident.id == drafted) {
            *incident = Incident { count: open.count + incident.count, ..open.clone() };
        }
        let rows = self.set_aside.iter_mut().map(|row| &mut row.incident);
        let blocks = self.blocks.iter_mut().map(|block| &mut block.incident);
        for id in rows.chain(blocks).flatten().filter(|id| **id == drafted) {
            *id = open.id;
        }
    }

    /// What its purge steps touched is told by its first incident.
    pub fn tell_steps(&mut self, steps: &[StepDone]) {
        if let Some(incident) = self.incidents.first_mut().filter(|_| !steps.is_empty()) {
            incident.removed.steps = steps.to_vec();
        }
    }
}

/// Why a verb was not carried out. Nothing was written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// What it names is not there.
    #[error("{0}")]
    Unknown(String),
    /// It stands otherwise than the verb needs: released already, resolved already …
    #[error("{0}")]
    Conflict(String),
    /// What it brings is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The run was decided on at another version or epoch: look again.
    #[error("the state changed meanwhile")]
    Changed,
    /// The same request was carried out before: this is what it did.
    #[error("carried out before")]
    Repeated(Box<Audit>),
}

impl Refusal {
    /// A run cannot come back, because another instance owns its key by now.
    pub fn key_taken(key: &Key, owner: InstanceId) -> Refusal {
        let Key { name, value } = key;
        Refusal::Conflict(format!("the key {name} `{value}` belongs to instance {owner} by now"))
    }
}

/// What was carried out.
#[derive(Clone, Debug)]
pub struct CarriedOut {
    /// The plan as carried out; its incident says what the purge steps touched.
    pub plan: Plan,
    /// What each purge step touched.
    pub steps: Vec<StepDone>,
    /// The outbox rows made.
    pub chunks: Vec<Chunk>,
}

/// Looks at a scene and says what to do. It may be called more than once.
pub type Decide = Arc<dyn Fn(&Scene) -> Result<Plan, Refusal> + Send + Sync>;

/// Whether a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It is.
    ForReal,
    /// It is only shown; nothing is written.
    Dry,
}

/// The guard's side of a store. Each verb is one transaction under the exclusive fence.
#[async_trait]
pub trait Guarded: Send + Sync {
    /// Closes the endpoint's fence, looks, lets `decide` plan, carries the plan out, commits. All
    /// or nothing; after it returns nothing commits that was decided at an older epoch.
    ///
    /// # Errors
    /// After an error it is not known whether the plan was carried out.
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError>;

    /// The live nodes that serve an endpoint, by id.
    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError>;

    /// Every block of an endpoint, and the `guard_version` they belong to.
    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError>;

    /// Of these runs, those that are marked withdrawn.
    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError>;

    /// Of these calls that the node runs, those whose rows are gone or another's.
    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError>;

    /// Adds to counts that inform and on which nothing depends: copies met per block, and messages
    /// per (endpoint, saga, class), each class an open incident made at the first one.
    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError>;

    /// Blocks whose released run has finished: they may be lifted.
    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError>;
}

/// Counts gathered in memory.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Blocked copies, by the set-aside message that blocks.
    pub copies: Vec<(Uuid, u64)>,
    /// Messages set aside: a draft of the incident that gathers them, its `count` to be added.
    pub classes: Vec<Incident>,
}
