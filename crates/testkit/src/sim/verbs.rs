//! What a verb of the guard may and must have done, looked at in the instant in which it is done.

use std::sync::Arc;

use knarr_guard::contain::ORIGINAL;
use knarr_model::incident::{Audit, Incident, IncidentStatus, Scope, Whole};
use knarr_model::instance::PURGED;
use knarr_model::ports::guard::{CarriedOut, Plan, Refusal, Run};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::Status;
use knarr_model::{InstanceId, Name};

use super::ledger::{Ledger, is_poison};
use super::toy::ENDPOINT;
use super::world::World;
use crate::memory::Rows;

/// The tables before and after one verb.
pub(super) struct Sight<'a> {
    pub(super) before: &'a Rows,
    pub(super) after: &'a Rows,
}

/// Looks at one verb.
pub(super) fn check(
    world: &Arc<World>,
    sight: &Sight<'_>,
    run: Run,
    done: &Result<CarriedOut, Refusal>,
) {
    let now = world.now();
    world.judge(|ledger, wrong| {
        let done = match done {
            Ok(done) if run == Run::ForReal => done,
            Ok(_) => {
                ledger.did("dry run");
                return sight.nothing_changed("a dry run", wrong);
            }
            Err(refusal) => {
                ledger.did("refused");
                if sight.before.written != sight.after.written {
                    wrong.push(format!("a verb that was refused ({refusal}) wrote something"));
                }
                return;
            }
        };
        let plan = &done.plan;
        count(ledger, plan);
        sight.endpoint(ledger, wrong);
        sight.audit(plan, wrong);
        sight.versions(ledger, wrong);
        sight.incidents(plan, wrong);
        sight.set_aside(plan, wrong);
        for row in &plan.deliveries {
            ledger.owe(&row.envelope);
            ledger.released.insert(row.message_id, sight.before.written);
        }
        if let Some((_, id, run)) = &plan.empty
            && plan.restore.is_none()
        {
            sight.purged(plan, *id, *run, wrong);
            ledger.withdrawn.insert((*id, *run), now);
            for parked in plan.snapshot.iter().flat_map(|(_, whole)| &whole.parked) {
                let poison = is_poison(&parked.envelope);
                ledger.owed.entry(parked.message_id).or_insert(poison);
            }
        }
        if let Some(whole) = &plan.restore {
            sight.restored(whole, wrong);
            ledger.withdrawn.remove(&(whole.instance.id, whole.instance.run));
            whole.parked.iter().for_each(|parked| ledger.anew(parked.message_id));
        } else {
            for kept in plan.forget_snapshots.iter().filter_map(|id| sight.before.snapshot.get(id))
            {
                ledger.given_up.extend(kept.parked.iter().map(|parked| parked.message_id));
            }
        }
        ledger.committed(&done.chunks, now);
    });
}

/// Counts what was done by name.
fn count(ledger: &mut Ledger, plan: &Plan) {
    let Some(Audit { verb, .. }) = &plan.audit else {
        ledger.did(if plan.incidents.is_empty() { "verb probe goes on" } else { "verb join" });
        return;
    };
    ledger.did(format!("verb {verb}"));
    if verb != "contain" {
        return;
    }
    for incident in &plan.incidents {
        let what = match (incident.scope, incident.instance.is_some()) {
            (Scope::Endpoint, true) => "contain",
            (Scope::Instance, _) => "contain-instance",
            (Scope::Nothing, true) => "quarantine",
            (Scope::Endpoint, false) => "contain-on-start",
            (Scope::Nothing, false) => "quarantine-start",
        };
        ledger.did(format!("reaction {what}"));
        if let Some(at) = &incident.failed_at {
            let again = at.envelope.as_ref().is_some_and(|e| e.headers.get(ORIGINAL).is_some());
            ledger.did(match (&at.envelope, again) {
                (None, _) => "failed at a timer or call",
                (Some(_), false) => "failed at a message",
                (Some(_), true) => "failed again after a retry or release",
            });
        }
    }
}

