//! The guard's protocol in every order of its steps: it holds, and it does not without its rules.

use knarr_protocol::{Bounds, Kind, Protocol, Reaction, Rule, bounds, check, counterexample, walk};

#[test]
fn guard_protocol_holds_in_every_order_of_its_steps() {
    for (name, bounds) in bounds::narrow() {
        let counts = check(Protocol::sound(bounds.clone()), 1);
        println!("{name}: {counts:?}");
    }
}

#[test]
fn guard_protocol_ends_on_every_way_and_leaves_nothing_over() {
    for (name, bounds) in bounds::narrow() {
        match walk(&Protocol::sound(bounds)) {
            Ok(ends) => println!("{name}: {ends:?}"),
            Err(why) => panic!("{name}: {why}"),
        }
    }
}

#[test]
fn row_088_halt_resume_purge_and_release_from_two_places_are_one_history() {
    let counts = check(Protocol::sound(bounds::two_places(3)), 1);
    println!("{counts:?}");
}

#[test]
fn row_088_a_verb_that_looks_before_the_fence_is_closed_breaks_the_history() {
    let broken = Protocol::without(bounds::two_places(3), &[Rule::SceneUnderFence]);
    let (steps, last) = counterexample(broken, "there is one history").expect("two histories");
    println!("{steps:?}\n{last}");
}

/// Without the rule the promise is broken, and with it (under the same bounds) it is not.
#[track_caller]
fn falls(bounds: Bounds, broken: &[Rule], promise: &'static str) {
    let sound = counterexample(Protocol::sound(bounds.clone()), promise);
    assert!(sound.is_none(), "with every rule kept: {sound:?}");
    let found = counterexample(Protocol::without(bounds, broken), promise);
    let (steps, last) = found.unwrap_or_else(|| panic!("not needed for “{promise}”: {broken:?}"));
    assert!(!steps.is_empty() && !last.is_empty(), "it is shown how");
}

fn small() -> Bounds {
    Bounds { crashes: 0, ..Bounds::small() }
}

fn copies() -> Bounds {
    Bounds { messages: [Kind::Start, Kind::Copy], failing: &[Kind::Start], ..small() }
}

#[test]
fn guard_protocol_needs_the_fence() {
    let bounds = Bounds { fine: true, orders: 1, ..small() };
    falls(bounds, &[Rule::Fence], "nothing commits at an old epoch");
}

#[test]
fn guard_protocol_needs_the_epoch_read_after_the_lock() {
    let bounds = Bounds { fine: true, orders: 1, ..small() };
    falls(bounds, &[Rule::EpochAfterLock], "nothing commits at an old epoch");
}

#[test]
fn guard_protocol_needs_the_guard_version() {
    falls(copies(), &[Rule::GuardCompared], "a blocked copy starts nothing");
}

#[test]
fn guard_protocol_needs_the_instance_version() {
    falls(small(), &[Rule::VersionCompared], "no commit is undone by another");
}

#[test]
fn guard_protocol_needs_the_ack_after_the_commit() {
    let bounds = Bounds { orders: 0, ..Bounds::small() };
    falls(bounds, &[Rule::AckAfterCommit], "no message is lost");
}

#[test]
fn guard_protocol_needs_the_tombstone_to_be_an_update() {
    falls(small(), &[Rule::TombstoneInPlace], "the tombstone is there with the purge");
}

#[test]
fn guard_protocol_needs_a_new_id_for_a_release() {
    let bounds = Bounds { orders: 2, ..small() };
    falls(bounds, &[Rule::ReleaseUnderNewId], "no message is lost");
}

#[test]
fn guard_protocol_needs_a_new_id_for_what_failed_and_comes_back() {
    let bounds = Bounds { failing: &[Kind::Timer], ..small() };
    falls(bounds, &[Rule::RetryUnderNewId], "a live run has its timer");
}

#[test]
fn guard_protocol_needs_the_relay_to_ask_for_withdrawn_runs() {
    let bounds = Bounds { away: 1, ..small() };
    falls(bounds, &[Rule::RelayAsks], "what is withdrawn is not sent");
}

#[test]
fn guard_protocol_needs_releases_to_pass_every_block() {
    let verbs = [0, 0, 0, 0, 2, 0, 0, 0, 0, 0];
    let bounds = Bounds { faults: 2, verbs, ..copies() };
    falls(bounds, &[Rule::ReleasePassesBlocks], "a released message is not blocked");
}

/// Three runs' worth of verbs with the instance alone held.
fn held() -> Bounds {
    Bounds { reaction: Reaction::Instance, failing: &[Kind::Timer], ..small() }
}

#[test]
fn guard_protocol_needs_held_messages_to_go_with_a_new_run() {
    falls(held(), &[Rule::HeldGoWithNewRun], "who is held is held by somebody");
}

#[test]
fn guard_protocol_needs_the_tombstone_compared_before_a_message_is_held() {
    falls(held(), &[Rule::HoldCompared], "who is held is held by somebody");
}

/// A timer of an earlier run is kept from doing anything twice over: either rule is enough.
#[test]
fn guard_protocol_needs_one_of_two_rules_against_old_timers() {
    const PROMISE: &str = "an old run's timer does nothing";
    let bounds = Bounds { reaction: Reaction::Nothing, failing: &[Kind::Next], ..small() };
    for rule in [Rule::PurgeTakesTimers, Rule::TimerNamesRun] {
        let found = counterexample(Protocol::without(bounds.clone(), &[rule]), PROMISE);
        assert!(found.is_none(), "{rule:?} alone: {found:?}");
    }
    falls(bounds, &[Rule::PurgeTakesTimers, Rule::TimerNamesRun], PROMISE);
}
