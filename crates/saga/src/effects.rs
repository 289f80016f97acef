//! What a behaviour asks for: messages, calls and timers, kept as data until the commit.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::durations::{LAST_INSTANT, checked_later};
use knarr_model::effect::{self, Destination};
use knarr_model::headers::HeaderValue;
use knarr_model::ids::derived_id;
use knarr_model::instance::{OpenCall, OpenTimer};
use knarr_model::{
    Book, Dialects, Effect, Headers, InstanceId, Message, MessageId, Name, RowId, Statement,
    TypeName,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::asked::{Asking, Sending};
use crate::event::{Call, Timer};

/// Where a step stands: everything that its ids and its time derive from.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) saga: Name,
    pub(crate) instance: InstanceId,
    pub(crate) run: u32,
    pub(crate) cause: MessageId,
    pub(crate) at: DateTime<Utc>,
    /// Headers of the message that is being decided; `None` when the event is no message.
    pub(crate) headers: Option<Headers>,
}

/// Everything that a step asks for, in order. Nothing happens until the step is committed.
///
/// A behaviour must be pure: what it reads is the machine, the event, and this. Types cannot
/// enforce that, simulation decides every message twice and compares.
pub struct Effects<M> {
    scene: Scene,
    book: Book,
    asked: Vec<Effect>,
    counts: Counts,
    errors: Vec<String>,
    warnings: Vec<String>,
    machine: PhantomData<fn() -> M>,
}

/// How many ids of each kind this step has made.
#[derive(Clone, Copy, Default)]
struct Counts {
    messages: u32,
    calls: u32,
    timers: u32,
    ids: u32,
}

/// What is left of a step once its behaviours have run.
pub(crate) struct Outcome {
    pub(crate) effects: Vec<Effect>,
    pub(crate) book: Book,
    pub(crate) warnings: Vec<String>,
}

impl<M> Effects<M> {
    pub(crate) fn new(scene: Scene, book: Book) -> Self {
        Effects {
            scene,
            book,
            asked: Vec::new(),
            counts: Counts::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            machine: PhantomData,
        }
    }

    /// Effects outside of a machine, for a test of one behaviour: time is `at`, nothing is open.
    ///
    /// ```
    /// use knarr_saga::prelude::*;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Message)]
    /// # #[message(namespace = "Shop")]
    /// # struct Greeted { name: String }
    /// fn greet(out: &mut Effects<()>) {
    ///     out.publish(Greeted { name: "Ada".to_owned() });
    /// }
    ///
    /// let mut out = Effects::detached(chrono::DateTime::UNIX_EPOCH);
    /// greet(&mut out);
    /// assert_eq!(out.messages::<Greeted>()[0].name, "Ada");
    /// ```
    pub fn detached(at: DateTime<Utc>) -> Self {
        let scene = Scene {
            saga: Name::from("test"),
            instance: InstanceId(Uuid::nil()),
            run: 1,
            cause: MessageId(Uuid::nil()),
            at,
            headers: Some(Headers::new()),
        };
        Effects::new(scene, Book::default())
    }

    /// The time of this step: the same whenever it is decided again.
    pub fn now(&self) -> DateTime<Utc> {
        self.scene.at
    }

    /// A fresh id, the same whenever the step is decided again.
    pub fn new_id(&mut self) -> Uuid {
        let index = next(&mut self.counts.ids);
        self.derive(b"id", index)
    }

    /// The instance's id.
    pub fn instance(&self) -> InstanceId {
        self.scene.instance
    }

    /// The saga's name.
    pub fn saga(&self) -> &str {
        &self.scene.saga
    }

    /// The instance's run, from 1.
    pub fn run_number(&self) -> u32 {
        self.scene.run
    }

