//! Statements on the saga's own tables, carried out within the commit.

use knarr_model::{InstanceId, Statement};

use crate::receive::fold::Fold;

pub(super) fn carry_out(fold: &mut Fold<'_>, instance: InstanceId, statement: Statement) {
    fold.draft(Some(instance)).slice.statements.push(statement);
}
