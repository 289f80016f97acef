//! A call that kills the process: when it is run, when it waits, when it is convicted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::work::Losses;

use crate::halt::delta;
use crate::suspect::{CrashSettings, Holder, Trial};

/// Being in hand when processes die is no guilt: so often a call is run again as ever.
const UNSUSPECTED: u32 = 1;

/// What else is known when a suspected call is judged.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Since when this process has it in hand and does not run it.
    pub since: DateTime<Utc>,
    /// How long its last attempt ran, as far as is known.
    pub ran: Duration,
}

/// Whether a call with such losses is run alone among suspects only.
pub fn is_suspected(losses: &Losses) -> bool {
    losses.count > UNSUSPECTED
}

/// Processes that ended while the call was their only suspect.
fn alone(losses: &Losses) -> u32 {
    losses.count.saturating_sub(UNSUSPECTED + 1)
}

/// Whether it is not run any more.
pub fn is_convicted(settings: &CrashSettings, losses: &Losses) -> bool {
    is_suspected(losses) && alone(losses) >= settings.budget.max(1)
}

/// How long the last attempt ran: a death is noticed when the lease is past, or later, when nobody
/// was there to notice; no attempt is longer than its deadline.
pub fn ran(losses: &Losses, lease: Duration, deadline: Duration) -> Duration {
    losses.after.unwrap_or_default().saturating_sub(lease).min(deadline)
}

/// Judges a call. A suspect waits as long as a message would; and the process that has it in hand
/// must first have lived without it for twice as long as its last attempt ran. Calls may take
/// minutes, and whatever kills a process at random then kills it more often while it waits: which
/// acquits the call ([`run_call`](knarr_model::ports::crash::CrashWatch::run_call)).
pub fn judge_call(
    settings: &CrashSettings,
    losses: &Losses,
    held: &Held,
    holder: &Holder,
) -> Trial {
    if is_convicted(settings, losses) {
        return Trial::Convict;
    }
    let Some(last) = losses.last.filter(|_| is_suspected(losses)) else { return Trial::Try };
    let after = |from: DateTime<Utc>, wait: Duration| {
        from.checked_add_signed(delta(wait)).unwrap_or(holder.now)
    };
    let due = after(last, settings.gap(alone(losses))).max(after(held.since, held.ran * 2));
    if holder.now < due {
        return Trial::Wait(due);
    }
    let lives = holder.committed.is_some_and(|at| at > last)
        || holder.now - last.max(holder.since) >= delta(settings.watch);
    if lives { Trial::Try } else { Trial::Wait(after(holder.now, settings.gap(1))) }
}

/// What a person reads of a convicted call.
pub fn verdict(losses: &Losses) -> String {
    format!(
        "{} processes ended while they ran this call, {} of them with no other suspect in hand; in \
         between, processes lived without it. It is not tried any more",
        losses.count,
        alone(losses)
    )
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn lost(count: u32, last: i64) -> Losses {
        Losses { count, last: Some(at(last)), after: Some(Duration::from_secs(9)) }
    }

    fn held(since: i64, ran: u64) -> Held {
        Held { since: at(since), ran: Duration::from_secs(ran) }
    }

    fn holder(now: i64, committed: Option<i64>) -> Holder {
        Holder { now: at(now), since: at(0), committed: committed.map(at) }
    }

    fn judged(losses: Losses, held: Held, holder: Holder) -> Trial {
        judge_call(&CrashSettings::default(), &losses, &held, &holder)
    }

    #[test]
    fn row_018_one_loss_suspects_nobody() {
        let fresh = holder(1_000, None);
        assert_eq!(judged(Losses::default(), held(1_000, 0), fresh), Trial::Try);
        assert_eq!(judged(lost(1, 1_000), held(1_000, 9), fresh), Trial::Try);
        assert!(!is_suspected(&lost(1, 1_000)) && is_suspected(&lost(2, 1_000)));
    }

    #[test]
    fn row_018_five_lost_alone_convict_and_their_tries_come_after_1_1_5_30_and_120_seconds() {
        for (count, gap) in [(2, 1), (3, 1), (4, 5), (5, 30), (6, 120)] {
            let (call, at_once) = (lost(count, 1_000), held(1_000, 0));
            let early = judged(call, at_once, holder(1_000 + gap - 1, Some(1_001)));
            assert_eq!(early, Trial::Wait(at(1_000 + gap)), "{count}");
            let due = holder(1_000 + gap, Some(1_001));
            assert_eq!(judged(call, at_once, due), Trial::Try, "{count}");
        }
        assert!(!is_convicted(&CrashSettings::default(), &lost(6, 1_000)));
        assert_eq!(judged(lost(7, 1_000), held(1_000, 0), holder(1_000, None)), Trial::Convict);
        let told = verdict(&lost(7, 1_000));
        assert!(told.starts_with("7 processes ended") && told.contains(" 5 of them"), "{told}");
    }

    #[test]
    fn row_018_a_process_that_dies_by_itself_convicts_no_call() {
        let call = lost(2, 1_000);
        let newcomer =
            |now, committed: Option<i64>| Holder { since: at(1_002), ..holder(now, committed) };
        let held = held(1_002, 0);
        assert_eq!(judged(call, held, newcomer(1_010, None)), Trial::Wait(at(1_011)), "nothing");
        assert_eq!(
            judged(call, held, newcomer(1_010, Some(999))),
            Trial::Wait(at(1_011)),
            "before"
        );
        assert_eq!(judged(call, held, newcomer(1_010, Some(1_005))), Trial::Try);
        assert_eq!(judged(call, held, newcomer(1_062, None)), Trial::Try, "for a whole watch");
    }

    #[test]
    fn row_018_a_long_call_waits_twice_as_long_as_it_ran() {
        let call = lost(2, 1_000);
        let busy = |now| holder(now, Some(now - 1));
        assert_eq!(judged(call, held(1_100, 300), busy(1_699)), Trial::Wait(at(1_700)));
        assert_eq!(judged(call, held(1_100, 300), busy(1_700)), Trial::Try);
        let (lease, deadline) = (Duration::from_secs(4), Duration::from_secs(3));
        assert_eq!(ran(&call, lease, Duration::MAX), Duration::from_secs(5));
        assert_eq!(ran(&call, lease, deadline), deadline, "no attempt is longer");
        assert_eq!(ran(&call, Duration::from_secs(30), deadline), Duration::ZERO);
    }
}
