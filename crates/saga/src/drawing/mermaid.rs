//! A machine's shape as a Mermaid state diagram.

use std::fmt::Write as _;

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::Shape;

use super::arrows::{FAILS, arrows, can_fail};
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
    if can_fail(shape) {
        let _ = writeln!(text, "    state \"{FAILS}\" as {FAIL}");
    }
    for arrow in arrows(shape) {
        let (from, to) = (node(arrow.from), node(arrow.to));
        // A label ends at a colon or a semicolon.
        let label = arrow.label.replace(':', ".").replace(';', ",");
        let _ = writeln!(text, "    {from} --> {to} : {label}");
    }
    text
}

fn node(state: &str) -> &str {
    if state == INITIAL || state == FINAL { "[*]" } else { state }
}
