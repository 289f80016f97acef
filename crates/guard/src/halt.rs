//! Stop and go: halt, pause, resume, and the careful try in between.

use std::time::Duration;

use knarr_model::incident::Scope;
use knarr_model::ports::guard::{Plan, Refusal, Scene};
use knarr_model::ports::store::{EndpointRow, EndpointState, Stop};
use knarr_model::{Class, Name};

use crate::order::Moment;
use crate::purge::opened;

/// Messages that must succeed in a row before a probed endpoint opens.
pub const PROBES: u32 = 10;
/// The longest wait between two probes.
pub const LONGEST_RESTART: Duration = Duration::from_secs(3600);

/// Stops the endpoint: a new epoch, at which nothing decided before can commit.
pub fn halt(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    if row.state == EndpointState::Halted {
        return said(at, row, "halt", "was halted already", None);
    }
    let stop = Stop {
        reason: at.why("halted by hand"),
        by: at.order.who.clone(),
        since: Some(at.now),
        ..Stop::default()
    };
    let new = halted(row, stop);
    let text = format!("{} is halted at epoch {}", row.name, new.epoch);
    said(at, row, "halt", &text, Some(new))
}

/// The row of an endpoint that stops now.
pub(crate) fn halted(row: &EndpointRow, stop: Stop) -> EndpointRow {
    EndpointRow {
        name: row.name.clone(),
        state: EndpointState::Halted,
        epoch: row.epoch + 1,
        stop: Some(stop),
        ..row.clone()
    }
}

/// Stops intake only, at the same epoch; what the store has waiting goes on.
pub fn pause(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    match row.state {
        EndpointState::Paused => said(at, row, "pause", "was paused already", None),
        EndpointState::Halted => Err(Refusal::Conflict(format!(
            "{} is halted: a pause would open it for what waits; resume it first",
            row.name
        ))),
        EndpointState::Open | EndpointState::Probing => {
            let stop = Stop {
                reason: at.why("paused by hand"),
                by: at.order.who.clone(),
                since: Some(at.now),
                ..Stop::default()
            };
            let new = EndpointRow { state: EndpointState::Paused, stop: Some(stop), ..row.clone() };
            let text = format!("{} takes no messages in; what waits goes on", row.name);
            said(at, row, "pause", &text, Some(new))
        }
    }
}

/// The breaker's pause: intake and internal deliveries both stop, nothing is set aside.
pub fn trip(
    scene: &Scene,
    at: &Moment,
    saga: &Name,
    reason: &str,
    restart: Option<Duration>,
) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    if row.state != EndpointState::Open {
        return Err(Refusal::Changed);
    }
    let stop = Stop {
        reason: reason.to_owned(),
        by: at.order.who.clone(),
        since: Some(at.now),
        incident: Some(at.incident),
        internal_too: true,
        restart_at: restart.and_then(|delay| at.now.checked_add_signed(delta(delay))),
        delay: restart,
        probe: None,
    };
    // A new epoch, as at a halt: what other lanes decided a moment ago is returned, not set aside.
    let new = EndpointRow {
        state: EndpointState::Paused,
        epoch: row.epoch + 1,
        stop: Some(stop),
        ..row.clone()
    };
    let mut incident = opened(scene, at, saga, Class::Breaker, reason.to_owned());
    incident.scope = Scope::Endpoint;
    let mut plan = said(at, row, "pause", reason, Some(new))?;
    plan.incidents.push(incident);
    Ok(plan)
}

/// Opens the endpoint at its epoch, at once or (`probe`) after a careful try by one node.
pub fn resume(scene: &Scene, at: &Moment, probe: bool) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    if row.state == EndpointState::Open {
        return said(at, row, "resume", "was open already", None);
    }
    if probe {
        let stop =
            Stop { restart_at: Some(at.now), probe: None, ..row.stop.clone().unwrap_or_default() };
        let new = EndpointRow { state: EndpointState::Halted, stop: Some(stop), ..row.clone() };
        let text = format!("{} is tried with one message at a time", row.name);
        return said(at, row, "resume", &text, Some(new));
    }
    let new = EndpointRow { state: EndpointState::Open, stop: None, ..row.clone() };
    let text = format!("{} is open at epoch {}", row.name, new.epoch);
    said(at, row, "resume", &text, Some(new))
}

