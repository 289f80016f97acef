//! The real engine in simulated worlds: fixed seeds, broken rules that must be noticed, and repeatability.

use std::sync::atomic::{AtomicU64, Ordering};

use knarr_model::incident::OnFailure;
use knarr_testkit::sim::{Faults, Mutation, Outcome, Plan, simulate};

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 500;
/// Seeds within which every broken rule must be noticed.
const SEARCH: u64 = 6_000;

/// Runs seeds on both cores and gives what `judge` makes of each, in the order of the seeds.
fn each<T: Send>(seeds: std::ops::Range<u64>, judge: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let next = AtomicU64::new(seeds.start);
    let judge = &judge;
    let next = &next;
    let mut found: Vec<(u64, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut found = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return found;
                        }
                        found.extend(judge(seed).map(|judged| (seed, judged)));
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("a simulation panicked")).collect()
    });
    found.sort_by_key(|(seed, _)| *seed);
    found.into_iter().map(|(_, judged)| judged).collect()
}

fn told(seed: u64, outcome: &Outcome) -> Option<String> {
    (!outcome.violations.is_empty())
        .then(|| format!("seed {seed}: {}", outcome.violations.join("; ")))
}

#[test]
fn s0_03_s0_04_s0_12_s0_13_s0_14_s0_15_s0_17_five_hundred_seeds_keep_every_invariant() {
    let broken = each(0..SEEDS, |seed| told(seed, &simulate(&Plan::of(seed))));
    assert!(
        broken.is_empty(),
        "{} of {SEEDS} seeds broke an invariant; look at one with `cargo run -p knarr-testkit \
         --features engine --bin simulate -- --seed N --verbose`\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// Without faults nothing is published twice and nothing is set aside but poison.
#[test]
fn without_faults_nothing_is_published_twice() {
    let twice = each(0..100, |seed| {
        let mut plan = Plan::of(seed);
        plan.faults = Faults::NONE;
        let outcome = simulate(&plan);
        let again = outcome.counters["republished"] + outcome.counters["unknown_commits"];
        told(seed, &outcome)
            .or_else(|| (again > 0).then(|| format!("seed {seed}: {:?}", outcome.counters)))
    });
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

#[test]
fn a_seed_run_twice_gives_the_same_history() {
    let differing = each(0..60, |seed| {
        let (one, two) = (simulate(&Plan::of(seed)), simulate(&Plan::of(seed)));
        (one != two).then(|| format!("seed {seed}: {one:?}\n{two:?}"))
    });
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_faults_that_are_simulated_do_happen() {
    let mut sums = std::collections::BTreeMap::new();
    for outcome in each(0..100, |seed| Some(simulate(&Plan::of(seed)))) {
        for (name, count) in outcome.counters {
            *sums.entry(name).or_insert(0) += count;
        }
    }
    for name in HAPPENS {
        assert!(sums.contains_key(*name), "a hundred seeds never heard of `{name}`: {sums:?}");
        assert!(sums[*name] > 0, "a hundred seeds never saw `{name}`: {sums:?}");
    }
}

/// Counters of the engine, faults, verbs at the desk, and what the guard does by itself.
const HAPPENS: &[&str] = &[
    "applied",
    "duplicates",
    "passed_over",
    "parked",
    "quarantined",
    "blocked",
    "contained",
    "lost_races",
    "unknown_commits",
    "fenced",
    "republished",
    "late_attempts",
    "fault store_fails",
    "fault store_answer_lost",
    "fault store_late",
    "fault publish_fails",
    "fault confirm_lost",
    "fault duplicate",
    "fault reorder",
    "fault disconnect",
    "fault ack_lost",
    "fault outage",
    "fault crash",
    "verb halt",
    "verb pause",
    "verb resume",
    "verb probe",
    "verb contain",
    "verb purge",
    "verb cancel",
    "verb retry",
    "verb resolve",
    "verb discard",
    "verb release",
    "verb edit",
    "verb unblock",
    "reaction contain",
    "reaction contain-instance",
    "reaction contain-on-start",
    "reaction quarantine",
    "reaction quarantine-start",
    "failed at a message",
    "failed at a timer or call",
    "failed again after a retry or release",
    "blocked copy",
    "absorbed",
    "run begun by a release",
    "dry run",
    "refused",
    "answered",
    "answered again",
    "died of a message",
    "convicted",
    "died of a call",
    "convicted call",
];

fn is_noticed(mutation: Mutation) {
    is_noticed_in(mutation, |_| {});
}

/// As [`is_noticed`], in worlds that are changed so that the rule is needed more often.
fn is_noticed_in(mutation: Mutation, change: impl Fn(&mut Plan) + Sync) {
    let next = AtomicU64::new(0);
    let noticed = each(0..SEARCH, |seed| {
        if next.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let mut plan = Plan::of(seed);
        plan.mutation = Some(mutation);
        change(&mut plan);
        let told = told(seed, &simulate(&plan))?;
        next.store(1, Ordering::Relaxed);
        Some(told)
    });
    assert!(!noticed.is_empty(), "{SEARCH} seeds did not notice {mutation:?}");
}

#[test]
fn ack_before_commit_is_noticed() {
    is_noticed(Mutation::AckBeforeCommit);
}

#[test]
fn a_journal_that_is_not_written_is_noticed() {
    is_noticed(Mutation::NoJournal);
}

#[test]
fn a_version_check_left_out_is_noticed() {
    is_noticed(Mutation::NoVersionCheck);
}

#[test]
fn a_chunk_deleted_before_its_confirms_is_noticed() {
    is_noticed(Mutation::ChunkDeletedEarly);
}

#[test]
fn a_timer_token_ignored_is_noticed() {
    // Two messages and a tick in one batch are rare where runs are purged and endpoints halted.
    is_noticed_in(Mutation::TimerTokenIgnored, |plan| {
        plan.operators = 0;
        plan.bad_deploy = false;
        plan.failures.on_failure = OnFailure::Quarantine;
        plan.failures.contain_on_start = false;
    });
}

#[test]
fn a_parked_row_not_checked_is_noticed() {
    is_noticed(Mutation::ParkedNotChecked);
}

#[test]
fn a_fence_left_out_is_noticed() {
    is_noticed(Mutation::NoFence);
}

#[test]
fn an_epoch_read_in_the_locking_statement_is_noticed() {
    is_noticed(Mutation::EpochReadWithLock);
}

#[test]
fn s0_13_a_tombstone_as_delete_and_insert_is_noticed() {
    is_noticed(Mutation::TombstoneInserted);
}

#[test]
fn s0_14_a_release_under_the_old_id_is_noticed() {
    is_noticed(Mutation::ReleaseUnderOldId);
}

#[test]
fn s0_13_withdrawn_messages_that_are_sent_are_noticed() {
    is_noticed(Mutation::WithdrawnIgnored);
}

/// Worlds in which processes die of messages only, and one death is enough.
fn killers_alone(plan: &mut Plan) {
    plan.killers = true;
    plan.crash_budget = 1;
    plan.faults.crash = 0;
}

#[test]
fn row_018_where_processes_die_of_messages_only_one_death_convicts_no_innocent() {
    let broken = each(0..60, |seed| {
        let mut plan = Plan::of(seed);
        killers_alone(&mut plan);
        told(seed, &simulate(&plan))
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn row_018_an_intent_that_blames_the_whole_batch_is_noticed() {
    is_noticed_in(Mutation::IntentForTheWholeBatch, killers_alone);
}
