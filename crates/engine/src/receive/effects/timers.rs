//! Timers set, replaced and cancelled.

use chrono::{DateTime, Utc};
use knarr_model::work::Timer;
use knarr_model::{Context, Instance, InstanceId, RowId};

use crate::receive::fold::Fold;

pub(super) fn schedule(
    fold: &mut Fold<'_>,
    saved: &Instance,
    context: &Context,
    name: String,
    due_at: DateTime<Utc>,
    token: RowId,
    replaces: Option<RowId>,
) {
    if let Some(old) = replaces {
        cancel(fold, saved.id, old);
    }
    let timer = Timer {
        id: token,
        endpoint: fold.at.endpoint.clone(),
        saga: saved.saga.clone(),
        instance: saved.id,
        run: saved.run,
        name,
        due_at,
        attempt: 0,
        claims: 0,
        context: context.clone(),
    };
    fold.draft(Some(saved.id)).slice.timers.push(timer);
}

/// A timer of this very batch is taken out again: a commit never inserts and deletes one key.
pub(super) fn cancel(fold: &mut Fold<'_>, instance: InstanceId, token: RowId) {
    let slice = &mut fold.draft(Some(instance)).slice;
    let before = slice.timers.len();
    slice.timers.retain(|timer| timer.id != token);
    if slice.timers.len() == before {
        slice.cancelled_timers.push(token);
    }
}
