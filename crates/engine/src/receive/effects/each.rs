//! Hands each effect of a decision to the file of its kind.

use knarr_model::{Effect, Instance};

use super::{activity, outgoing, sql, timers};
use crate::delivery::Incoming;
use crate::receive::fold::Fold;

/// Folds the effects of one applied decision, in order. `saved` is the instance after it.
pub(in crate::receive) fn fold(
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
            Effect::Sql(statement) => sql::carry_out(fold, saved.id, statement),
            // What ends with the run was asked for by effects of its own before this one.
            Effect::Finish => {}
        }
    }
}
