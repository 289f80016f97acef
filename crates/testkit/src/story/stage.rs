//! The stage of a story: the real engine over the memory store, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_engine::{Engine, Ports, Running, Settings};
use knarr_model::format::masstransit::Host;
use knarr_model::ports::Clock;
use knarr_model::quarantine::Quarantined;
use knarr_model::statement::Statement;
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, WithoutId};
use knarr_model::{CancellationToken, Envelope, Instance, InstanceId};
use knarr_saga::definition::{Definition, Target};

use super::board::{Board, Scripted};
use super::door::Door;
use super::spawn::HereSpawn;
use super::trace::Trace;
use super::watched::watched;
use crate::clock::TokioClock;
use crate::memory::{MemoryStore, Rows};

/// Looks at whether everything rests, a virtual millisecond apart.
const LOOKS: u32 = 120_000;

/// Everything that a running story can reach.
pub(super) struct Stage {
    pub(super) door: Door,
    pub(super) board: Arc<Board>,
    clock: Arc<TokioClock>,
    store: MemoryStore,
    definition: Arc<dyn Definition>,
    running: Running,
    /// The instance that the last message named.
    instance: Option<InstanceId>,
    /// Messages that a step of the story has spoken of, by their place.
    pub(super) told: Vec<bool>,
    /// Statements that a step of the story has spoken of, by their place.
    pub(super) statements_told: Vec<bool>,
    /// How many of the messages set aside the story has spoken of.
    pub(super) set_aside_told: usize,
}

impl Stage {
    /// Starts the engine.
    ///
    /// # Errors
    /// What is wrong with the machine.
    pub(super) fn open(inner: &Arc<dyn Definition>, trace: &Arc<Trace>) -> Result<Stage, String> {
        let definition: Arc<dyn Definition> = Arc::new(watched(inner.clone(), trace.clone()));
        let clock = Arc::new(TokioClock::new(1));
        let store = MemoryStore::new(clock.clone());
        let (door, board) = (Door::default(), Arc::new(Board::default()));
        let ports = Ports {
            transport: Arc::new(door.clone()),
            store: Arc::new(store.clone()),
            clock: clock.clone(),
            spawn: Arc::new(HereSpawn),
        };
        let endpoint = ReceiveEndpoint {
            name: definition.name().clone(),
            subscriptions: definition.subscriptions(),
            queue: QueueKind::Quorum,
            declare: Declare::Create,
            prefetch: 16,
            max_body: 8 << 20,
            without_id: WithoutId::Digest,
            ordered: definition.is_ordered(),
        };
        let settings = Settings { lanes: 1, ..Settings::default() };
        let mut engine = Engine::new(ports, settings, Host::default(), CancellationToken::new())
            .saga(definition.clone(), endpoint);
        for call in definition.calls() {
            engine = engine.activity(Arc::new(Scripted { call, board: board.clone() }));
        }
        let running = engine.start().map_err(|error| error.to_string())?;
        Ok(Stage {
            door,
            board,
            clock,
            store,
            definition,
            running,
            instance: None,
            told: Vec::new(),
            statements_told: Vec::new(),
            set_aside_told: 0,
        })
    }

    /// Stops the engine.
    pub(super) async fn close(self) {
        self.running.stop().await;
    }

    /// Delivers a message.
    pub(super) fn deliver(&mut self, envelope: Envelope) {
        if let Ok(correlated) = self.definition.correlate(&envelope) {
            self.instance = match correlated.target {
                Target::Id(id) => Some(id),
                // Whose key it is comes out in the store; the story has only one then.
                Target::Key(_) => None,
            };
        }
        self.door.deliver(Arc::new(envelope), self.clock.now());
    }

    /// Lets time pass; whatever is due meanwhile happens at its time.
    pub(super) async fn advance(&self, by: Duration) -> Result<(), String> {
        self.clock.sleep(by).await;
        self.settle().await
    }

    /// Waits until nothing happens any more unless time passes or a call is answered.
    pub(super) async fn settle(&self) -> Result<(), String> {
        let mut busy = None;
        for _ in 0..LOOKS {
            self.clock.sleep(Duration::from_millis(1)).await;
            busy = self.store.with_rows(|rows| self.busy(rows));
            if busy.is_none() {
                return Ok(());
            }
        }
        Err(format!("it does not come to rest: {}", busy.unwrap_or_default()))
    }

    /// What still happens by itself.
    fn busy(&self, rows: &Rows) -> Option<String> {
        let now = self.clock.now();
        if !self.door.is_empty() {
            return Some("a message is being decided".to_owned());
        }
        if rows.timer.values().any(|held| held.row.due_at <= now) {
            return Some("a timer is due".to_owned());
        }
        if rows.parked.values().any(|held| held.row.due_at.is_some_and(|due| due <= now)) {
            return Some("a message that waited is due".to_owned());
        }
        let due = |held: &&crate::memory::CallRow| held.task.due_at <= now;
        if rows.activity.values().filter(due).any(|held| held.end.is_some()) {
            return Some("a call has ended".to_owned());
        }
        if rows.activity.values().filter(due).count() != self.board.len() {
            return Some("a call begins or ends".to_owned());
        }
        let mut leaving = rows.outbox.values().flat_map(|row| &row.chunk.messages);
        if leaving.any(|message| !self.door.has_sent(message.id)) {
            return Some("a message leaves".to_owned());
        }
        None
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn new_id(&self) -> uuid::Uuid {
        self.clock.new_id()
    }

    /// The instance that the story is about, if there is one.
    ///
    /// # Errors
    /// When it may be about several.
    pub(super) fn instance(&self) -> Result<Option<Instance>, String> {
        self.store.with_rows(|rows| {
            let saga = self.definition.name();
            if let Some(id) = self.instance {
                let row = rows.instance.get(&(saga.clone(), id));
                return Ok(row.map(|row| row.instance.clone()));
            }
            let mut all = rows.instance.values();
            match (all.next(), all.next()) {
                (_, Some(_)) => Err("there are several instances, and the last message found \
                                     its own by a key: give each its own story"
                    .to_owned()),
                (one, None) => Ok(one.map(|row| row.instance.clone())),
            }
        })
    }

    /// Statements on the saga's own tables, in the order of their commits.
    pub(super) fn statements(&self) -> Vec<Statement> {
        self.store.with_rows(|rows| rows.statements.clone())
    }

    /// Messages set aside, oldest first.
    pub(super) fn set_aside(&self) -> Vec<Quarantined> {
        let mut rows: Vec<_> =
            self.store.with_rows(|rows| rows.quarantine.values().cloned().collect());
        rows.sort_by_key(|row: &Quarantined| (row.at, row.id));
        rows
    }
}
