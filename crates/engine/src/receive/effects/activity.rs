//! Calls asked for and withdrawn.

use knarr_model::effect::Call;
use knarr_model::work::{ActivityTask, Losses};
use knarr_model::{Context, Instance, InstanceId, RowId};

use crate::receive::fold::Fold;

pub(super) fn ask(fold: &mut Fold<'_>, saved: &Instance, context: &Context, call: Call) {
    let task = ActivityTask {
        id: call.token,
        endpoint: fold.at.endpoint.clone(),
        saga: saved.saga.clone(),
        instance: saved.id,
        run: saved.run,
        call: call.call,
        payload: call.payload,
        // The token is derived from (saga, instance, run, cause, effect index).
        idempotency_key: call.token.0,
        lost: Losses::default(),
        attempt: 0,
        claims: 0,
        memo: None,
        due_at: fold.at.now,
        retry: call.retry,
        deadline: call.deadline,
        context: context.clone(),
    };
    fold.draft(Some(saved.id)).slice.tasks.push(task);
}

/// A call of this very batch is taken out again: a commit never inserts and deletes one key.
pub(super) fn withdraw(fold: &mut Fold<'_>, instance: InstanceId, token: RowId) {
    let slice = &mut fold.draft(Some(instance)).slice;
    let before = slice.tasks.len();
    slice.tasks.retain(|task| task.id != token);
    if slice.tasks.len() == before {
        slice.cancelled_tasks.push(token);
    }
}
