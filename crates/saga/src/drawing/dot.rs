//! A machine's shape in Graphviz' language.

use std::fmt::Write as _;

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::Shape;

use super::arrows::{FAILS, arrows, nodes};
use crate::shape::FAIL;

/// The shape as a Graphviz digraph, for `dot -Tsvg` and its kin.
///
/// The same arrows as those of [`mermaid`](super::mermaid).
pub fn dot(shape: &Shape) -> String {
    let arrows = arrows(shape);
    let mut text = format!("digraph {} {{\n", quoted(&shape.saga));
    text.push_str("    node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    text.push_str("    edge [fontname=\"sans-serif\", fontsize=11];\n");
    for node in nodes(shape, &arrows) {
        let look = match node {
            INITIAL => " [shape=point, width=0.2]".to_owned(),
            FINAL => " [shape=doublecircle, style=filled, fillcolor=black, label=\"\", width=0.15]"
                .to_owned(),
            FAIL => format!(" [style=\"rounded,dashed\", label={}]", quoted(FAILS)),
            _ => String::new(),
        };
        let _ = writeln!(text, "    {}{look};", quoted(node));
    }
    for arrow in &arrows {
        let (from, to, label) = (quoted(arrow.from), quoted(arrow.to), quoted(&arrow.label));
        let _ = writeln!(text, "    {from} -> {to} [label={label}];");
    }
    text.push_str("}\n");
    text
}

/// An identifier that may hold anything.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