impl Sight<'_> {
    fn nothing_changed(&self, what: &str, wrong: &mut Vec<String>) {
        if format!("{:?}", self.before) != format!("{:?}", self.after) {
            wrong.push(format!("a verb that was {what} changed something"));
        }
    }

    fn endpoint(&self, ledger: &mut Ledger, wrong: &mut Vec<String>) {
        let endpoint: Name = ENDPOINT.into();
        let (before, after) =
            (self.before.endpoint.get(&endpoint), self.after.endpoint.get(&endpoint));
        let Some(after) = after else {
            wrong.push("a verb left no endpoint".to_owned());
            return;
        };
        ledger.ranked(after.epoch, after.guard_version, wrong);
        let Some(before) = before else { return };
        let halts = after.state == EndpointState::Halted
            && matches!(before.state, EndpointState::Open | EndpointState::Paused);
        let probe = after.stop.as_ref().is_some_and(|stop| stop.restart_at.is_some());
        if halts && after.epoch == before.epoch && !probe {
            wrong.push(format!("halted at its old epoch {}", after.epoch));
        }
    }

    /// One line for each verb that has one, at the end; under a key once.
    fn audit(&self, plan: &Plan, wrong: &mut Vec<String>) {
        let (before, after) = (&self.before.audit, &self.after.audit);
        let new: Vec<_> = after.iter().filter(|(n, _)| !before.contains_key(n)).collect();
        let expected = usize::from(plan.audit.is_some());
        if new.len() != expected || after.len() != before.len() + expected {
            wrong.push(format!("a verb wrote {} lines of the audit: {:?}", new.len(), plan.audit));
        }
        let last = before.keys().next_back().copied().unwrap_or(0);
        for (number, line) in new {
            if *number <= last {
                wrong.push(format!("line {number} of the audit came after line {last}"));
            }
            let known =
                |old: &Audit| old.id == line.id || (old.key.is_some() && old.key == line.key);
            if before.values().any(known) {
                wrong.push(format!("carried out twice: {line:?}"));
            }
        }
    }

    /// Whatever a verb writes of an instance is one version on; a run changes by nobody's verb.
    fn versions(&self, ledger: &mut Ledger, wrong: &mut Vec<String>) {
        for (place, row) in &self.before.instance {
            let Some(after) = self.after.instance.get(place).map(|row| &row.instance) else {
                wrong.push(format!("a verb removed the row of {}", place.1));
                continue;
            };
            let before = &row.instance;
            ledger.versioned(before.id, before.version, wrong);
            ledger.versioned(after.id, after.version, wrong);
            let same = before.state == after.state
                && before.data.get() == after.data.get()
                && before.book == after.book;
            let by = after.version - before.version;
            if (by != 1 && !(same && by == 0)) || before.run != after.run {
                wrong.push(format!("a verb took {} from {before:?} to {after:?}", place.1));
            }
        }
    }

    /// An incident ends once; a resolved one may still be discarded.
    fn incidents(&self, plan: &Plan, wrong: &mut Vec<String>) {
        for incident in &plan.incidents {
            let Some(before) = self.before.incident.get(&incident.id) else { continue };
            let fits = match (before.status, incident.status) {
                (IncidentStatus::Open, _) => true,
                (IncidentStatus::Resolved, after) => after == IncidentStatus::Discarded,
                (IncidentStatus::Retried | IncidentStatus::Discarded, _) => false,
            };
            if !fits {
                wrong.push(format!(
                    "incident {} was {} and is {} now",
                    incident.id, before.status, incident.status
                ));
            }
        }
    }

    /// A set-aside message leaves quarantine once. One that fails again comes back to it.
    fn set_aside(&self, plan: &Plan, wrong: &mut Vec<String>) {
        for row in &plan.changed {
            let Some(before) = self.before.quarantine.get(&row.id) else { continue };
            if before.status != Status::Held {
                let text = format!("{:?} and is {:?} now", before.status, row.status);
                wrong.push(format!("set-aside message {} was {text}", row.message_id));
            }
        }
        for (id, before) in &self.before.quarantine {
            if !self.after.quarantine.contains_key(id) {
                wrong.push(format!("set-aside message {} is gone", before.message_id));
            }
        }
    }

    /// Everything of the run is in the snapshot, and nothing of it is left but the tombstone.
    fn purged(&self, plan: &Plan, id: InstanceId, run: u32, wrong: &mut Vec<String>) {
        let Some((incident, kept)) = &plan.snapshot else {
            wrong.push(format!("run {run} of {id} was purged and not kept"));
            return;
        };
        let stone = self.after.instance.get(&(ENDPOINT.into(), id)).map(|row| &row.instance);
        let fits = stone.is_some_and(|stone| {
            stone.state == PURGED && stone.data.get() == "null" && stone.incident == Some(*incident)
        });
        if !fits {
            wrong.push(format!("the tombstone of {id} is {stone:?}"));
        }
        let left = around(self.after, id, run);
        if !left.is_empty() {
            wrong.push(format!("the purge of {id} left {left:?}"));
        }
        let moved = of_whole(kept);
        let taken: Vec<_> = plan.taken.iter().map(|(_, row)| row.0).collect();
        for lost in around(self.before, id, run) {
            // A failed delivery that is a message is kept under a new id.
            let copied = taken.contains(&lost.1) && lost.0 == "parked";
            if !moved.contains(&lost) && !copied {
                wrong.push(format!("the purge of {id} lost {lost:?}"));
            }
        }
    }

    /// Everything that was kept is back, under the same run.
    fn restored(&self, whole: &Whole, wrong: &mut Vec<String>) {
        let (id, run) = (whole.instance.id, whole.instance.run);
        let back = self.after.instance.get(&(ENDPOINT.into(), id)).map(|row| &row.instance);
        let fits = back.is_some_and(|back| {
            back.run == run && back.state == whole.instance.state && !back.is_over()
        });
        if !fits {
            wrong.push(format!("run {run} of {id} came back as {back:?}"));
        }
        let there = around(self.after, id, run);
        for kept in of_whole(whole) {
            if !there.contains(&kept) {
                wrong.push(format!("{kept:?} did not come back with {id}"));
            }
        }
    }
}

