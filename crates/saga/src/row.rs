//! A row while it is written: behaviours one after another, then exactly one ending.

use std::any::{Any, type_name};
use std::marker::PhantomData;

use knarr_model::Message;

use crate::behaviour::{Aim, Choose, IntoCreated, IntoOutcome, IntoTarget, Question, Step};
use crate::effects::Effects;
use crate::event::short_name;
use crate::machine::Machine;
use crate::states::{States, Target};
use crate::table::{Ending, Line, Mistake, Place, Table, Trigger};

/// The kind of a row whose event carries an `E`: behaviours are
/// `Fn(&mut M, &E, &mut Effects<M>)`.
pub struct Carries<E>(PhantomData<fn() -> E>);

/// The kind of a row whose event carries nothing: behaviours are `Fn(&mut M, &mut Effects<M>)`.
pub struct Bare<T>(PhantomData<fn() -> T>);

/// The kind of a row for a timer.
pub struct Timed(());

/// The kind of a row for a join.
pub struct Joined(());

/// A start row that still has to say what it creates.
#[must_use = "a start row makes the instance: .create(behaviour)"]
pub struct Start<'t, M: Machine, E> {
    table: &'t mut Table<M>,
    on: Trigger,
    event: PhantomData<fn() -> E>,
}

impl<'t, M: Machine, E: Message> Start<'t, M, E> {
    pub(crate) fn new(table: &'t mut Table<M>, on: Trigger) -> Self {
        Start { table, on, event: PhantomData }
    }

    /// The behaviour that makes the instance from the message; it may already ask for things.
    pub fn create<R: IntoCreated<M>>(
        self,
        make: impl Fn(&E, &mut Effects<M>) -> R + Send + Sync + 'static,
    ) -> Row<'t, M, Carries<E>> {
        let mut row = Row::new(self.table, Place::Initially, self.on, PhantomData);
        row.line.names.push(name_of(&make));
        row.line.create = Some(Box::new(move |event: &dyn Any, out: &mut Effects<M>| {
            make(payload(event)?, out).into_created()
        }));
        row
    }
}

/// A row that still needs its ending.
#[must_use = "a row ends with .stay(), .go_to(State), .finish(), .branch([..], f), .ignore() or \
              .defer()"]
pub struct Row<'t, M: Machine, K> {
    table: &'t mut Table<M>,
    line: Line<M>,
    kind: PhantomData<fn() -> K>,
}

impl<'t, M: Machine, K> Row<'t, M, K> {
    pub(crate) fn new(
        table: &'t mut Table<M>,
        place: Place,
        on: Trigger,
        kind: PhantomData<fn() -> K>,
    ) -> Self {
        Row { table, line: Line::new(place, on), kind }
    }

    /// The instance stays in its state.
    pub fn stay(self) {
        self.end(Ending::To(Aim::Stay));
    }

    /// The instance goes to `state`.
    pub fn go_to(self, state: M::State) {
        self.end(Ending::To(Aim::To(state.number())));
    }

    /// The run ends: its timers are deleted and its open calls withdrawn.
    pub fn finish(self) {
        self.end(Ending::To(Aim::Finish));
    }

    /// The event does not matter here: nothing runs, the journal keeps that it came.
    /// As the source of a join it counts all the same.
    pub fn ignore(self) {
        self.idle(Ending::Ignore);
    }

    fn idle(mut self, ending: Ending<M>) {
        if !self.line.names.is_empty() {
            let event = self.table.event_shape(&self.line.on);
            let names = std::mem::take(&mut self.line.names);
            self.table.mistakes.push(Mistake::NeverRuns(event, names));
        }
        self.end(ending);
    }

    fn end(mut self, ending: Ending<M>) {
        self.line.ending = ending;
        self.table.rows.push(self.line);
    }

    fn branched<T: Into<Target<M::State>>>(
        mut self,
        targets: impl IntoIterator<Item = T>,
        name: &'static str,
        choose: Choose<M>,
    ) {
        self.line.names.push(name);
        let aims = targets.into_iter().map(|target| Aim::of(target.into())).collect();
        self.end(Ending::Branch(aims, choose));
    }
}