    /// A header of the message that is being decided.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.scene.headers.as_ref()?.get(name)
    }

    /// Publishes a message: everyone who subscribes to its type gets it.
    pub fn publish<E: Message>(&mut self, message: E) -> Sending<'_> {
        self.message(&message, Destination::Publish)
    }

    /// Sends a message to one address: `queue:name`, `exchange:name` or a full URI.
    pub fn send<E: Message>(&mut self, address: impl Into<String>, message: E) -> Sending<'_> {
        self.message(&message, Destination::Send(address.into()))
    }

    /// Answers the message that is being decided.
    ///
    /// In a row for a call, a timer or a join that one of these completed there is nobody to
    /// answer: the step fails and says so.
    pub fn respond<E: Message>(&mut self, message: E) -> Sending<'_> {
        if self.scene.headers.is_none() {
            self.errors.push(format!(
                "respond({}): this step was not caused by a message",
                E::type_name()
            ));
        }
        self.message(&message, Destination::Respond)
    }

    /// Asks an activity; the answer comes back as `done::<C>()`, or as `failed::<C>()`.
    pub fn run<C: Call>(&mut self, call: C) -> Asking<'_> {
        let index = next(&mut self.counts.calls);
        // By what caused it, not by its place in the history: after a restore the place may be
        // another call's, and the same cause asks the same again.
        let token = RowId(self.derive(b"call", index));
        let payload = self.json(&call, C::name());
        self.book.calls.push(OpenCall { call: C::name().to_owned(), token });
        self.asked.push(Effect::Call(effect::Call {
            call: C::name().to_owned(),
            payload: payload.into(),
            token,
            retry: None,
            deadline: None,
        }));
        match self.asked.last_mut() {
            Some(Effect::Call(call)) => Asking(call),
            _ => unreachable!("a call was pushed just now"),
        }
    }

    /// Withdraws every open call of type `C`, also those that already run; answers how many.
    pub fn cancel<C: Call>(&mut self) -> usize {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.book.calls.drain(..).partition(|open| open.call == C::name());
        self.book.calls = kept;
        for open in &gone {
            self.withdraw(open.token);
        }
        gone.len()
    }

    /// Withdraws the call with this token, if it is open.
    pub fn cancel_one(&mut self, token: RowId) -> bool {
        let before = self.book.calls.len();
        self.book.calls.retain(|open| open.token != token);
        let was_open = self.book.calls.len() < before;
        if was_open {
            self.withdraw(token);
        }
        was_open
    }

    /// How many calls of type `C` have not ended yet.
    pub fn open_calls<C: Call>(&self) -> usize {
        self.book.calls.iter().filter(|open| open.call == C::name()).count()
    }

    /// Sets a timer that is due in `delay`; a live timer of the same name is replaced.
    /// Answers the timer's token. The step fails when `delay` ends after the year 9999.
    pub fn schedule(&mut self, timer: impl Timer, delay: Duration) -> RowId {
        let due = checked_later(self.scene.at, delay);
        if due.is_none() {
            self.too_late(timer.name(), format!("in {delay:?}"));
        }
        self.set(timer.name(), due.unwrap_or(LAST_INSTANT))
    }

    /// Sets a timer that is due at `due`; a live timer of the same name is replaced.
    /// Answers the timer's token. The step fails when `due` lies after the year 9999.
    pub fn schedule_at(&mut self, timer: impl Timer, due: DateTime<Utc>) -> RowId {
        if due > LAST_INSTANT {
            self.too_late(timer.name(), format!("at {due}"));
        }
        self.set(timer.name(), due.min(LAST_INSTANT))
    }

    fn too_late(&mut self, timer: &str, when: String) {
        self.errors.push(format!("timer `{timer}` due {when}: that is after the year 9999"));
    }

    fn set(&mut self, timer: &str, due: DateTime<Utc>) -> RowId {
        let index = next(&mut self.counts.timers);
        let token = RowId(self.derive(b"timer", index));
        let name = timer.to_owned();
        let replaces = self
            .book
            .timers
            .insert(name.clone(), OpenTimer { token, due })
            .and_then(|live| self.take_back_timer(live.token));
        self.asked.push(Effect::Schedule { timer: name, due, token, replaces });
        token
    }

    /// Cancels a timer; answers whether it was live.
    pub fn unschedule(&mut self, timer: impl Timer) -> bool {
        let Some(live) = self.book.timers.remove(timer.name()) else { return false };
        if let Some(token) = self.take_back_timer(live.token) {
            self.asked.push(Effect::Unschedule { token });
        }
        true
    }

    /// When a live timer is due.
    pub fn due(&self, timer: impl Timer) -> Option<DateTime<Utc>> {
        self.book.timers.get(timer.name()).map(|live| live.due)
    }

    /// Carries out a statement that the table knows ([`crate::Table::statement`]), within the
    /// commit of this step: what it writes is there when the step is, and only then. Its
    /// parameters are a tuple, an array or a list of what can be written as JSON.
    ///
    /// A statement that its data make impossible (a broken constraint, a value that does not fit)
    /// fails this message as a failing behaviour does, class `constraint`, without retries.
    ///
    /// ```
    /// # use knarr_saga::prelude::*;
    /// let mut out: Effects<()> = Effects::detached(chrono::DateTime::UNIX_EPOCH);
    /// out.sql("insert_finding", (uuid::Uuid::nil(), "virus-total", 3, out.now()));
    /// assert_eq!(out.statements("insert_finding")[0][1], "virus-total");
    /// ```
    pub fn sql(&mut self, name: &str, parameters: impl Serialize) {
        let parameters = match serde_json::to_value(parameters) {
            Ok(Value::Array(parameters)) => parameters,
            Ok(Value::Null) => Vec::new(),
            Ok(_) => {
                let text = format!("statement `{name}`: its parameters are no tuple and no list");
                return self.errors.push(text);
            }
            Err(error) => {
                let text = format!(
                    "statement `{name}`: its parameters cannot be written as JSON: {error}"
                );
                return self.errors.push(text);
            }
        };
        let name = name.to_owned();
        self.asked.push(Effect::Sql(Statement { name, text: Dialects::default(), parameters }));
    }

    /// Takes a business key for the instance, besides the one that it was started with: messages
    /// correlated by a key of this name and value find it from now on. A key that another
    /// instance owns sets this message aside, class `key-conflict`.
    pub fn take_key(&mut self, name: &'static str, value: impl Into<String>) {
        let key = (name.to_owned(), value.into());
        if !self.book.keys.contains(&key) {
            self.book.keys.push(key);
        }
    }

    /// Messages of type `E` asked for so far; for tests.
    pub fn messages<E: Message>(&self) -> Vec<E> {
        let wanted = E::type_name();
        self.asked
            .iter()
            .filter_map(|effect| match effect {
                Effect::Message(message) if message.types.first() == Some(&wanted) => {
                    serde_json::from_str(message.body.get()).ok()
                }
                _ => None,
            })
            .collect()
    }

    /// Calls of type `C` asked for so far; for tests.
    pub fn calls<C: Call>(&self) -> Vec<C> {
        self.asked
            .iter()
            .filter_map(|effect| match effect {
                Effect::Call(call) if call.call == C::name() => {
                    serde_json::from_str(call.payload.get()).ok()
                }
                _ => None,
            })
            .collect()
    }

    /// Parameters of the statements of this name asked for so far; for tests.
    pub fn statements(&self, name: &str) -> Vec<Vec<Value>> {
        self.asked
            .iter()
            .filter_map(|effect| match effect {
                Effect::Sql(statement) if statement.name == name => {
                    Some(statement.parameters.clone())
                }
                _ => None,
            })
            .collect()
    }

    /// Everything asked for so far, in order.
    pub fn as_slice(&self) -> &[Effect] {
        &self.asked
    }

    fn derive(&self, kind: &[u8], index: u32) -> Uuid {
        derived_id(&[
            kind,
            self.scene.saga.as_bytes(),
            self.scene.instance.as_bytes(),
            &self.scene.run.to_be_bytes(),
            self.scene.cause.as_bytes(),
            &index.to_be_bytes(),
        ])
    }

    fn message<E: Message>(&mut self, message: &E, to: Destination) -> Sending<'_> {
        let index = next(&mut self.counts.messages);
        let id = self.derive(b"message", index);
        let name = E::type_name();
        let body = self.json(message, &name);
        let mut types: Vec<TypeName> = vec![name];
        for base in E::base_types() {
            if !types.contains(&base) {
                types.push(base);
            }
        }
        self.asked.push(Effect::Message(effect::Message {
            id,
            types,
            body: body.into(),
            to,
            correlation_id: message.conventional_id(),
            headers: Headers::new(),
            routing_key: None,
            time_to_live: None,
            priority: None,
        }));
        match self.asked.last_mut() {
            Some(Effect::Message(message)) => Sending(message),
            _ => unreachable!("a message was pushed just now"),
        }
    }

    /// The value as JSON; when it cannot be written the whole step fails.
    fn json<T: Serialize>(&mut self, value: &T, what: impl fmt::Display) -> Box<RawValue> {
        to_raw_value(value).unwrap_or_else(|error| {
            self.errors.push(format!("{what} cannot be written as JSON: {error}"));
            RawValue::NULL.to_owned()
        })
    }

    /// Forgets a timer that this very step set, or answers the token of a stored one.
    fn take_back_timer(&mut self, token: RowId) -> Option<RowId> {
        let set_here = self.asked.iter().position(
            |effect| matches!(effect, Effect::Schedule { token: set, .. } if *set == token),
        );
        match set_here.map(|at| self.asked.remove(at)) {
            Some(Effect::Schedule { replaces, .. }) => replaces,
            _ => Some(token),
        }
    }

    /// Forgets a call that this very step made, or withdraws a stored one.
    fn withdraw(&mut self, token: RowId) {
        let before = self.asked.len();
        self.asked.retain(|effect| !matches!(effect, Effect::Call(call) if call.token == token));
        if self.asked.len() == before {
            self.asked.push(Effect::Withdraw { token });
        }
    }

    /// Ends everything that is open, because the run is over (behaviours 6).
    pub(crate) fn finish(&mut self) {
        for (name, live) in std::mem::take(&mut self.book.timers) {
            let stored = self.take_back_timer(live.token);
            if stored != Some(live.token) {
                self.warnings.push(format!("timer `{name}` was set in the row that finishes"));
            }
            if let Some(token) = stored {
                self.asked.push(Effect::Unschedule { token });
            }
        }
        for open in std::mem::take(&mut self.book.calls) {
            let before = self.asked.len();
            self.withdraw(open.token);
            if self.asked.len() < before {
                let name = &open.call;
                self.warnings.push(format!("call `{name}` was made in the row that finishes"));
            }
        }
        self.asked.push(Effect::Finish);
    }

    /// Statements asked for, whose texts the table knows.
    pub(crate) fn statements_mut(&mut self) -> impl Iterator<Item = &mut Statement> {
        self.asked.iter_mut().filter_map(|effect| match effect {
            Effect::Sql(statement) => Some(statement),
            _ => None,
        })
    }

    pub(crate) fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    /// What was asked for, or why it cannot be.
    pub(crate) fn into_outcome(self) -> Result<Outcome, Vec<String>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Outcome { effects: self.asked, book: self.book, warnings: self.warnings })
    }
}

fn next(count: &mut u32) -> u32 {
    let index = *count;
    *count += 1;
    index
}
