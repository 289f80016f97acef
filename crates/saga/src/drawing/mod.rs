//! A machine's shape as a drawing: Mermaid, Graphviz, or a picture of its own.

mod arrows;
mod dot;
mod layers;
mod mermaid;
mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
