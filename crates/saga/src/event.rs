//! What a row can wait for besides messages: calls and timers, and the facts that a join collects.

use std::any::{TypeId, type_name};

use knarr_model::Message;
use knarr_model::shape::EventShape;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Decode, MessageType, decode};

/// Plain data for an activity, which answers with an `Output`.
///
/// Derive it (`#[derive(Call)] #[call(output = Verdict)]`) or write `type Output`; the name is
/// stored with every open call, so keep it when the type is renamed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call",
    label = "not a call",
    note = "add #[derive(Call, Serialize, Deserialize)] #[call(output = ..)] to `{Self}`"
)]
pub trait Call: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The answer.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The name under which calls of this type are stored and shown; the type's name by default.
    fn name() -> &'static str {
        short_name(type_name::<Self>())
    }
}

/// A timer's name. Derive it on a unit struct or a fieldless enum; plain text is a timer as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a timer",
    label = "not a timer",
    note = "add #[derive(Timer)] to the unit struct `{Self}`, or name the timer with a text"
)]
pub trait Timer {
    /// The name: one live timer per name and instance.
    fn name(&self) -> &'static str;
}

impl Timer for &'static str {
    fn name(&self) -> &'static str {
        self
    }
}

/// One thing that a join waits for; made by [`on`], [`done`], [`failed`], [`ended`] and [`after`].
#[derive(Clone, Debug)]
pub struct Fact(pub(crate) Source);

/// A fact with what the machine needs to recognise it.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A message, known to the table by registering its type.
    Message(MessageFact),
    /// A call answered.
    Done(CallFact),
    /// A call failed for good.
    Failed(CallFact),
    /// A call ended either way.
    Ended(CallFact),
    /// A timer fired.
    Timer(&'static str),
}

/// A message type as a source of a join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageFact {
    pub(crate) describe: fn() -> MessageType,
}

/// A call type as a source of a join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallFact {
    pub(crate) name: &'static str,
    pub(crate) kind: CallType,
}

/// A call type with its Rust type erased.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallType {
    pub(crate) rust_type: TypeId,
    /// Reads an answer.
    pub(crate) decode: Decode,
}

impl CallType {
    pub(crate) fn of<C: Call>() -> CallType {
        CallType { rust_type: TypeId::of::<C>(), decode: decode::<C::Output> }
    }
}

impl CallFact {
    fn of<C: Call>() -> CallFact {
        CallFact { name: C::name(), kind: CallType::of::<C>() }
    }
}

impl Source {
    /// The source as it stands in the machine's shape.
    pub(crate) fn shape(&self) -> EventShape {
        match self {
            Source::Message(fact) => EventShape::Message((fact.describe)().exchange),
            Source::Done(call) => EventShape::Done(call.name.to_owned()),
            Source::Failed(call) => EventShape::Failed(call.name.to_owned()),
            Source::Ended(call) => EventShape::Ended(call.name.to_owned()),
            Source::Timer(timer) => EventShape::Timer((*timer).to_owned()),
        }
    }
}

/// The fact that a message of type `E` was taken.
pub fn on<E: Message>() -> Fact {
    Fact(Source::Message(MessageFact { describe: MessageType::of::<E> }))
}

/// The fact that a call was answered.
pub fn done<C: Call>() -> Fact {
    Fact(Source::Done(CallFact::of::<C>()))
}

/// The fact that a call failed for good.
pub fn failed<C: Call>() -> Fact {
    Fact(Source::Failed(CallFact::of::<C>()))
}

/// The fact that a call ended, answered or failed.
pub fn ended<C: Call>() -> Fact {
    Fact(Source::Ended(CallFact::of::<C>()))
}

/// The fact that a timer fired.
pub fn after(timer: impl Timer) -> Fact {
    Fact(Source::Timer(timer.name()))
}

/// The last segment of a Rust path: `url_scan::machine::start` gives `start`.
pub(crate) fn short_name(path: &'static str) -> &'static str {
    match without_arguments(path).rsplit("::").next() {
        Some("{{closure}}") => "closure",
        Some(name) => name,
        None => path,
    }
}

/// A path without the generic arguments that it ends with.
fn without_arguments(path: &'static str) -> &'static str {
    if !path.ends_with('>') {
        return path;
    }
    let mut depth = 0_usize;
    for (at, c) in path.char_indices().rev() {
        match c {
            '>' => depth += 1,
            '<' if depth == 1 => return &path[..at],
            '<' => depth -= 1,
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_drop_paths_arguments_and_impl_headers() {
        assert_eq!(short_name("url_scan::machine::start"), "start");
        assert_eq!(short_name("a::Envelope<b::Inner<c::D>>"), "Envelope");
        assert_eq!(short_name("<a::B as c::Machine>::define::{{closure}}"), "closure");
        assert_eq!(short_name("<a::B<c::D>>::method"), "method");
    }
}