/// The time of a stopped endpoint has come: whichever node holds it tries it with one message at a
/// time. A holder that dies is followed by another.
pub fn begin_probe(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    let Some(stop) = &row.stop else { return Err(Refusal::Changed) };
    let due = stop.restart_at.is_some_and(|restart| restart <= at.now);
    if !due || !matches!(row.state, EndpointState::Halted | EndpointState::Paused) {
        return Err(Refusal::Changed);
    }
    let stop = Stop { probe: Some(PROBES), internal_too: false, ..stop.clone() };
    // A new epoch: what others decided before a pause does not commit while one node tries.
    let new = EndpointRow {
        state: EndpointState::Probing,
        epoch: row.epoch + 1,
        stop: Some(stop),
        ..row.clone()
    };
    said(at, row, "probe", &format!("{} is tried with one message at a time", row.name), Some(new))
}

/// Some tried messages succeeded: after [`PROBES`] of them the endpoint opens.
pub fn probe_succeeded(scene: &Scene, at: &Moment, messages: u32) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    let (stop, left) = probing(row)?;
    let left = left.saturating_sub(messages);
    if left > 0 {
        let stop = Stop { probe: Some(left), ..stop.clone() };
        let new = EndpointRow { stop: Some(stop), ..row.clone() };
        // Progress is no event of its own: the audit hears of the end only.
        return Ok(Plan { endpoint: Some(new), ..Plan::default() });
    }
    let new = EndpointRow { state: EndpointState::Open, stop: None, ..row.clone() };
    said(
        at,
        row,
        "resume",
        &format!("{} is open: {PROBES} messages went through", row.name),
        Some(new),
    )
}

/// A tried message failed: halted again, and the next try comes after twice the time.
pub fn probe_failed(scene: &Scene, at: &Moment, why: &str) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    let (stop, _) = probing(row)?;
    let stop = again_later(stop, at);
    let text = format!("{} is halted again: {why}", row.name);
    said(at, row, "halt", &text, Some(halted(row, stop)))
}

/// The stop of an endpoint whose probe failed.
pub(crate) fn again_later(stop: &Stop, at: &Moment) -> Stop {
    let delay = stop.delay.map(|delay| (delay * 2).min(LONGEST_RESTART));
    Stop {
        restart_at: delay.and_then(|delay| at.now.checked_add_signed(delta(delay))),
        delay,
        since: Some(at.now),
        probe: None,
        ..stop.clone()
    }
}

/// The store came back from a backup. Epoch and guard version rise above whatever they may have been
/// since that was made, so that nothing which was decided then commits now: they are not counted on
/// but taken from the clock. The endpoint stays as it is, and shows when it was.
pub fn after_restore(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    let above = |number: i64| at.now.timestamp().max(number + 1);
    let new = EndpointRow {
        epoch: above(row.epoch),
        guard_version: above(row.guard_version),
        restored_at: Some(at.now),
        ..row.clone()
    };
    let text = format!("{} goes on at epoch {} after a restore", row.name, new.epoch);
    said(at, row, "after-restore", &text, Some(new))
}

fn probing(row: &EndpointRow) -> Result<(&Stop, u32), Refusal> {
    let stop = row.stop.as_ref().filter(|_| row.state == EndpointState::Probing);
    stop.and_then(|stop| stop.probe.map(|left| (stop, left))).ok_or(Refusal::Changed)
}

pub(crate) fn delta(duration: Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(duration).unwrap_or(chrono::TimeDelta::MAX)
}

