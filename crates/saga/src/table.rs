//! The table of a machine as data: its messages, joins, rows and settings.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_model::RetryPolicy;
use knarr_model::incident::FailurePolicy;
use knarr_model::shape::EventShape;

use crate::behaviour::{Aim, Choose, Create, Question, Step};
use crate::event::{CallType, Source};
use crate::message::{Correlation, MessageType};
use crate::sql::Sql;

/// A machine's table while `define` fills it, and afterwards.
///
/// Its verbs (`initially`, `during` …) stand in `builder.rs`.
pub struct Table<M> {
    pub(crate) messages: Vec<Taken>,
    pub(crate) joins: Vec<Join>,
    pub(crate) rows: Vec<Line<M>>,
    pub(crate) settings: Settings,
    /// The call types named in it, by the call's name.
    pub(crate) calls: BTreeMap<&'static str, CallType>,
    /// What it says of its own tables.
    pub(crate) sql: Sql,
    /// Mistakes that were seen while the table was filled.
    pub(crate) mistakes: Vec<Mistake>,
}

/// A message type that the machine takes, and how.
pub(crate) struct Taken {
    pub(crate) kind: MessageType,
    pub(crate) correlation: Option<Correlation>,
    pub(crate) missing: Option<MissingPolicy>,
}

/// A join: its sources and what its firing depends on. Rows with the same sources share one.
pub(crate) struct Join {
    pub(crate) sources: Vec<Source>,
    pub(crate) shapes: Vec<EventShape>,
    pub(crate) every_time: bool,
}

/// One row of the table.
pub(crate) struct Line<M> {
    pub(crate) place: Place,
    pub(crate) on: Trigger,
    pub(crate) ignore_if: Option<Question<M>>,
    /// Joins only: a complete join whose question is answered with no does not fire.
    pub(crate) when: Option<Question<M>>,
    pub(crate) create: Option<Create<M>>,
    pub(crate) steps: Vec<Step<M>>,
    /// Names of the behaviours, for the shape.
    pub(crate) names: Vec<&'static str>,
    pub(crate) ending: Ending<M>,
}

impl<M> Line<M> {
    pub(crate) fn new(place: Place, on: Trigger) -> Self {
        Line {
            place,
            on,
            ignore_if: None,
            when: None,
            create: None,
            steps: Vec::new(),
            names: Vec::new(),
            ending: Ending::To(Aim::Stay),
        }
    }
}

/// Where a row applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before there is an instance.
    Initially,
    /// In these states, by number.
    In(Vec<usize>),
    /// In each of the machine's own states.
    Any,
}

