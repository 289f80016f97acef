//! A message that kills the process: when it is tried, when it waits, when it is convicted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ports::crash::Suspect;

use crate::halt::delta;

/// How messages and calls are dealt with that a process had in hand when it died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashSettings {
    /// Processes that must have died deciding a message alone before it is set aside, or running a
    /// call as the only suspect before it fails.
    pub budget: u32,
    /// How far such tries lie apart; the last one holds for all later ones.
    pub spacing: Vec<Duration>,
    /// How long after an unclean end batches write what they are about to decide.
    pub watch: Duration,
}

impl Default for CrashSettings {
    fn default() -> Self {
        CrashSettings {
            budget: 5,
            spacing: [1, 5, 30, 120].map(Duration::from_secs).to_vec(),
            watch: Duration::from_secs(60),
        }
    }
}

impl CrashSettings {
    /// How long a suspect waits while another is tried.
    pub fn pause(&self) -> Duration {
        self.gap(1)
    }

    /// How long a message waits, or a call, that was tried alone so often.
    pub(crate) fn gap(&self, tries: u32) -> Duration {
        let nth = usize::try_from(tries).unwrap_or(usize::MAX).saturating_sub(1);
        self.spacing.get(nth).or(self.spacing.last()).copied().unwrap_or(Duration::from_secs(1))
    }
}

/// What the process that holds the suspect knows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The time.
    pub now: DateTime<Utc>,
    /// Since when it runs.
    pub since: DateTime<Utc>,
    /// When it last committed another message of the endpoint; of a call: any message, or a call.
    pub committed: Option<DateTime<Utc>>,
}

/// What is done with a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It is decided alone.
    Try,
    /// It waits until then.
    Wait(DateTime<Utc>),
    /// It is set aside, undecided.
    Convict,
}

/// Judges a suspect. Between two tries a later process must have shown that it lives as long as it
/// does not decide this message: it has committed another one, or, where no other comes, has
/// run for a whole watch. So a process that dies by itself convicts nobody.
pub fn judge(settings: &CrashSettings, suspect: &Suspect, holder: &Holder) -> Trial {
    if suspect.died >= settings.budget.max(1) {
        return Trial::Convict;
    }
    let Some(last) = suspect.last else { return Trial::Try };
    let tries = suspect.died.saturating_add(suspect.open);
    let due = last.checked_add_signed(delta(settings.gap(tries))).unwrap_or(holder.now);
    if holder.now < due {
        return Trial::Wait(due);
    }
    let alive = holder.committed.is_some_and(|at| at > last)
        || holder.now - last.max(holder.since) >= delta(settings.watch);
    if suspect.open > 0 || !alive {
        // The process that had it last may yet live; or this one has to show that it does.
        return Trial::Wait(holder.now + delta(settings.gap(1)));
    }
    Trial::Try
}

/// What a person reads of a convicted message.
pub fn verdict(suspect: &Suspect) -> String {
    format!(
        "{} processes died while they decided this message and nothing else; in between, others \
         were decided. It is not tried any more",
        suspect.died
    )
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use knarr_model::MessageId;
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn suspect(died: u32, open: u32, last: Option<i64>) -> Suspect {
        Suspect { message: MessageId(Uuid::nil()), died, open, last: last.map(at) }
    }

    fn holder(now: i64, committed: Option<i64>) -> Holder {
        Holder { now: at(now), since: at(0), committed: committed.map(at) }
    }

    fn judged(suspect: Suspect, holder: Holder) -> Trial {
        judge(&CrashSettings::default(), &suspect, &holder)
    }

    #[test]
    fn row_018_the_first_try_comes_at_once_the_next_after_1_5_30_and_120_seconds() {
        assert_eq!(judged(suspect(0, 0, None), holder(0, None)), Trial::Try);
        for (died, gap) in [(1, 1), (2, 5), (3, 30), (4, 120)] {
            let suspect = suspect(died, 0, Some(1_000));
            let before = judged(suspect, holder(1_000 + gap - 1, Some(1_001)));
            let wait = Trial::Wait(at(1_000 + gap));
            assert_eq!(before, if gap == 1 { wait } else { before }, "{died}");
            assert!(matches!(before, Trial::Wait(_)), "{died}: {before:?}");
            assert_eq!(judged(suspect, holder(1_000 + gap + 1, Some(1_001))), Trial::Try, "{died}");
        }
        assert_eq!(judged(suspect(5, 0, Some(1_000)), holder(1_000, None)), Trial::Convict);
    }

    #[test]
    fn row_018_a_process_that_dies_by_itself_convicts_nobody() {
        let once = suspect(1, 0, Some(1_000));
        let newcomer =
            |now, committed: Option<i64>| Holder { since: at(1_002), ..holder(now, committed) };
        assert_eq!(judged(once, newcomer(1_010, None)), Trial::Wait(at(1_011)), "nothing shown");
        let earlier = newcomer(1_010, Some(999));
        assert_eq!(judged(once, earlier), Trial::Wait(at(1_011)), "committed before that death");
        assert_eq!(judged(once, newcomer(1_010, Some(1_005))), Trial::Try);
        assert_eq!(judged(once, newcomer(1_062, None)), Trial::Try, "alone for a whole watch");
    }

    #[test]
    fn a_try_whose_process_may_live_is_waited_for() {
        let open = suspect(0, 1, Some(1_000));
        assert_eq!(judged(open, holder(1_002, Some(1_001))), Trial::Wait(at(1_003)));
        assert_eq!(judged(suspect(5, 1, Some(1_000)), holder(1_002, None)), Trial::Convict);
    }
}
