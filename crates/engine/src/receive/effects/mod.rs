//! From what a decision asked for to rows of its slice: one file a kind of effect.

mod activity;
mod outgoing;
mod timers;

use knarr_model::format::masstransit::Host;
use knarr_model::{Effect, Instance};

use super::fold::Fold;
use crate::delivery::Incoming;

/// How messages from here name their sender.
#[derive(Clone)]
pub(crate) struct Sender {
    /// The endpoint's address.
    pub(crate) address: String,
    /// This process.
    pub(crate) host: Host,
}

/// Folds the effects of one applied decision, in order. `saved` is the instance after it.
pub(super) fn fold(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    saved: &Instance,
    effects: Vec<Effect>,
) {
    let context = incoming.context();
    for effect in effects {
        match effect {
            Effect::Message(message) => outgoing::send(fold, incoming, saved, &context, message),
            Effect::Schedule { timer, due, token, replaces } => {
                timers::schedule(fold, saved, &context, timer, due, token, replaces);
            }
            Effect::Unschedule { token } => timers::cancel(fold, saved.id, token),
            Effect::Call(call) => activity::ask(fold, saved, &context, call),
            Effect::Withdraw { token } => activity::withdraw(fold, saved.id, token),
            // What ends with the run was asked for by effects of its own before this one.
            Effect::Finish => {}
        }
    }
}