/// What a row waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trigger {
    /// A message, by its number in the table.
    Message(usize),
    Done(&'static str),
    Failed(&'static str),
    Timer(&'static str),
    /// A join, by its number in the table.
    Join(usize),
}

/// Where a row leads.
pub(crate) enum Ending<M> {
    To(Aim),
    /// One of several, chosen by a behaviour.
    Branch(Vec<Aim>, Choose<M>),
    /// The event does not matter here.
    Ignore,
    /// The event waits until the state changes.
    Defer,
}

/// Something wrong with the table that only its filling shows.
#[derive(Clone, Debug)]
pub(crate) enum Mistake {
    /// A message correlated twice.
    CorrelatedTwice(String),
    /// `during([])`.
    NoStates(EventShape),
    /// `all_of([])`, or one source twice.
    OddJoin(Vec<EventShape>),
    /// Behaviours on a row that ignores or defers its event.
    NeverRuns(EventShape, Vec<&'static str>),
    /// Two Rust types under one name.
    TwoTypes(String),
}

/// What a machine says about itself as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) version: u32,
    pub(crate) retry: RetryPolicy,
    pub(crate) unhandled: Unhandled,
    pub(crate) reusable_keys: Vec<&'static str>,
    pub(crate) ordered: bool,
    /// What happens when something in it fails for good.
    pub(crate) failures: FailurePolicy,
}

/// What becomes of a message that no row takes in the instance's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unhandled {
    /// It is set aside, class `unhandled`; the run is untouched. The default.
    SetAside,
    /// It is ignored and counted.
    Ignore,
}

/// What becomes of a message whose instance does not exist.
#[derive(Clone, Debug, PartialEq)]
pub enum MissingPolicy {
    /// It waits and is tried again by this policy (attempts in all, the first included), then it
    /// is set aside. The default: five times more, two seconds apart.
    Redeliver(RetryPolicy),
    /// It is dropped; the journal keeps that it came.
    Discard,
    /// It is set aside at once, class `missing`; a requester is told.
    SetAside,
}

impl MissingPolicy {
    /// `times` more tries, `delay` apart.
    pub fn redeliver(times: u32, delay: Duration) -> Self {
        MissingPolicy::Redeliver(RetryPolicy::fixed(times.saturating_add(1), delay))
    }
}

impl Default for MissingPolicy {
    fn default() -> Self {
        MissingPolicy::redeliver(5, Duration::from_secs(2))
    }
}

impl<M> Default for Table<M> {
    fn default() -> Self {
        Table {
            messages: Vec::new(),
            joins: Vec::new(),
            rows: Vec::new(),
            settings: Settings {
                version: 1,
                retry: RetryPolicy::doubling(
                    3,
                    Duration::from_millis(500),
                    Duration::from_secs(10),
                ),
                unhandled: Unhandled::SetAside,
                reusable_keys: Vec::new(),
                failures: FailurePolicy::default(),
                ordered: false,
            },
            calls: BTreeMap::new(),
            sql: Sql::default(),
            mistakes: Vec::new(),
        }
    }
}

impl<M> Table<M> {
    /// The number of a message type, which the table knows from then on.
    pub(crate) fn message(&mut self, kind: MessageType) -> usize {
        if let Some(known) = self.messages.iter().position(|have| have.kind.urn == kind.urn) {
            if self.messages[known].kind.rust_type != kind.rust_type {
                self.mistakes.push(Mistake::TwoTypes(kind.exchange));
            }
            return known;
        }
        self.messages.push(Taken { kind, correlation: None, missing: None });
        self.messages.len() - 1
    }

    /// Notes a call type.
    pub(crate) fn call(&mut self, name: &'static str, kind: CallType) {
        let known = self.calls.entry(name).or_insert(kind);
        if known.rust_type != kind.rust_type {
            self.mistakes.push(Mistake::TwoTypes(name.to_owned()));
        }
    }

    /// The number of the join over these sources.
    pub(crate) fn join(&mut self, sources: Vec<Source>) -> usize {
        let shapes: Vec<_> = sources.iter().map(Source::shape).collect();
        for source in &sources {
            match source {
                Source::Message(fact) => {
                    self.message((fact.describe)());
                }
                Source::Done(call) | Source::Failed(call) | Source::Ended(call) => {
                    self.call(call.name, call.kind);
                }
                Source::Timer(_) => {}
            }
        }
        let mut sorted = shapes.clone();
        sorted.sort();
        let before = sorted.len();
        sorted.dedup();
        if sorted.is_empty() || sorted.len() < before {
            self.mistakes.push(Mistake::OddJoin(shapes.clone()));
        }
        let same = |have: &Join| {
            let mut shapes = have.shapes.clone();
            shapes.sort();
            shapes == sorted
        };
        if let Some(known) = self.joins.iter().position(same) {
            return known;
        }
        self.joins.push(Join { sources, shapes, every_time: false });
        self.joins.len() - 1
    }

    /// What a row waits for, as a value.
    pub(crate) fn event_shape(&self, on: &Trigger) -> EventShape {
        match on {
            Trigger::Message(at) => EventShape::Message(self.messages[*at].kind.exchange.clone()),
            Trigger::Done(call) => EventShape::Done((*call).to_owned()),
            Trigger::Failed(call) => EventShape::Failed((*call).to_owned()),
            Trigger::Timer(timer) => EventShape::Timer((*timer).to_owned()),
            Trigger::Join(at) => EventShape::AllOf(self.joins[*at].shapes.clone()),
        }
    }
}
