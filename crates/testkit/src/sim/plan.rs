//! What one seed comes to: how many nodes and people, which faults, which rules of the saga.

use std::time::Duration;

use knarr_model::incident::{BlockBy, FailurePolicy, OnFailure};

use super::dice::Faults;
use super::mutation::Mutation;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Processes.
    pub nodes: usize,
    /// Instances.
    pub instances: usize,
    /// People who ask for verbs while it runs.
    pub operators: usize,
    /// What the saga declares for its failures.
    pub failures: FailurePolicy,
    /// Whether most runs fail, as after a bad deploy.
    pub bad_deploy: bool,
    /// Whether some messages kill the process that decides them.
    pub killers: bool,
    /// Whether some calls kill the process that runs them.
    pub killing_calls: bool,
    /// Processes that must have died of a message, or of a call, alone before it is convicted.
    pub crash_budget: u32,
    /// What goes wrong.
    pub faults: Faults,
    /// A rule broken on purpose.
    pub mutation: Option<Mutation>,
    /// Whether the history is printed.
    pub verbose: bool,
}

impl Plan {
    /// The usual plan for a seed: two processes (three for every fourth seed), six instances,
    /// every fault; nobody, one person or two at the desk; every reaction to a failed run.
    pub fn of(seed: u64) -> Plan {
        let on_failure = match seed % 7 {
            0..=2 => OnFailure::Contain,
            3..=5 => OnFailure::ContainInstance,
            _ => OnFailure::Quarantine,
        };
        let block = match seed % 11 {
            0..=6 => BlockBy::Fingerprint,
            7..=9 => BlockBy::Id,
            _ => BlockBy::Off,
        };
        let restarts = seed % 3 == 1;
        let failures = FailurePolicy {
            on_failure,
            block,
            contain_on_start: seed % 6 == 2,
            restart_after: restarts.then(|| Duration::from_millis(300 + seed % 17 * 100)),
        };
        Plan {
            seed,
            nodes: if seed % 4 == 3 { 3 } else { 2 },
            instances: 6,
            operators: [0, 1, 1, 1, 2][(seed % 5) as usize],
            failures,
            bad_deploy: seed % 13 == 12,
            killers: seed % 8 == 5,
            killing_calls: seed % 8 == 1,
            crash_budget: 3,
            faults: Faults::ALL,
            mutation: None,
            verbose: false,
        }
    }
}
