//! What every drawing shows: which states there are, and what leads from one to another.

use std::fmt::Write as _;

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::{EventShape, RowShape, Shape};

use crate::shape::FAIL;

/// The words beside the node at which a failed run ends.
pub(super) const FAILS: &str = "the run fails";

/// One line of a drawing.
pub(super) struct Arrow<'s> {
    pub(super) from: &'s str,
    pub(super) to: &'s str,
    /// What it waits for, and what then runs.
    pub(super) label: String,
}

/// All arrows, in the table's order.
///
/// A row for any state is drawn from each state that has no row of its own for the event; rows
/// that ignore or defer are not drawn.
pub(super) fn arrows(shape: &Shape) -> Vec<Arrow<'_>> {
    let mut arrows = Vec::new();
    let drawn = |row: &&RowShape| !row.behaviours.is_empty() || !row.targets.is_empty();
    for row in shape.rows.iter().filter(drawn) {
        for from in froms(shape, row) {
            let targets = if row.targets.is_empty() { vec![from] } else { refs(&row.targets) };
            arrows.extend(targets.into_iter().map(|to| Arrow { from, to, label: label(row) }));
        }
    }
    arrows
}

/// Whether a row lets its run fail.
pub(super) fn can_fail(shape: &Shape) -> bool {
    shape.rows.iter().any(|row| row.targets.iter().any(|target| target == FAIL))
}

/// The nodes of a drawing: the beginning, the machine's own states, and the ends that are reached.
pub(super) fn nodes<'s>(shape: &'s Shape, arrows: &[Arrow<'_>]) -> Vec<&'s str> {
    let reached = |end: &&str| arrows.iter().any(|arrow| arrow.to == *end || arrow.from == *end);
    let begins = Some(INITIAL).filter(reached);
    let ends = [FINAL, FAIL].into_iter().filter(reached);
    begins.into_iter().chain(refs(&shape.states)).chain(ends).collect()
}

/// The states in which a row applies.
fn froms<'s>(shape: &'s Shape, row: &'s RowShape) -> Vec<&'s str> {
    if !row.states.is_empty() {
        return refs(&row.states);
    }
    let has_own = |state: &str| {
        let same =
            |other: &&RowShape| other.on == row.on && other.states.iter().any(|s| s == state);
        shape.rows.iter().any(|other| same(&other))
    };
    refs(&shape.states).into_iter().filter(|state| !has_own(state)).collect()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn label(row: &RowShape) -> String {
    let mut text = event(&row.on);
    if !row.behaviours.is_empty() {
        let _ = write!(text, " / {}", row.behaviours.join(", "));
    }
    text
}

fn event(on: &EventShape) -> String {
    match on {
        EventShape::Message(exchange) => {
            // The namespace says little in a drawing; a generic type keeps its arguments.
            exchange.split_once(':').map_or(exchange.as_str(), |(_, name)| name).to_owned()
        }
        EventShape::Done(call) => format!("done {call}"),
        EventShape::Failed(call) => format!("failed {call}"),
        EventShape::Ended(call) => format!("ended {call}"),
        EventShape::Timer(timer) => format!("after {timer}"),
        EventShape::AllOf(all) => all.iter().map(event).collect::<Vec<_>>().join(" + "),
    }
}
