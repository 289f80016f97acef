//! Decides events for one instance: pure, transactional, panics caught.

use std::any::Any;
use std::sync::Arc;

use knarr_model::instance::{FINAL, INITIAL, PURGED};
use knarr_model::{Book, Class, Instance, InstanceId, Name, RetryPolicy, RowId};
use serde_json::value::{RawValue, to_raw_value};

use crate::definition::{BadMessage, Cause, Decision, Event, Live, Verdict};
use crate::effects::Scene;
use crate::index::{Entry, Index};
use crate::joins;
use crate::machine::Machine;
use crate::message::Correlation;
use crate::payload::payload;
use crate::states::States;
use crate::step::{Opening, Step, Stop};
use crate::table::{Ending, MissingPolicy, Table, Unhandled};

/// What all instances of a machine share.
pub(crate) struct Machinery<M: Machine> {
    pub(crate) name: Name,
    pub(crate) table: Table<M>,
    pub(crate) index: Index,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// There is none.
    Nowhere,
    /// In one of the machine's states, by number.
    In(usize),
    Final,
    Purged,
}

/// One instance taken up.
pub(crate) struct Standing<M: Machine> {
    machinery: Arc<Machinery<M>>,
    id: InstanceId,
    at: At,
    /// The typed data, while the run lives and once it ended in this fold.
    data: Option<M>,
    /// The stored data, as long as no row has run since.
    stored: Option<Arc<RawValue>>,
    run: u32,
    version: i64,
    definition_version: u32,
    pub(crate) book: Book,
    incident: Option<uuid::Uuid>,
    changed: bool,
}

impl<M: Machine> Clone for Standing<M> {
    fn clone(&self) -> Self {
        Standing {
            machinery: self.machinery.clone(),
            data: self.data.clone(),
            stored: self.stored.clone(),
            book: self.book.clone(),
            ..*self
        }
    }
}

/// An event whose row, if any, is known.
struct Met<'s> {
    entry: Option<&'s Entry>,
    row: Option<usize>,
    /// The timer's or call's row, which is over with this event.
    ends: Ends<'s>,
}

#[derive(Clone, Copy)]
enum Ends<'s> {
    Nothing,
    Timer(&'s str),
    Call(RowId),
}

impl Ends<'_> {
    fn strike(self, book: &mut Book) {
        match self {
            Ends::Nothing => {}
            Ends::Timer(name) => {
                book.timers.remove(name);
            }
            Ends::Call(token) => book.calls.retain(|open| open.token != token),
        }
    }
}

impl<M: Machine> Standing<M> {
    /// No instance yet; `run` and `version` are those that a start gives it.
    pub(crate) fn nowhere(
        machinery: Arc<Machinery<M>>,
        id: InstanceId,
        run: u32,
        version: i64,
    ) -> Self {
        Standing {
            definition_version: machinery.table.settings.version,
            machinery,
            id,
            at: At::Nowhere,
            data: None,
            stored: None,
            run,
            version,
            book: Book::default(),
            incident: None,
            changed: false,
        }
    }

    /// A stored instance; `data` is there unless its run is over.
    pub(crate) fn stored(
        machinery: Arc<Machinery<M>>,
        instance: &Instance,
        at: At,
        data: Option<M>,
    ) -> Self {
        Standing {
            machinery,
            id: instance.id,
            at,
            data,
            stored: Some(instance.data.clone()),
            run: instance.run,
            version: instance.version,
            definition_version: instance.definition_version,
            book: instance.book.clone(),
            incident: instance.incident,
            changed: false,
        }
    }

