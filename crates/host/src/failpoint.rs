//! Ends the process at the step that a test has named; compiled into no release build.

use std::sync::atomic::{AtomicU32, Ordering};

use knarr_model::failpoint::{self, Step};

use crate::config::Wrong;
use crate::error::Error;

/// `step:k`: the process aborts when it passes that step for the k-th time, as if it were killed.
const FAILPOINT: &str = "KNARR_TEST_FAILPOINT";

/// Arms the process when its environment names a step.
pub(crate) fn arm_for_test() -> Result<(), Error> {
    let Ok(text) = std::env::var(FAILPOINT) else { return Ok(()) };
    let (at, kth) = parse(&text).map_err(|why| Error::from(Wrong::new(FAILPOINT, why)))?;
    let passed = AtomicU32::new(0);
    // An embedder that starts several servers arms the process once.
    let _armed_already = failpoint::arm(move |step| {
        if step == at && passed.fetch_add(1, Ordering::Relaxed) + 1 == kth {
            std::process::abort();
        }
    });
    tracing::info!("the process aborts at pass {kth} of {}", at.name());
    Ok(())
}

fn parse(text: &str) -> Result<(Step, u32), String> {
    let names = || Step::ALL.iter().map(|step| step.name()).collect::<Vec<_>>().join(", ");
    let (name, kth) = text.split_once(':').unwrap_or((text, "1"));
    let step = Step::ALL.iter().copied().find(|step| step.name() == name);
    let step = step.ok_or_else(|| format!("no step is called `{name}`; there are {}", names()))?;
    match kth.parse() {
        Ok(kth) if kth > 0 => Ok((step, kth)),
        _ => Err(format!("`{kth}` is no count from 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_with_its_pass() {
        assert_eq!(parse("commit-sent:3"), Ok((Step::CommitSent, 3)));
        assert_eq!(parse("received"), Ok((Step::Received, 1)));
        assert!(parse("commit:1").expect_err("no such step").contains("commit-sent"));
        assert!(parse("received:0").expect_err("nothing is passed so often").contains('0'));
    }
}
