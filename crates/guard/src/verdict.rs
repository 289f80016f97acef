//! After failure: try again, or set aside.

use std::time::Duration;

use knarr_model::{Class, RetryPolicy};

/// What happens to a message whose behaviour failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is parked and decided again after this delay.
    Again(Duration),
    /// Its budget is used up.
    SetAside(Class),
}

/// Judges failure number `attempt` (from 1) of one message. Infrastructure trouble never comes
/// here: it uses no budget.
pub fn judge(policy: &RetryPolicy, attempt: u32, class: Class, spread: u32) -> Verdict {
    match class {
        // The data themselves are at fault: deciding again gives the same data.
        Class::Constraint | Class::KeyConflict => Verdict::SetAside(class),
        _ => match policy.delay_after(attempt, spread) {
            Some(delay) => Verdict::Again(delay),
            None => Verdict::SetAside(class),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_three_gives_two_more_chances() {
        let policy = RetryPolicy::fixed(3, Duration::from_secs(1));
        let again = Verdict::Again(Duration::from_secs(1));
        assert_eq!(judge(&policy, 1, Class::Exhausted, 0), again);
        assert_eq!(judge(&policy, 2, Class::Exhausted, 0), again);
        let aside = Verdict::SetAside(Class::Exhausted);
        assert_eq!(judge(&policy, 3, Class::Exhausted, 0), aside);
    }

    #[test]
    fn data_at_fault_get_no_second_chance() {
        let policy = RetryPolicy::fixed(3, Duration::from_secs(1));
        let aside = Verdict::SetAside(Class::Constraint);
        assert_eq!(judge(&policy, 1, Class::Constraint, 0), aside);
    }
}
