//! One step: the row that takes an event, the joins that it completes, and what they ask for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use knarr_model::{Book, Effect};

use crate::behaviour::Aim;
use crate::effects::{Effects, Scene};
use crate::index::{Feed, Index};
use crate::joins;
use crate::machine::Machine;
use crate::states::States;
use crate::table::{Ending, Line, Table};

/// What a step begins with.
pub(crate) struct Opening<'s, M: Machine> {
    pub(crate) table: &'s Table<M>,
    pub(crate) index: &'s Index,
    /// The row that takes the event; `None` when it only counts for joins.
    pub(crate) line: Option<&'s Line<M>>,
    /// The joins that the event counts for.
    pub(crate) feeds: &'s [Feed],
    pub(crate) payload: &'s dyn Any,
    /// The state before; `None` when there is no instance yet.
    pub(crate) from: Option<usize>,
    pub(crate) machine: Option<&'s M>,
}

/// What a step ends with.
pub(crate) struct Step<M> {
    pub(crate) machine: M,
    /// The state after; `None` when the run has ended.
    pub(crate) to: Option<usize>,
    pub(crate) book: Book,
    pub(crate) effects: Vec<Effect>,
    pub(crate) warnings: Vec<String>,
}

/// Why a step is undone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A behaviour failed, panicked, or did what its row does not allow.
    Broken(Vec<String>),
    /// The row ended in the target `Fail`.
    Failed(Vec<String>),
}

impl From<Vec<String>> for Stop {
    fn from(errors: Vec<String>) -> Self {
        Stop::Broken(errors)
    }
}

impl<M: Machine> Opening<'_, M> {
    /// Runs the step. `book` is the instance's, with this event already struck and counted.
    pub(crate) fn run(&self, scene: Scene, book: Book) -> Result<Step<M>, Stop> {
        // Nothing that a panicking behaviour touched is looked at again: machine, book and effects
        // are copies which the unwinding drops.
        catch_unwind(AssertUnwindSafe(|| self.behave(scene, book))).unwrap_or_else(|panic| {
            Err(Stop::Broken(vec![format!("a behaviour panicked: {}", panic_text(&*panic))]))
        })
    }

    fn behave(&self, scene: Scene, book: Book) -> Result<Step<M>, Stop> {
        let mut out = Effects::new(scene, book);
        let (mut machine, mut aim) = match (self.machine, self.line) {
            (Some(machine), None) => (machine.clone(), Aim::Stay),
            (Some(machine), Some(line)) => {
                let mut machine = machine.clone();
                let aim = follow(line, &mut machine, self.payload, &mut out)?;
                (machine, aim)
            }
            (None, line) => {
                let Some((line, create)) = line.and_then(|l| Some((l, l.create.as_ref()?))) else {
                    return Err(Stop::Broken(vec!["no row makes the instance".to_owned()]));
                };
                let mut machine = create(self.payload, &mut out)?;
                let aim = follow(line, &mut machine, self.payload, &mut out)?;
                (machine, aim)
            }
        };
        let concerned = joins::contribute(out.book_mut(), self.feeds);
        let mut state = self.from;
        let mut fired = 0;
        loop {
            state = match aim {
                Aim::To(number) => Some(number),
                Aim::Stay => state,
                Aim::Finish => return self.close(machine, None, out),
                Aim::Fail(reason) => {
                    let reason = reason.unwrap_or_else(|| "the row ended in Fail".to_owned());
                    return Err(Stop::Failed(vec![reason]));
                }
            };
            let Some(number) = state else {
                return Err(Stop::Broken(vec!["a start row cannot stay in Initial".to_owned()]));
            };
            let Some((join, line)) = self.ripe(&machine, number, &concerned, out.book_mut()) else {
                return self.close(machine, state, out);
            };
            fired += 1;
            if fired > MAX_FIRINGS {
                let text = format!("more than {MAX_FIRINGS} joins fired in one step");
                return Err(Stop::Broken(vec![text]));
            }
            joins::fire(out.book_mut(), join, self.table.joins[join].every_time);
            aim = follow(line, &mut machine, &(), &mut out)?;
        }
    }

    /// The first complete join that has a row in `state` and is to fire now.
    fn ripe(
        &self,
        machine: &M,
        state: usize,
        concerned: &[usize],
        book: &Book,
    ) -> Option<(usize, &Line<M>)> {
        self.table.joins.iter().enumerate().find_map(|(number, join)| {
            if !joins::is_complete(book, number, join.sources.len()) {
                return None;
            }
            let entry = &self.index.joins[number];
            let line = &self.table.rows[entry.row(state)?];
            let asked = concerned.contains(&number)
                || self.from.is_none_or(|from| from != state && entry.row(from).is_none());
            match &line.when {
                Some(question) if !(asked && question(machine, &())) => None,
                _ => Some((number, line)),
            }
        })
    }

    fn close(&self, machine: M, to: Option<usize>, mut out: Effects<M>) -> Result<Step<M>, Stop> {
        for call in out.as_slice().iter().filter_map(|effect| match effect {
            Effect::Call(call) => Some(&call.call),
            _ => None,
        }) {
            if !self.table.calls.contains_key(call.as_str()) {
                return Err(Stop::Broken(vec![format!(
                    "call {call} was asked for, but no row names it: add a row \
                     .done::<{call}>() or .failed::<{call}>(), or m.asks::<{call}>()"
                )]));
            }
        }
        for statement in out.statements_mut() {
            self.table.sql.complete(statement).map_err(|why| Stop::Broken(vec![why]))?;
        }
        if to.is_none() {
            out.finish();
            out.book_mut().joins.clear();
        }
        if to != self.from {
            out.book_mut().deferred.clear();
        }
        let outcome = out.into_outcome()?;
        let (effects, book, warnings) = (outcome.effects, outcome.book, outcome.warnings);
        Ok(Step { machine, to, book, effects, warnings })
    }
}

/// Far more joins than a step can sensibly fire; `every_time` joins cannot even reach it.
const MAX_FIRINGS: usize = 256;

/// Runs a row's behaviours; answers where it leads.
fn follow<M: Machine>(
    line: &Line<M>,
    machine: &mut M,
    payload: &dyn Any,
    out: &mut Effects<M>,
) -> Result<Aim, Stop> {
    for step in &line.steps {
        step(machine, payload, out)?;
    }
    match &line.ending {
        Ending::To(aim) => Ok(aim.clone()),
        Ending::Ignore | Ending::Defer => Ok(Aim::Stay),
        Ending::Branch(declared, choose) => {
            let chosen = choose(machine, payload, out)?;
            if declared.iter().any(|aim| aim.is_like(&chosen)) {
                return Ok(chosen);
            }
            let names: Vec<_> = declared.iter().map(aim_name::<M>).collect();
            Err(Stop::Broken(vec![format!(
                "the branch chose {}, but declares only [{}]",
                aim_name::<M>(&chosen),
                names.join(", ")
            )]))
        }
    }
}

fn aim_name<M: Machine>(aim: &Aim) -> &'static str {
    match aim {
        Aim::To(number) => M::State::NAMES.get(*number).copied().unwrap_or("?"),
        Aim::Finish => "Finish",
        Aim::Stay => "Stay",
        Aim::Fail(_) => "Fail",
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "with a value that is no text",
    }
}
