//! What a batch has gathered so far: live instances, one slice each, and who waits behind whom.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_guard::{Blocks, Failure};
use knarr_model::commit::{Again, JournalRow, Key, KeyRow, Origin, Outcome};
use knarr_model::ports::store::Loaded;
use knarr_model::work::{Parked, ParkedReason};
use knarr_model::{Digest, Instance, InstanceId, MessageId, Name, RowId, Slice};
use knarr_saga::definition::{Definition, Live};

use super::effects::Sender;
use crate::delivery::{Incoming, Source};

/// All that deciding a batch knows.
pub(crate) struct Situation {
    pub(crate) endpoint: Name,
    pub(crate) saga: std::sync::Arc<dyn Definition>,
    pub(crate) loaded: Loaded,
    /// Start messages of runs that failed; asked for when one does.
    pub(crate) origins: BTreeMap<(InstanceId, u32), Option<Origin>>,
    /// Failures that are known before deciding.
    pub(crate) forced: BTreeMap<MessageId, Forced>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) sender: Sender,
    /// Bytes that the data of one instance may have.
    pub(crate) max_data: usize,
    /// Messages of one instance that may wait for the end of its incident.
    pub(crate) parked_cap: usize,
    pub(crate) mutations: crate::settings::Mutations,
    /// Whether faults that nobody in particular waits for are published.
    pub(crate) publish_faults: bool,
    /// Whether copies of set-aside messages go to `<endpoint>_error`.
    pub(crate) mirror_errors: bool,
    /// When the store came back from a backup, unless that is so long ago that nobody would still
    /// write to what was lost with it.
    pub(crate) restored_at: Option<DateTime<Utc>>,
    /// What may not start.
    pub(crate) blocks: std::sync::Arc<Blocks>,
}

/// A failure that no behaviour caused.
#[derive(Clone, Debug)]
pub(crate) enum Forced {
    /// The store refuses what it writes.
    Constraint(String),
    /// Its business key is another instance's.
    KeyConflict(String),
    /// Its behaviour did not come back.
    Stuck(String),
    /// Deciding it panicked where no behaviour ran.
    Panicked(String),
    /// A process may have died of it: it waits until then.
    Suspected(DateTime<Utc>),
    /// Processes died of it: it is not decided.
    Poison(String),
}

/// A slice on its way.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) slice: Slice,
    /// The instance row is written.
    pub(crate) changed: bool,
    /// Messages produced so far in this run.
    pub(crate) produced: i64,
    /// The last message applied: blamed when the data cannot be written.
    pub(crate) last_applied: Option<MessageId>,
}

/// Parked messages that one commit can number: far more than a batch has.
const SEQ_BITS: u32 = 20;

/// Who waits behind whom at one instance.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits {
    /// Parked rows that later messages wait behind.
    pub(crate) blocking: u64,
    /// The first of them.
    first_seq: i64,
    last_seq: i64,
    due: Option<DateTime<Utc>>,
    /// One of this batch has just been parked in front of the others.
    head_failed: bool,
}

/// The fold of one batch.
pub(crate) struct Fold<'a> {
    pub(crate) at: &'a Situation,
    live: BTreeMap<InstanceId, Box<dyn Live>>,
    pub(crate) drafts: BTreeMap<Option<InstanceId>, Draft>,
    pub(crate) seen: BTreeMap<MessageId, (Digest, Option<InstanceId>)>,
    pub(crate) keys: BTreeMap<Key, KeyRow>,
    waits: BTreeMap<InstanceId, Waits>,
    /// Runs whose start message is needed to go on.
    pub(crate) needs: Vec<(InstanceId, u32)>,
    /// A message whose instance cannot be stored after it, and why.
    pub(crate) refused: Option<(MessageId, String)>,
    pub(crate) warnings: Vec<String>,
    /// A run that failed: nothing else is decided before the guard has dealt with it.
    pub(crate) failure: Option<Box<Failure>>,
    /// A start message that an older definition's block may let through.
    pub(crate) outdated: Option<(MessageId, uuid::Uuid)>,
}

impl<'a> Fold<'a> {
    pub(crate) fn new(at: &'a Situation) -> Self {
        let waits = at
            .loaded
            .waiting
            .iter()
            .map(|(id, w)| {
                let waits = Waits {
                    blocking: w.rows,
                    first_seq: w.first_seq,
                    last_seq: w.last_seq,
                    due: w.due_at,
                    head_failed: false,
                };
                (*id, waits)
            })
            .collect();
        Fold {
            at,
            live: BTreeMap::new(),
            drafts: BTreeMap::new(),
            seen: BTreeMap::new(),
            keys: at.loaded.keys.clone(),
            waits,
            needs: Vec::new(),
            refused: None,
            warnings: Vec::new(),
            failure: None,
            outdated: None,
        }
    }

    /// The slice of `key`, made at first use.
    pub(crate) fn draft(&mut self, key: Option<InstanceId>) -> &mut Draft {
        let loaded = &self.at.loaded;
        self.drafts.entry(key).or_insert_with(|| {
            let stored = key.and_then(|id| loaded.instances.get(&id));
            Draft {
                slice: Slice { key, ..Slice::default() },
                produced: stored.map_or(0, |instance| instance.book.produced),
                ..Draft::default()
            }
        })
    }

