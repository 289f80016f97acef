//! One batch, one short transaction: fence, epoch, instances by version, everything else.

use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::failpoint::{self, Step};
use knarr_model::ids::InstanceId;
use knarr_model::ports::store::EndpointState;
use knarr_model::work::{Chunk, Outgoing};
use sqlx::PgConnection;

use crate::error::Failed;
use crate::schema::LockKey;
use crate::signal::Made;
use crate::writes::{Stop, Writes};
use crate::{endpoints, instances, outbox, pools, statements};

/// A commit that lost to another transaction is begun anew so often.
pub(crate) const ATTEMPTS: u32 = 3;

/// What came of a commit.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: CommitOutcome,
    /// Rows that are due now.
    pub(crate) made: Made,
}

/// Carries out a commit, or nothing of it.
pub(crate) async fn commit(
    connection: &mut PgConnection,
    commit: &Commit,
    fence: LockKey,
) -> Result<Done, Failed> {
    let mut transaction = pools::begin(connection).await?;
    match within(&mut transaction, commit, fence).await {
        Ok(done) => {
            failpoint::pass(Step::CommitWritten);
            let ending = pools::end(transaction, Ok(done));
            failpoint::pass_while_waiting(Step::CommitSent, ending).await
        }
        Err(Stop::Failed(failed)) => pools::end(transaction, Err(failed)).await,
        Err(Stop::Refused(outcome)) => {
            transaction.rollback().await?;
            Ok(Done { outcome, made: Made::default() })
        }
    }
}

/// The statements in their fixed order.
async fn within(
    connection: &mut PgConnection,
    commit: &Commit,
    fence: LockKey,
) -> Result<Done, Stop> {
    endpoints::share_fence(&mut *connection, fence).await?;
    check_endpoint(&mut *connection, commit).await?;
    failpoint::pass(Step::CommitBegun);

    let written: Vec<_> =
        commit.slices.iter().filter_map(|slice| slice.instance.as_ref()).collect();
    let instances = instances::write(&mut *connection, &commit.saga, &written).await?;
    if !instances.swept.is_empty() {
        return Err(Stop::Refused(CommitOutcome::Swept(instances.swept)));
    }
    failpoint::pass(Step::StateWritten);
    let lost = instances.lost;
    let kept = kept(&commit.slices, &lost);
    let chunks = chunks(commit, &kept);
    let mut writes = Writes::new(&kept, commit.now)?;
    writes.add_chunks(&chunks)?;
    let made = writes.carry_out(&mut *connection, commit).await?;
    // Last: what is refused above has cost none of the saga's own statements.
    for statement in kept.iter().flat_map(|slice| &slice.statements) {
        statements::carry_out(&mut *connection, statement).await?;
    }
    Ok(Done { outcome: CommitOutcome::Committed { lost, chunks }, made })
}

async fn check_endpoint(connection: &mut PgConnection, commit: &Commit) -> Result<(), Stop> {
    let row = endpoints::find(connection, &commit.endpoint).await?;
    let Some(row) =
        row.filter(|row| row.epoch == commit.epoch && row.state != EndpointState::Halted)
    else {
        return Err(Stop::Refused(CommitOutcome::Fenced));
    };
    if commit.ordered && row.holder != Some(commit.node) {
        return Err(Stop::Refused(CommitOutcome::Fenced));
    }
    if row.guard_version != commit.guard_version {
        return Err(Stop::Refused(CommitOutcome::GuardChanged));
    }
    Ok(())
}

/// The slices of instances that did not lose a race.
fn kept<'a>(slices: &'a [Slice], lost: &[InstanceId]) -> Vec<&'a Slice> {
    slices.iter().filter(|slice| slice.key.is_none_or(|key| !lost.contains(&key))).collect()
}

fn chunks(commit: &Commit, kept: &[&Slice]) -> Vec<Chunk> {
    let outgoing: Vec<Outgoing> =
        kept.iter().flat_map(|slice| slice.outgoing.iter().cloned()).collect();
    outbox::split(&commit.endpoint, outgoing, &commit.chunk_ids)
}

/// How long to stand back before a commit is begun anew: longer each time, and different for
/// commits that met.
pub(crate) fn stand_back(commit: &Commit, attempt: u32) -> Duration {
    let own = commit.chunk_ids.first().map_or(0, |id| id.as_bytes()[15]);
    let spread = u64::from(own ^ commit.node.as_bytes()[15]) % 20;
    Duration::from_millis(5 * u64::from(attempt + 1) + spread)
}