fn said(
    at: &Moment,
    row: &EndpointRow,
    verb: &str,
    text: &str,
    new: Option<EndpointRow>,
) -> Result<Plan, Refusal> {
    let audit = at.line(verb, row.name.to_string(), &row.name, vec![text.to_owned()]);
    Ok(Plan { endpoint: new, audit: Some(audit), ..Plan::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{bare, open};
    use knarr_model::ports::guard::Scene;

    fn after(plan: Result<Plan, Refusal>) -> EndpointRow {
        plan.expect("planned").endpoint.expect("changed")
    }

    fn scene(row: EndpointRow) -> Scene {
        Scene { endpoint: row, ..bare() }
    }

    #[test]
    fn s0_12_a_halt_raises_the_epoch_once_and_resume_keeps_it() {
        let at = Moment::for_test("anna");
        let row = after(halt(&scene(open()), &at));
        assert_eq!((row.state, row.epoch), (EndpointState::Halted, 2));
        assert_eq!(row.stop.as_ref().map(|stop| stop.by.as_str()), Some("anna"));
        let again = halt(&scene(row.clone()), &at).expect("planned");
        assert!(again.endpoint.is_none() && again.audit.is_some(), "told, nothing changed");
        let row = after(resume(&scene(row), &at, false));
        assert_eq!((row.state, row.epoch, row.stop), (EndpointState::Open, 2, None));
    }

    #[test]
    fn guard_a_probe_comes_in_its_time_and_doubles_its_wait_when_it_fails() {
        let at = Moment::for_test("knarr");
        let minute = Duration::from_secs(60);
        let stop = Stop { restart_at: Some(at.now), delay: Some(minute), ..Stop::default() };
        let row = halted(&open(), stop);
        let early =
            halted(&open(), Stop { restart_at: Some(at.now + delta(minute)), ..Stop::default() });
        assert_eq!(begin_probe(&scene(early), &at).expect_err("not yet"), Refusal::Changed);
        let row = after(begin_probe(&scene(row), &at));
        assert_eq!(row.state, EndpointState::Probing);
        let failed = after(probe_failed(&scene(row.clone()), &at, "again"));
        let stop = failed.stop.expect("why");
        assert_eq!((failed.state, stop.delay), (EndpointState::Halted, Some(2 * minute)));
        assert!(stop.restart_at > Some(at.now + delta(minute)));
        let some = after(probe_succeeded(&scene(row), &at, 9));
        assert_eq!(some.state, EndpointState::Probing);
        let row = after(probe_succeeded(&scene(some), &at, 1));
        assert_eq!((row.state, row.stop), (EndpointState::Open, None));
    }

    #[test]
    fn row_113_after_a_restore_no_number_is_one_that_was_given_out_before() {
        let early = Moment::for_test("knarr");
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let at = Moment { now, ..Moment::for_test("knarr") };
        // The backup was made; what followed it was lost, and is gone from the row.
        let backup = after(halt(&scene(open()), &at));
        let lost = after(halt(&scene(after(resume(&scene(backup.clone()), &at, false))), &at));
        let row = after(after_restore(&scene(backup.clone()), &at));
        assert!(row.epoch > lost.epoch + 1_000 && row.guard_version > 1_000);
        assert_eq!((row.state, &row.stop), (EndpointState::Halted, &backup.stop), "as it was");
        assert_eq!(row.restored_at, Some(now));
        // The same backup once more, a second later: another line of history again.
        let later = Moment { now: now + delta(Duration::from_secs(1)), ..at.clone() };
        let again = after(after_restore(&scene(backup), &later));
        assert!(again.epoch > row.epoch);
        // A clock that was set back does not take numbers back.
        let back = after(after_restore(&scene(row.clone()), &early));
        assert_eq!((back.epoch, back.guard_version), (row.epoch + 1, row.guard_version + 1));
    }

    #[test]
    fn a_pause_keeps_the_epoch_and_never_opens_what_is_halted() {
        let at = Moment::for_test("anna");
        let row = after(pause(&scene(open()), &at));
        assert_eq!((row.state, row.epoch), (EndpointState::Paused, 1));
        let row = after(halt(&scene(open()), &at));
        assert!(matches!(pause(&scene(row), &at), Err(Refusal::Conflict(_))));
    }

    #[test]
    fn guard_the_wait_between_probes_is_an_hour_at_most() {
        let at = Moment::for_test("knarr");
        let stop = Stop { delay: Some(Duration::from_secs(3000)), ..Stop::default() };
        assert_eq!(again_later(&stop, &at).delay, Some(LONGEST_RESTART));
        let none = again_later(&Stop::default(), &at);
        assert_eq!((none.delay, none.restart_at), (None, None));
    }
}
