//! A machine's shape as a picture: one SVG text without anything outside of itself.

use std::fmt::Write as _;

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::Shape;

use super::arrows::{FAILS, arrows, nodes};
use super::layers::{Edge, Laid, Point, Size, layers};
use crate::shape::FAIL;

/// Letters are all of one width, so that their room is known without a font.
const FONT: &str = "font-family=\"ui-monospace, monospace\" font-size=\"12\"";
const LETTER: f64 = 7.4;
const LINE: f64 = 16.0;
const PAD: f64 = 9.0;
const MARGIN: f64 = 16.0;
/// The dots at which everything begins and ends.
const DOT: f64 = 16.0;

/// A state, with what it does without leaving it.
struct State<'s> {
    name: &'s str,
    inner: Vec<&'s str>,
}

/// An arrow with everything that leads the same way.
struct Way<'s> {
    from: usize,
    to: usize,
    labels: Vec<&'s str>,
}

/// The shape as an SVG picture; rows that stay in their state stand inside it.
///
/// The same arrows as those of [`mermaid`](super::mermaid).
pub fn svg(shape: &Shape) -> String {
    let arrows = arrows(shape);
    let mut states: Vec<State<'_>> =
        nodes(shape, &arrows).into_iter().map(|name| State { name, inner: Vec::new() }).collect();
    let mut ways: Vec<Way<'_>> = Vec::new();
    for arrow in &arrows {
        let number = |name: &str| states.iter().position(|state| state.name == name);
        let (Some(from), Some(to)) = (number(arrow.from), number(arrow.to)) else { continue };
        let label = arrow.label.as_str();
        if from == to {
            states[from].inner.push(label);
        } else if let Some(way) = ways.iter_mut().find(|way| (way.from, way.to) == (from, to)) {
            way.labels.push(label);
        } else {
            ways.push(Way { from, to, labels: vec![label] });
        }
    }
    let sizes: Vec<Size> = states.iter().map(room).collect();
    let edge = |way: &Way<'_>| Edge { from: way.from, to: way.to, label: of_lines(&way.labels) };
    let edges: Vec<Edge> = ways.iter().map(edge).collect();
    let is_end = |(number, state): (usize, &State<'_>)| {
        [FINAL, FAIL].contains(&state.name).then_some(number)
    };
    let last: Vec<usize> = states.iter().enumerate().filter_map(is_end).collect();
    let laid = layers(&sizes, &edges, &last);
    drawn(shape, &states, &sizes, &ways, &laid)
}

fn drawn(
    shape: &Shape,
    states: &[State<'_>],
    sizes: &[Size],
    ways: &[Way<'_>],
    laid: &Laid,
) -> String {
    let (wide, high) = (laid.size.wide + 2.0 * MARGIN, laid.size.high + 2.0 * MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
         viewBox=\"{} {} {wide:.0} {high:.0}\" {FONT} text-anchor=\"middle\">\n",
        -MARGIN, -MARGIN
    );
    let _ = writeln!(text, "<title>{}</title>", escaped(&shape.saga));
    text.push_str(
        "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#444\"/></marker>\
         </defs>\n",
    );
    let _ = writeln!(
        text,
        "<rect x=\"{0}\" y=\"{0}\" width=\"{wide:.0}\" height=\"{high:.0}\" fill=\"#fff\"/>",
        -MARGIN
    );
    for line in &laid.lines {
        let _ = writeln!(
            text,
            "<path d=\"{}\" fill=\"none\" stroke=\"#444\" marker-end=\"url(#head)\"/>",
            curve(line)
        );
    }
    for (way, at) in ways.iter().zip(&laid.labels) {
        // The arrow passes behind its label.
        boxed(&mut text, *at, of_lines(&way.labels), "fill=\"#fff\"");
        lines(&mut text, *at, &way.labels);
    }
    for ((state, size), at) in states.iter().zip(sizes).zip(&laid.nodes) {
        node(&mut text, state, *size, *at);
    }
    text.push_str("</svg>\n");
    text
}

fn node(text: &mut String, state: &State<'_>, size: Size, at: Point) {
    let Point { x, y } = at;
    match state.name {
        INITIAL => {
            let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\"/>", DOT / 2.0);
        }
        FINAL => {
            let _ = writeln!(
                text,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{0}\" fill=\"none\" stroke=\"#000\"/>\
                 <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{1}\"/>",
                DOT / 2.0,
                DOT / 2.0 - 3.0
            );
        }
        FAIL => {
            let look = "rx=\"8\" fill=\"#fdecea\" stroke=\"#b3261e\" stroke-dasharray=\"4 3\"";
            boxed(text, at, size, look);
            lines(text, at, &[FAILS]);
        }
        name => {
            boxed(text, at, size, "rx=\"8\" fill=\"#eef3fb\" stroke=\"#33507a\"");
            let shown: Vec<&str> = [name].into_iter().chain(state.inner.iter().copied()).collect();
            lines(text, at, &shown);
            if !state.inner.is_empty() {
                let (left, right) = (x - size.wide / 2.0, x + size.wide / 2.0);
                let under = y - size.high / 2.0 + PAD + LINE;
                let _ = writeln!(
                    text,
                    "<path d=\"M{left:.1} {under:.1}H{right:.1}\" stroke=\"#33507a\"/>"
                );
            }
        }
    }
}

fn room(state: &State<'_>) -> Size {
    let shown = match state.name {
        INITIAL | FINAL => return Size { wide: DOT, high: DOT },
        FAIL => vec![FAILS],
        name => [name].into_iter().chain(state.inner.iter().copied()).collect(),
    };
    let Size { wide, high } = of_lines(&shown);
    Size { wide: wide + PAD, high: high + PAD }
}

/// The room of lines, with a little around them.
fn of_lines(lines: &[&str]) -> Size {
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    Size { wide: longest as f64 * LETTER + PAD, high: lines.len() as f64 * LINE + PAD }
}

fn boxed(text: &mut String, at: Point, size: Size, look: &str) {
    let (x, y) = (at.x - size.wide / 2.0, at.y - size.high / 2.0);
    let _ = writeln!(
        text,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" {look}/>",
        size.wide, size.high
    );
}

/// Lines of text around a middle.
fn lines(text: &mut String, at: Point, lines: &[&str]) {
    let top = at.y - (lines.len() as f64 - 1.0) * LINE / 2.0 + 4.0;
    for (number, line) in lines.iter().enumerate() {
        let (x, y) = (at.x, top + number as f64 * LINE);
        let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(line));
    }
}

fn curve(line: &[Point]) -> String {
    let mut path = String::new();
    let mut before: Option<Point> = None;
    for at in line {
        let Point { x, y } = *at;
        let _ = match before {
            None => write!(path, "M{x:.1} {y:.1}"),
            Some(from) if (from.x - x).abs() < 0.05 => write!(path, "V{y:.1}"),
            Some(from) => {
                let middle = f64::midpoint(from.y, y);
                write!(path, "C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}", from.x)
            }
        };
        before = Some(*at);
    }
    path
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
