//! The verbs that open a row of the table, and what a machine says about itself as a whole.

use std::marker::PhantomData;
use std::time::Duration;

use knarr_model::incident::{BlockBy, OnFailure};
use knarr_model::{Failure, Message, RetryPolicy};
use uuid::Uuid;

use crate::event::{Call, CallType, Fact, Timer};
use crate::machine::Machine;
use crate::message::{Correlation, MessageType};
use crate::row::{Bare, Carries, Joined, Row, Start, Timed};
use crate::states::States;
use crate::table::{MissingPolicy, Mistake, Place, Table, Trigger, Unhandled};

impl<M: Machine> Table<M> {
    /// Sets the definition's version (default 1); instances carry the one that wrote them last.
    pub fn version(&mut self, version: u32) {
        self.settings.version = version;
    }

    /// Sets how often a message whose behaviour fails is tried, and how far apart.
    /// Default: three attempts in all.
    pub fn retry(&mut self, policy: RetryPolicy) {
        self.settings.retry = policy;
    }

    /// Lets one process at a time serve this saga, so that the messages of an instance leave in the
    /// order in which they were asked for, also when something fails; the other processes wait to
    /// take over. Costs the throughput of one process.
    pub fn ordered(&mut self) {
        self.settings.ordered = true;
    }

    /// Sets what becomes of a message that no row takes in the instance's state.
    pub fn unhandled(&mut self, policy: Unhandled) {
        self.settings.unhandled = policy;
    }

    /// Sets what happens when a run fails. Default: [`OnFailure::Contain`], all three steps: the
    /// endpoint halts, the run is purged, its start message is set aside.
    pub fn on_failure(&mut self, policy: OnFailure) {
        self.settings.failures.on_failure = policy;
    }

    /// Sets what a start message that failed is blocked by, so that copies of it cannot start the
    /// saga again. Default: [`BlockBy::Fingerprint`], its content.
    pub fn block(&mut self, by: BlockBy) {
        self.settings.failures.block = by;
    }

    /// Lets also a start message that fails beyond its budget, so that there is no run yet, stop
    /// the endpoint. Without it that message is set aside and the queue flows.
    pub fn contain_on_start(&mut self) {
        self.settings.failures.contain_on_start = true;
    }

    /// Lets one node try, this long after a halt, whether the endpoint goes again; after a failed
    /// try it waits twice as long, at most an hour. Without it a person resumes it.
    pub fn restart_after(&mut self, time: Duration) {
        self.settings.failures.restart_after = Some(time);
    }

    /// Sets what becomes of a message of type `E` whose instance does not exist.
    pub fn missing<E: Message>(&mut self, policy: MissingPolicy) {
        let at = self.message(MessageType::of::<E>());
        self.messages[at].missing = Some(policy);
    }

    /// Says which member of `E` is the instance's id. The zero id names no instance.
    ///
    /// Without it the members `correlation_id`, `event_id`, `command_id` are tried in that order.
    pub fn correlate<E: Message>(&mut self, id: impl Fn(&E) -> Uuid + Send + Sync + 'static) {
        self.correlated(MessageType::of::<E>(), Correlation::by_id(id));
    }

    /// Like [`Table::correlate`], for a member that may be absent; such a message is set aside.
    pub fn correlate_maybe<E: Message>(
        &mut self,
        id: impl Fn(&E) -> Option<Uuid> + Send + Sync + 'static,
    ) {
        self.correlated(MessageType::of::<E>(), Correlation::by_id(id));
    }