    fn state_name(&self) -> &'static str {
        match self.at {
            At::Nowhere => INITIAL,
            At::In(number) => M::State::NAMES[number],
            At::Final => FINAL,
            At::Purged => PURGED,
        }
    }

    /// `number` is the message's in the table, where the event is one that it takes.
    fn judge(
        &mut self,
        cause: &Cause,
        event: &Event<'_>,
        number: Option<usize>,
    ) -> Result<Step<M>, Verdict> {
        let machinery = self.machinery.clone();
        let taken = number.map(|number| &machinery.table.messages[number]);
        let met = match (event, number) {
            (Event::Message(_), Some(number)) => self.meet_message(&machinery, number),
            (Event::Message(envelope), None) => {
                Err(Verdict::Bad(BadMessage::UnknownType(envelope.message_types.clone())))
            }
            _ => self.meet_internal(&machinery, event),
        }?;
        let feeds = met.entry.map(|entry| entry.feeds.as_slice()).unwrap_or_default();
        let line = met.row.map(|row| &machinery.table.rows[row]);
        let runs = match line.map(|line| &line.ending) {
            Some(Ending::Defer) => return Err(Verdict::Deferred),
            Some(Ending::Ignore) if !joins::is_news(&self.book, feeds) => {
                return Err(self.ignored(met.ends));
            }
            Some(Ending::Ignore) => None,
            Some(_) => line,
            None if joins::is_news(&self.book, feeds) => None,
            None => return Err(self.rowless(&met, event)),
        };
        let payload = payload(&machinery.table, event, taken, runs.is_some())?;
        let payload: &dyn Any = &*payload;
        let skips = |machine: &M| {
            runs.and_then(|line| line.ignore_if.as_ref()).is_some_and(|ask| ask(machine, payload))
        };
        if self.data.as_ref().is_some_and(skips) {
            return Err(self.ignored(met.ends));
        }
        let mut book = self.book.clone();
        met.ends.strike(&mut book);
        book.applied += 1;
        // A start by business key owns that key from its first step on.
        if let Some(Correlation::Key(name, read)) = taken.and_then(|t| t.correlation.as_ref())
            && self.at == At::Nowhere
        {
            book.keys.push(((*name).to_owned(), read(payload)));
        }
        let opening = Opening {
            table: &machinery.table,
            index: &machinery.index,
            line: runs,
            feeds,
            payload,
            from: match self.at {
                At::In(number) => Some(number),
                _ => None,
            },
            machine: self.data.as_ref(),
        };
        let scene = self.scene(cause, event);
        opening.run(scene, book).map_err(|stop| match stop {
            Stop::Broken(errors) => Verdict::Broken(errors),
            Stop::Failed(errors) => Verdict::RunFailed { class: Class::Failed, errors },
        })
    }

    fn meet_message<'s>(
        &self,
        machinery: &'s Machinery<M>,
        number: usize,
    ) -> Result<Met<'s>, Verdict> {
        let entry = &machinery.index.messages[number];
        let row = match self.at {
            At::Final => return Err(Verdict::Ignored),
            At::Purged => return Err(Verdict::Absorbed),
            At::In(state) => entry.row(state),
            At::Nowhere => match entry.start() {
                Some(start) => Some(start),
                None => return Err(missing(machinery.table.messages[number].missing.as_ref())),
            },
        };
        Ok(Met { entry: Some(entry), row, ends: Ends::Nothing })
    }

    fn meet_internal<'s>(
        &self,
        machinery: &'s Machinery<M>,
        event: &Event<'s>,
    ) -> Result<Met<'s>, Verdict> {
        let index = &machinery.index;
        let is_open = |token| self.book.calls.iter().any(|open| open.token == token);
        let (entry, run, alive, ends) = match *event {
            Event::Done { call, token, run, .. } => {
                (index.done.get(call), run, is_open(token), Ends::Call(token))
            }
            Event::Failed { call, token, run, .. } => {
                (index.failed.get(call), run, is_open(token), Ends::Call(token))
            }
            Event::Timer { name, token, run } => {
                let alive = self.book.timers.get(name).is_some_and(|live| live.token == token);
                (index.timers.get(name), run, alive, Ends::Timer(name))
            }
            Event::Message(_) => (None, self.run, false, Ends::Nothing),
        };
        match self.at {
            At::In(state) if run == self.run && alive => {
                Ok(Met { entry, row: entry.and_then(|entry| entry.row(state)), ends })
            }
            _ => Err(Verdict::Absorbed),
        }
    }

    /// What becomes of an event that has neither a row here nor news for a join.
    fn rowless(&mut self, met: &Met<'_>, event: &Event<'_>) -> Verdict {
        let is_source = met.entry.is_some_and(|entry| !entry.feeds.is_empty());
        match event {
            Event::Failed { call, failure, .. } => Verdict::RunFailed {
                class: Class::Activity,
                errors: vec![
                    format!("call {call} failed and no row takes that in {}", self.state_name()),
                    failure.to_string(),
                ],
            },
            Event::Done { .. } | Event::Timer { .. } => self.ignored(met.ends),
            Event::Message(_)
                if is_source || self.machinery.table.settings.unhandled == Unhandled::Ignore =>
            {
                Verdict::Ignored
            }
            Event::Message(_) => Verdict::Unhandled,
        }
    }

    /// `Ignored`; a call or timer that ended leaves the book all the same.
    fn ignored(&mut self, ends: Ends<'_>) -> Verdict {
        if !matches!(ends, Ends::Nothing) {
            ends.strike(&mut self.book);
            self.changed = true;
        }
        Verdict::Ignored
    }

    fn scene(&self, cause: &Cause, event: &Event<'_>) -> Scene {
        Scene {
            saga: self.machinery.name.clone(),
            instance: self.id,
            run: self.run,
            cause: cause.id,
            at: cause.at,
            headers: match event {
                Event::Message(envelope) => Some(envelope.headers.clone()),
                _ => None,
            },
        }
    }

    /// The event's name for the journal.
    fn event_name(&self, event: &Event<'_>, number: Option<usize>) -> String {
        match event {
            Event::Message(envelope) => match number {
                Some(number) => self.machinery.table.messages[number].kind.exchange.clone(),
                None => envelope.message_types.first().cloned().unwrap_or_default(),
            },
            Event::Done { call, .. } => format!("done {call}"),
            Event::Failed { call, .. } => format!("failed {call}"),
            Event::Timer { name, .. } => format!("timer {name}"),
        }
    }
}

