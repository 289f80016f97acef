//! Rows and decisions in words, as a failing story shows them.

use knarr_model::Effect;
use knarr_model::instance::INITIAL;
use knarr_model::shape::{EventShape, RowShape, Shape};
use knarr_saga::definition::{Decision, Verdict};

/// An event as the journal names it.
fn event(shape: &EventShape) -> String {
    match shape {
        EventShape::Message(exchange) => exchange.clone(),
        EventShape::Done(call) => format!("done {call}"),
        EventShape::Failed(call) => format!("failed {call}"),
        EventShape::Ended(call) => format!("ended {call}"),
        EventShape::Timer(timer) => format!("timer {timer}"),
        EventShape::AllOf(parts) => {
            let parts: Vec<_> = parts.iter().map(event).collect();
            format!("all of ({})", parts.join(", "))
        }
    }
}

/// A row of the table, numbered from 1.
fn row(number: usize, row: &RowShape) -> String {
    let place = match row.states.as_slice() {
        [] => "during any".to_owned(),
        [only] if only == INITIAL => "initially".to_owned(),
        states => format!("during {}", states.join(" or ")),
    };
    let then = match row.behaviours.as_slice() {
        [] => String::new(),
        names => format!(", then {}", names.join(", ")),
    };
    let leads = match row.targets.as_slice() {
        _ if row.ignored => "ignored".to_owned(),
        [] => "stays".to_owned(),
        targets => format!("to {}", targets.join(" or ")),
    };
    format!("row {number}: {place}, {}{then}, {leads}", event(&row.on))
}

fn applies(row: &RowShape, state: &str) -> bool {
    row.states.iter().any(|have| have == state) || (row.states.is_empty() && state != INITIAL)
}

/// The row that takes an event in a state: one that names the state before one for any.
fn taker<'s>(shape: &'s Shape, state: &str, on: &str) -> Option<(usize, &'s RowShape)> {
    let mut takers: Vec<_> = shape
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| applies(row, state) && event(&row.on) == on)
        .collect();
    takers.sort_by_key(|(_, row)| row.states.is_empty());
    takers.into_iter().next()
}

/// The joins that may have fired in the same step: those of the state then reached which count
/// this event.
fn joins<'s>(shape: &'s Shape, state: &str, on: &str) -> Vec<(usize, &'s RowShape)> {
    let ended = on.replacen("done ", "ended ", 1).replacen("failed ", "ended ", 1);
    let counts = |row: &RowShape| match &row.on {
        EventShape::AllOf(parts) => parts.iter().map(event).any(|part| part == on || part == ended),
        _ => false,
    };
    let rows = shape.rows.iter().enumerate();
    rows.filter(|(_, row)| applies(row, state) && counts(row)).collect()
}

/// A decision: what came, which row took it, where it led, what it asked for.
pub(super) fn decision(shape: &Shape, decision: &Decision) -> String {
    let Decision { event, from, to, effects, verdict, .. } = decision;
    let mut lines = vec![match verdict {
        Verdict::Applied => format!("{event}: {from} -> {to}"),
        verdict => format!("{event}: {from}, {}", self::verdict(verdict)),
    }];
    let taken = taker(shape, from, event);
    match taken {
        Some((at, taken)) => lines.push(row(at + 1, taken)),
        None => lines.push(format!("no row takes it in {from}")),
    }
    let moved = from != to || matches!(verdict, Verdict::RunFailed { .. });
    if moved && taken.is_none_or(|(_, row)| row.targets.is_empty()) {
        lines.extend(joins(shape, from, event).into_iter().map(|(at, join)| row(at + 1, join)));
    }
    let asked: Vec<_> = effects.iter().map(effect).collect();
    if !asked.is_empty() {
        lines.push(asked.join(", "));
    }
    lines.join("\n       ")
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Applied => "applied".to_owned(),
        Verdict::Ignored => "ignored".to_owned(),
        Verdict::Absorbed => "absorbed".to_owned(),
        Verdict::Missing(_) => "its instance does not exist".to_owned(),
        Verdict::Deferred => "deferred".to_owned(),
        Verdict::Unhandled => "unhandled".to_owned(),
        Verdict::Bad(why) => format!("bad: {why}"),
        Verdict::Broken(errors) => format!("broken: {}", errors.join(": ")),
        Verdict::RunFailed { class, errors } => {
            format!("the run failed ({class}): {}", errors.join(": "))
        }
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Message(message) => {
            let name = message.types.first().map(knarr_model::TypeName::exchange);
            format!("sends {}", name.unwrap_or_default())
        }
        Effect::Call(call) => format!("asks {}", call.call),
        Effect::Schedule { timer, .. } => format!("sets {timer}"),
        Effect::Unschedule { .. } => "cancels a timer".to_owned(),
        Effect::Withdraw { .. } => "withdraws a call".to_owned(),
        Effect::Sql(statement) => format!("carries out {}", statement.name),
        Effect::Finish => "finishes".to_owned(),
    }
}