impl<M: Machine, E: 'static> Row<'_, M, Carries<E>> {
    /// Runs a behaviour. An error or a panic undoes the whole row.
    pub fn then<R: IntoOutcome>(
        mut self,
        behaviour: impl Fn(&mut M, &E, &mut Effects<M>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.line.names.push(name_of(&behaviour));
        let step: Step<M> = Box::new(move |machine, event, out| {
            behaviour(machine, payload(event)?, out).into_outcome()
        });
        self.line.steps.push(step);
        self
    }

    /// Ignores events of which `question` says so; the row takes the others.
    pub fn ignore_if(mut self, question: impl Fn(&M, &E) -> bool + Send + Sync + 'static) -> Self {
        let question: Question<M> = Box::new(move |machine, event| {
            event.downcast_ref().is_some_and(|event| question(machine, event))
        });
        if self.line.place == Place::Initially {
            let event = self.table.event_shape(&self.line.on);
            self.table.mistakes.push(Mistake::NeverRuns(event, vec!["ignore_if"]));
        }
        self.line.ignore_if = Some(question);
        self
    }

    /// A behaviour chooses where the row leads, among `targets` and nothing else.
    pub fn branch<T: Into<Target<M::State>>, R: IntoTarget<M::State>>(
        self,
        targets: impl IntoIterator<Item = T>,
        choose: impl Fn(&mut M, &E, &mut Effects<M>) -> R + Send + Sync + 'static,
    ) {
        let name = name_of(&choose);
        let choose: Choose<M> = Box::new(move |machine, event, out| {
            choose(machine, payload(event)?, out).into_target().map(Aim::of)
        });
        self.branched(targets, name, choose);
    }
}

impl<M: Machine, E: Message> Row<'_, M, Carries<E>> {
    /// The message waits until the instance changes its state, and is tried again then.
    pub fn defer(self) {
        self.idle(Ending::Defer);
    }
}

impl<M: Machine, T> Row<'_, M, Bare<T>> {
    /// Runs a behaviour. An error or a panic undoes the whole row.
    pub fn then<R: IntoOutcome>(
        mut self,
        behaviour: impl Fn(&mut M, &mut Effects<M>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.line.names.push(name_of(&behaviour));
        let step: Step<M> = Box::new(move |machine, _, out| behaviour(machine, out).into_outcome());
        self.line.steps.push(step);
        self
    }

    /// A behaviour chooses where the row leads, among `targets` and nothing else.
    pub fn branch<A: Into<Target<M::State>>, R: IntoTarget<M::State>>(
        self,
        targets: impl IntoIterator<Item = A>,
        choose: impl Fn(&mut M, &mut Effects<M>) -> R + Send + Sync + 'static,
    ) {
        let name = name_of(&choose);
        let choose: Choose<M> =
            Box::new(move |machine, _, out| choose(machine, out).into_target().map(Aim::of));
        self.branched(targets, name, choose);
    }
}

impl<M: Machine> Row<'_, M, Bare<Joined>> {
    /// A complete join fires only while `question` says yes; it is asked again at each later
    /// contribution.
    pub fn when(mut self, question: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self {
        self.line.when = Some(Box::new(move |machine, _| question(machine)));
        self
    }

    /// The join starts anew each time it has fired; without it, it fires once in a run.
    pub fn every_time(self) -> Self {
        if let Trigger::Join(at) = self.line.on {
            self.table.joins[at].every_time = true;
        }
        self
    }
}

/// The event as the row's type; the table hands each row only events of its own kind.
fn payload<E: 'static>(event: &dyn Any) -> Result<&E, Vec<String>> {
    event
        .downcast_ref()
        .ok_or_else(|| vec![format!("the event is no `{}`: a fault of Knarr", type_name::<E>())])
}

fn name_of<T>(_: &T) -> &'static str {
    short_name(type_name::<T>())
}