    /// The instance taken up, once a batch.
    pub(crate) fn live(&mut self, id: InstanceId) -> Result<&mut Box<dyn Live>, String> {
        use std::collections::btree_map::Entry;
        match self.live.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                if let Some(reason) = self.at.loaded.unreadable.get(&id) {
                    return Err(reason.clone());
                }
                let stored = self.at.loaded.instances.get(&id);
                Ok(entry.insert(self.at.saga.open(id, stored)?))
            }
        }
    }

    /// Whether the instance has a row, or gets one from this batch.
    pub(crate) fn exists(&self, id: InstanceId) -> bool {
        self.at.loaded.instances.contains_key(&id)
            || self.drafts.get(&Some(id)).is_some_and(|draft| draft.changed)
    }

    /// Whether the instance was taken up in this batch.
    pub(crate) fn is_live(&self, id: InstanceId) -> bool {
        self.live.contains_key(&id)
    }

    /// Takes up an instance whose run is over for its next run: a release may start it again.
    pub(crate) fn reopen(&mut self, over: &Instance) {
        self.live.insert(over.id, self.at.saga.reopen(over));
        let now = self.at.now;
        let draft = self.draft(Some(over.id));
        draft.produced = 0;
        draft.slice.wakes_held = over.book.holds;
        if let Some(waits) = self.waits.get_mut(&over.id) {
            // What comes behind them waits as long as they do.
            waits.due.get_or_insert(now);
        }
    }

    /// A message waits until the incident ends that its instance's tombstone belongs to. The row is
    /// written unchanged: where a release has begun the next run meanwhile, the message is that
    /// run's.
    pub(crate) fn hold(&mut self, incoming: &Incoming, tombstone: &Instance) {
        let key = Some(tombstone.id);
        self.park(incoming, key, ParkedReason::Held, None, incoming.failures(), None);
        let draft = self.draft(key);
        draft.changed = false;
        let compared = Instance { version: tombstone.version + 1, ..tombstone.clone() };
        draft.slice.instance = Some(compared);
    }

    /// Whether `incoming` has to wait behind an earlier message of its instance, and until when.
    pub(crate) fn must_wait(
        &self,
        incoming: &Incoming,
        instance: InstanceId,
    ) -> Option<Option<DateTime<Utc>>> {
        let waits = self.waits.get(&instance)?;
        let behind = match &incoming.source {
            Source::Parked { seq, placed: true, .. } => {
                waits.head_failed || (waits.blocking > 0 && *seq > waits.first_seq)
            }
            Source::Broker { .. } | Source::Parked { placed: false, .. } => waits.blocking > 0,
            Source::Row { .. } => false,
        };
        behind.then_some(waits.due)
    }

    /// How many messages wait that later ones of the instance wait behind.
    pub(crate) fn blocking(&self, instance: InstanceId) -> u64 {
        self.waits.get(&instance).map_or(0, |waits| waits.blocking)
    }

    /// Notes that a parked row is parked no more.
    fn unpark(&mut self, instance: InstanceId, reason: ParkedReason) {
        if let Some(waits) = self.waits.get_mut(&instance)
            && reason.blocks()
        {
            waits.blocking = waits.blocking.saturating_sub(1);
            // The rows of an instance are handed out together in order, so the next one that
            // comes is the next head, whatever its number.
            waits.first_seq = i64::MAX;
            if waits.blocking == 0 {
                *waits = Waits { last_seq: waits.last_seq, ..Waits::default() };
            }
        }
    }

    /// Ends a message: its journal row, and the row it was claimed as.
    pub(crate) fn finish(
        &mut self,
        incoming: &Incoming,
        key: Option<InstanceId>,
        journal: Option<JournalRow>,
    ) {
        let row = incoming.claimed();
        let draft = self.draft(key);
        draft.slice.journal.extend(journal);
        draft.slice.taken.extend(row);
        if let (Source::Parked { reason, .. }, Some(id)) = (&incoming.source, key) {
            self.unpark(id, *reason);
        }
    }

    /// The journal row of a message that ends without having been applied.
    pub(crate) fn journal(
        &self,
        incoming: &Incoming,
        event: &str,
        instance: Option<InstanceId>,
        state: Option<&str>,
        outcome: Outcome,
    ) -> JournalRow {
        JournalRow {
            message_id: incoming.id,
            digest: incoming.digest,
            instance,
            run: instance.and_then(|id| self.run_of(id)),
            seq: None,
            event: event.to_owned(),
            from_state: state.map(str::to_owned),
            to_state: state.map(str::to_owned),
            outcome,
            at: self.at.now,
        }
    }

    fn run_of(&self, id: InstanceId) -> Option<u32> {
        let saved = self.live.get(&id).and_then(|live| live.save().ok().flatten());
        saved.map(|instance| instance.run)
    }

    /// Parks a message, or puts a claimed row back to wait again.
    pub(crate) fn park(
        &mut self,
        incoming: &Incoming,
        instance: Option<InstanceId>,
        reason: ParkedReason,
        due_at: Option<DateTime<Utc>>,
        attempt: u32,
        error: Option<String>,
    ) {
        if let Some(id) = instance {
            if self.exists(id) && reason != ParkedReason::Missing {
                // A stale copy of the instance must not decide as if nothing waited.
                self.draft(instance).changed = true;
            }
            let waits = self.waits.entry(id).or_default();
            if reason.blocks() {
                if reason != ParkedReason::Held {
                    waits.head_failed = true;
                    waits.due = due_at;
                }
                if incoming.is_new_in_line() {
                    waits.blocking += 1;
                }
            }
        }
        if let Some(row) = incoming.claimed() {
            let reason = matches!(incoming.source, Source::Parked { .. }).then_some(reason);
            // What wakes the rows of its instance finds it from now on.
            let unplaced = matches!(incoming.source, Source::Parked { placed: false, .. });
            let place = instance.filter(|_| unplaced).map(|id| (id, self.next_place(id)));
            let again = Again { row, due_at, attempt, error, reason, place };
            self.draft(instance).slice.again.push(again);
        } else if let Some(envelope) = incoming.kept() {
            let seq = instance.map_or(0, |id| self.next_place(id));
            let saga = self.at.saga.name().clone();
            let parked = Parked {
                id: parked_row(&saga, incoming.id),
                endpoint: self.at.endpoint.clone(),
                saga,
                message_id: incoming.id,
                digest: incoming.digest,
                instance,
                seq,
                reason,
                attempt,
                claims: 0,
                due_at,
                error,
                envelope,
            };
            self.draft(instance).slice.parked.push(parked);
        }
    }

    /// The last place in an instance's line.
    fn next_place(&mut self, id: InstanceId) -> i64 {
        // A commit that parks a message of an instance raises its version, so numbers rise from
        // commit to commit also where nothing blocks and no last one is known.
        let stored = self.at.loaded.instances.get(&id);
        let floor = stored.map_or(0, |instance| instance.version << SEQ_BITS);
        let waits = self.waits.entry(id).or_default();
        waits.last_seq = waits.last_seq.max(floor) + 1;
        waits.last_seq
    }

    /// The instance changed its state or ended: what it deferred is decided again. The store wakes
    /// the rows it has; those that this very commit writes are written awake.
    pub(crate) fn wake_deferred(&mut self, instance: InstanceId) {
        let now = self.at.now;
        let slice = &mut self.draft(Some(instance)).slice;
        slice.wakes_deferred = true;
        for parked in &mut slice.parked {
            if parked.reason == ParkedReason::Deferred {
                parked.due_at.get_or_insert(now);
            }
        }
        for again in &mut slice.again {
            if again.reason == Some(ParkedReason::Deferred) {
                again.due_at.get_or_insert(now);
            }
        }
    }

    /// The finished slices; `Err` names the message whose instance data cannot be written.
    pub(crate) fn into_slices(mut self) -> Result<Vec<Slice>, (MessageId, String)> {
        let mut slices = Vec::with_capacity(self.drafts.len());
        for (key, mut draft) in std::mem::take(&mut self.drafts) {
            if let (Some(id), true) = (key, draft.changed) {
                let version = self.at.loaded.instances.get(&id).map_or(0, |i| i.version) + 1;
                let saved = self.live.get(&id).map_or(Ok(None), |live| live.save());
                match saved {
                    Ok(Some(mut instance)) => {
                        instance.version = version;
                        instance.book.produced = draft.produced;
                        draft.slice.instance = Some(instance);
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        let blamed = draft.last_applied.unwrap_or(MessageId(id.0));
                        return Err((blamed, reason));
                    }
                }
            }
            slices.push(draft.slice);
        }
        Ok(slices)
    }

    /// The saved form of the instance that `incoming` was just applied to; `None` when it cannot be
    /// stored: the batch is decided again without that message.
    pub(crate) fn saved_after(&mut self, incoming: &Incoming, id: InstanceId) -> Option<Instance> {
        let saved = self.live.get(&id)?.save().and_then(|saved| {
            let bytes = saved.as_ref().map_or(0, |instance| instance.data.get().len());
            let most = self.at.max_data;
            let text = || format!("the data of {id} would have {bytes} bytes, allowed are {most}");
            if bytes > most { Err(text()) } else { Ok(saved) }
        });
        saved.unwrap_or_else(|reason| {
            self.refused.get_or_insert((incoming.id, reason));
            None
        })
    }

    /// The saved form of a live instance.
    pub(crate) fn saved(&self, id: InstanceId) -> Option<Instance> {
        self.live.get(&id).and_then(|live| live.save().ok().flatten())
    }
}

/// The parked row of a message: the same however often it is parked anew.
pub(super) fn parked_row(saga: &Name, message: MessageId) -> RowId {
    RowId(knarr_model::ids::derived_id(&[b"parked", saga.as_bytes(), message.as_bytes()]))
}