    /// Finds the instance of `E` by a business key instead of an id. A start row takes the key
    /// for its instance, and two that start at once make one instance.
    ///
    /// `name` tells apart several keys of one machine; rows that share a key share the name.
    pub fn correlate_by_key<E: Message>(
        &mut self,
        name: &'static str,
        value: impl Fn(&E) -> String + Send + Sync + 'static,
    ) -> KeyOptions<'_, M> {
        self.correlated(MessageType::of::<E>(), Correlation::by_key(name, value));
        KeyOptions { table: self, name }
    }

    /// Says that the machine asks for calls of type `C` though no row waits for their end.
    ///
    /// A call that is named neither here nor in a row cannot be asked for: nobody would notice
    /// at start that it has no activity.
    pub fn asks<C: Call>(&mut self) {
        self.call(C::name(), CallType::of::<C>());
    }

    /// Opens a row for a message that starts an instance.
    pub fn initially<E: Message>(&mut self) -> Start<'_, M, E> {
        let on = Trigger::Message(self.message(MessageType::of::<E>()));
        Start::new(self, on)
    }

    /// Opens a row that applies in these states.
    pub fn during(&mut self, states: impl IntoIterator<Item = M::State>) -> During<'_, M> {
        let numbers = states.into_iter().map(States::number).collect();
        During { table: self, place: Place::In(numbers) }
    }

    /// Opens a row that applies in every state of the machine, where the state has no row of its
    /// own for the event. Covers neither Initial nor Final nor Purged.
    pub fn during_any(&mut self) -> During<'_, M> {
        During { table: self, place: Place::Any }
    }

    fn correlated(&mut self, kind: MessageType, correlation: Correlation) {
        let exchange = kind.exchange.clone();
        let at = self.message(kind);
        if self.messages[at].correlation.replace(correlation).is_some() {
            self.mistakes.push(Mistake::CorrelatedTwice(exchange));
        }
    }
}

/// A business key just declared.
pub struct KeyOptions<'t, M: Machine> {
    table: &'t mut Table<M>,
    name: &'static str,
}

impl<M: Machine> KeyOptions<'_, M> {
    /// Frees the key when its run finishes, so that the next start message with it makes a new
    /// instance. Without it a finished instance keeps the key until its retention is over.
    pub fn reusable(self) {
        self.table.settings.reusable_keys.push(self.name);
    }
}

/// States chosen, an event still to be named.
#[must_use = "name what the row waits for: .on::<E>(), .done::<C>(), .after(timer) ..."]
pub struct During<'t, M: Machine> {
    table: &'t mut Table<M>,
    place: Place,
}

impl<'t, M: Machine> During<'t, M> {
    /// The row waits for a message.
    pub fn on<E: Message>(self) -> Row<'t, M, Carries<E>> {
        let on = Trigger::Message(self.table.message(MessageType::of::<E>()));
        self.row(on)
    }

    /// The row waits for the answer to a call.
    pub fn done<C: Call>(self) -> Row<'t, M, Carries<C::Output>> {
        self.table.call(C::name(), CallType::of::<C>());
        self.row(Trigger::Done(C::name()))
    }

    /// The row waits for the final failure of a call. Without such a row, or a join that counts
    /// it, the failure is the run's own.
    pub fn failed<C: Call>(self) -> Row<'t, M, Carries<Failure>> {
        self.table.call(C::name(), CallType::of::<C>());
        self.row(Trigger::Failed(C::name()))
    }

    /// The row waits for a timer.
    pub fn after(self, timer: impl Timer) -> Row<'t, M, Bare<Timed>> {
        self.row(Trigger::Timer(timer.name()))
    }

    /// The row waits until all of these have happened, in any order and in any state, since the
    /// run began. It fires once, right after the row that completes it; or, when the instance is
    /// in another state by then, as soon as it reaches one of this row's states.
    /// An event that has no row of its own in the state it meets is taken when a join still waits
    /// for it.
    ///
    /// Rows over the same facts share one join. A running instance keeps its joins by their
    /// number: declare a new one below those that a deployed version already has.
    pub fn all_of(self, facts: impl IntoIterator<Item = Fact>) -> Row<'t, M, Bare<Joined>> {
        let sources = facts.into_iter().map(|fact| fact.0).collect();
        let on = Trigger::Join(self.table.join(sources));
        self.row(on)
    }

    fn row<K>(self, on: Trigger) -> Row<'t, M, K> {
        if self.place == Place::In(Vec::new()) {
            let event = self.table.event_shape(&on);
            self.table.mistakes.push(Mistake::NoStates(event));
        }
        Row::new(self.table, self.place, on, PhantomData)
    }
}