impl<M: Machine> Live for Standing<M> {
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision {
        let from = self.state_name();
        let number = match event {
            Event::Message(envelope) => self.machinery.index.message(&envelope.message_types),
            _ => None,
        };
        let judged = self.judge(cause, event, number);
        let event = self.event_name(event, number);
        let (verdict, effects, warnings) = match judged {
            Ok(step) => {
                self.at = step.to.map_or(At::Final, At::In);
                self.data = Some(step.machine);
                self.book = step.book;
                self.stored = None;
                self.definition_version = self.machinery.table.settings.version;
                self.changed = true;
                (Verdict::Applied, step.effects, step.warnings)
            }
            Err(verdict) => (verdict, Vec::new(), Vec::new()),
        };
        let to = self.state_name();
        Decision { verdict, event, from: from.to_owned(), to: to.to_owned(), effects, warnings }
    }

    fn state(&self) -> &str {
        self.state_name()
    }

    fn save(&self) -> Result<Option<Instance>, String> {
        if self.at == At::Nowhere {
            return Ok(None);
        }
        let data = match (&self.stored, &self.data) {
            (Some(stored), _) => stored.clone(),
            (None, Some(data)) => to_raw_value(data).map(Arc::from).map_err(|error| {
                format!(
                    "the data of {} {} cannot be written: {error}",
                    self.machinery.name, self.id
                )
            })?,
            (None, None) => Arc::from(RawValue::NULL.to_owned()),
        };
        Ok(Some(Instance {
            saga: self.machinery.name.clone(),
            id: self.id,
            run: self.run,
            state: self.state_name().to_owned(),
            version: self.version,
            definition_version: self.definition_version,
            data,
            book: self.book.clone(),
            incident: self.incident,
        }))
    }

    fn is_changed(&self) -> bool {
        self.changed
    }

    fn note_deferred(&mut self, event: &str) {
        if !self.book.deferred.iter().any(|have| have == event) {
            self.book.deferred.push(event.to_owned());
            self.changed = true;
        }
    }

    fn snapshot(&self) -> Box<dyn Live> {
        Box::new(self.clone())
    }
}

fn missing(policy: Option<&MissingPolicy>) -> Verdict {
    match policy.cloned().unwrap_or_default() {
        MissingPolicy::Redeliver(policy) => Verdict::Missing(policy),
        MissingPolicy::SetAside => Verdict::Missing(RetryPolicy::none()),
        MissingPolicy::Discard => Verdict::Ignored,
    }
}
