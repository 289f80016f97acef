//! A machine's shape as a Mermaid state diagram.

use std::fmt::Write as _;

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::{EventShape, RowShape, Shape};

use crate::shape::FAIL;

/// The shape as Mermaid text, ready for a Markdown fence or <https://mermaid.live>.
///
/// A row for any state is drawn from each state that has no row of its own for the event; rows
/// that ignore or defer are not drawn.
pub fn mermaid(shape: &Shape) -> String {
    let mut text = String::from("stateDiagram-v2\n");
    for state in &shape.states {
        let _ = writeln!(text, "    {state}");
    }
    if shape.rows.iter().any(|row| row.targets.iter().any(|target| target == FAIL)) {
        let _ = writeln!(text, "    state \"the run fails\" as {FAIL}");
    }
    for row in shape.rows.iter().filter(|row| !row.behaviours.is_empty() || leads(row)) {
        for from in froms(shape, row) {
            let targets = if row.targets.is_empty() { vec![from] } else { refs(&row.targets) };
            for to in targets {
                let (from, to) = (node(from), node(to));
                let _ = writeln!(text, "    {from} --> {to} : {}", label(row));
            }
        }
    }
    text
}

fn leads(row: &RowShape) -> bool {
    !row.targets.is_empty()
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

fn node(state: &str) -> &str {
    if state == INITIAL || state == FINAL { "[*]" } else { state }
}

fn label(row: &RowShape) -> String {
    let mut text = event(&row.on);
    if !row.behaviours.is_empty() {
        let _ = write!(text, " / {}", row.behaviours.join(", "));
    }
    // A label ends at a colon or a semicolon.
    text.replace(':', ".").replace(';', ",")
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