/// A row around a run: its kind and id.
type Around = (&'static str, uuid::Uuid);

fn around(rows: &Rows, id: InstanceId, run: u32) -> Vec<Around> {
    let timers = rows.timer.values().map(|held| &held.row).filter(|row| row.instance == id);
    let calls = rows.activity.values().map(|held| &held.task).filter(|task| task.instance == id);
    let parked = rows.parked.values().map(|held| &held.row);
    let unsent = rows.outbox.values().flat_map(|row| &row.chunk.messages);
    let of_run = |of: &knarr_model::work::Sequence| of.instance == id && of.run == run;
    timers
        .map(|row| ("timer", row.id.0))
        .chain(calls.map(|task| ("call", task.id.0)))
        .chain(parked.filter(|row| row.instance == Some(id)).map(|row| ("parked", row.id.0)))
        .chain(
            unsent.filter(|m| m.sequence.as_ref().is_some_and(of_run)).map(|m| ("unsent", m.id.0)),
        )
        .collect()
}

fn of_whole(whole: &Whole) -> Vec<Around> {
    let calls = whole.calls.iter().chain(whole.ended.iter().map(|ended| &ended.task));
    whole
        .timers
        .iter()
        .map(|row| ("timer", row.id.0))
        .chain(calls.map(|task| ("call", task.id.0)))
        .chain(whole.parked.iter().map(|row| ("parked", row.id.0)))
        .chain(whole.unsent.iter().map(|message| ("unsent", message.id.0)))
        .collect()
}

/// Incidents that nobody has ended.
pub(super) fn open(rows: &Rows) -> impl Iterator<Item = &Incident> {
    rows.incident.values().filter(|incident| incident.status == IncidentStatus::Open)
}
