//! What is found wrong with a table at start: one small bad machine a finding.

use knarr_saga::prelude::*;
use knarr_saga::{Severity, definition};
use serde::{Deserialize, Serialize};

use crate::messages;

messages!(Start, Go, Stop);

#[derive(Clone, Debug, Default, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Nameless {
    what: String,
}

/// Another Rust type under the name of `Start`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Message)]
#[message(namespace = "Test", name = "Start")]
struct Imposter {
    correlation_id: uuid::Uuid,
}

/// What is told of a message that was set aside.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Message)]
#[message(namespace = "MassTransit", name = "Fault")]
struct FaultOf<T> {
    correlation_id: uuid::Uuid,
    message: T,
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct Ask;

#[derive(Serialize, Deserialize, Call)]
#[call(output = u16, name = "Ask")]
struct AskAgain;

#[derive(Clone, Copy, Debug, PartialEq, States)]
enum Step {
    One,
    Two,
}

/// Declares a machine, and a test that exactly these findings are made of it.
macro_rules! found {
    (
        $test:ident, $machine:ident, |$m:ident| $define:block,
        [$(($severity:ident, $code:literal, $text:literal)),*]
    ) => {
        #[derive(Clone, Serialize, Deserialize)]
        struct $machine;

        impl Machine for $machine {
            type State = Step;
            fn define($m: &mut Table<Self>) $define
        }

        #[test]
        fn $test() {
            let found: Vec<_> = definition::<$machine>()
                .findings()
                .into_iter()
                .map(|finding| (finding.severity, finding.code, finding.text))
                .collect();
            let expected: Vec<(Severity, &str, String)> =
                vec![$((Severity::$severity, $code, $text.to_owned())),*];
            assert_eq!(found, expected);
        }
    };
}

/// Rows that make both states reachable, left by a timer, and finished: nothing to find.
fn sound<M: Machine<State = Step>>(m: &mut Table<M>, create: fn(&Start, &mut Effects<M>) -> M) {
    m.initially::<Start>().create(create).go_to(Step::One);
    m.during([Step::One]).after("next").go_to(Step::Two);
    m.during([Step::Two]).after("end").finish();
}

found!(a_sound_machine_has_no_findings, Sound, |m| { sound(m, |_, _| Sound) }, []);

found!(
    a_state_that_no_row_leads_to,
    Unreachable,
    |m| {
        m.initially::<Start>().create(|_, _| Unreachable).go_to(Step::One);
        m.during_any().after("end").finish();
    },
    [(Warning, "unreachable-state", "unreachable: no row leads to Two")]
);

found!(
    a_state_that_nothing_leaves,
    Trap,
    |m| {
        m.initially::<Start>().create(|_, _| Trap).go_to(Step::One);
        m.during([Step::One]).after("next").branch([To(Step::Two), Finish], |_, _| Finish);
        m.during([Step::Two]).after("tick").stay();
    },
    [(Warning, "trap-state", "trap: no row leaves Two, and none ends the run there")]
);

found!(
    a_state_that_waits_for_messages_alone,
    Endless,
    |m| {
        sound(m, |_, _| Endless);
        m.during([Step::Two]).on::<Go>().ignore();
        m.during([Step::One]).on::<Go>().finish();
        m.initially::<Stop>().create(|_, _| Endless).go_to(Step::Two);
    },
    []
);

found!(
    a_state_without_a_timeout,
    Waiting,
    |m| {
        m.initially::<Start>().create(|_, _| Waiting).go_to(Step::One);
        m.during([Step::One]).on::<Go>().go_to(Step::Two);
        m.during([Step::Two]).all_of([on::<Go>(), done::<Ask>()]).finish();
    },
    [
        (Warning, "no-timeout", "waiting: One waits for messages alone and has no timer row"),
        (Warning, "no-timeout", "waiting: Two waits for messages alone and has no timer row")
    ]
);

found!(
    a_message_that_a_state_does_not_take,
    Unhandling,
    |m| {
        sound(m, |_, _| Unhandling);
        m.during([Step::One]).on::<Go>().stay();
    },
    [(
        Warning,
        "unhandled-event",
        "unhandling: no row takes Test:Go in Two: add one, .ignore() it or .defer() it"
    )]
);

found!(
    ignoring_what_is_unhandled_is_an_answer,
    Ignoring,
    |m| {
        sound(m, |_, _| Ignoring);
        m.unhandled(Ignore);
        m.during([Step::One]).on::<Go>().stay();
    },
    []
);

found!(
    a_message_that_names_no_instance,
    Uncorrelated,
    |m| {
        sound(m, |_, _| Uncorrelated);
        m.during_any().on::<Nameless>().stay();
    },
    [(
        Error,
        "no-correlation",
        "uncorrelated: Test:Nameless names no instance: add m.correlate, or give it a member \
     correlation_id, event_id or command_id"
    )]
);

found!(
    a_correlation_that_no_row_needs,
    Dead,
    |m| {
        sound(m, |_, _| Dead);
        m.correlate_by_key::<Nameless>("what", |e| e.what.clone());
    },
    [(Warning, "dead-correlation", "dead: no row takes Test:Nameless")]
);

found!(
    a_message_correlated_twice,
    Twice,
    |m| {
        sound(m, |_, _| Twice);
        m.correlate::<Start>(|e| e.correlation_id);
        m.correlate::<Start>(|e| e.correlation_id);
    },
    [(Error, "correlated-twice", "twice: Test:Start is correlated twice")]
);

found!(
    two_rows_for_one_event_in_one_state,
    Duplicate,
    |m| {
        sound(m, |_, _| Duplicate);
        m.during([Step::One, Step::Two]).on::<Go>().stay();
        m.during([Step::Two]).on::<Go>().finish();
        m.during_any().on::<Go>().finish();
        m.initially::<Start>().create(|_, _| Duplicate).finish();
    },
    [
        (Error, "duplicate-row", "duplicate: two rows for Test:Go in Two"),
        (Error, "duplicate-row", "duplicate: two rows for Test:Start in Initial")
    ]
);

found!(
    a_call_without_a_row_for_its_failure,
    Hopeful,
    |m| {
        sound(m, |_, _| Hopeful);
        m.during([Step::One]).done::<Ask>().stay();
    },
    [(
        Warning,
        "no-failure-row",
        "hopeful: One has a row for done Ask and none for failed Ask: its failure fails the run"
    )]
);

found!(
    a_join_over_the_end_of_a_call_covers_its_failure,
    Covered,
    |m| {
        sound(m, |_, _| Covered);
        m.during([Step::One]).done::<Ask>().stay();
        m.during([Step::Two]).all_of([ended::<Ask>()]).finish();
    },
    []
);

found!(
    behaviours_5_a_start_row_that_stays,
    Staying,
    |m| {
        m.initially::<Go>().create(|_, _| Staying).branch([To(Step::One), Stay], |_, _, _| Stay);
        m.initially::<Stop>().create(|_, _| Staying).stay();
        m.during([Step::One]).after("next").go_to(Step::Two);
        m.during([Step::Two]).after("end").finish();
    },
    [
        (Error, "stay-in-initial", "staying: the start row for Test:Go stays in Initial"),
        (Error, "stay-in-initial", "staying: the start row for Test:Stop stays in Initial")
    ]
);

found!(
    a_machine_that_nothing_starts,
    Dormant,
    |m| {
        m.during([Step::One]).on::<Go>().finish();
    },
    [
        (Error, "no-start", "dormant: no row starts it: add m.initially::<..>().create(..)"),
        (Warning, "unreachable-state", "dormant: no row leads to One"),
        (Warning, "unreachable-state", "dormant: no row leads to Two")
    ]
);

found!(
    joins_that_never_fire,
    OddJoins,
    |m| {
        sound(m, |_, _| OddJoins);
        m.during([Step::One]).all_of([]).stay();
        m.during([Step::One]).all_of([on::<Go>(), on::<Go>()]).stay();
        m.during([Step::One]).all_of([after("next"), done::<Ask>(), failed::<Ask>()]).stay();
    },
    [
        (Error, "odd-join", "odd-joins: a join over nothing never fires"),
        (
            Error,
            "odd-join",
            "odd-joins: the join over all of [Test:Go, Test:Go] names a source twice"
        )
    ]
);

found!(
    rows_that_do_nothing_they_say,
    Idle,
    |m| {
        sound(m, |_, _| Idle);
        m.during([]).on::<Go>().stay();
        m.during_any().on::<Go>().then(act).ignore();
        m.during([Step::One]).on::<Stop>().then(act_too).defer();
        m.during([Step::Two]).on::<Stop>().branch(Vec::<Step>::new(), |_, _, _| Step::One);
        m.initially::<Stop>().create(|_, _| Idle).ignore_if(|_, _| true).finish();
    },
    [
        (Error, "no-states", "idle: the row for Test:Go names no state"),
        (Error, "never-runs", "idle: the row for Test:Go never runs act"),
        (Error, "never-runs", "idle: the row for Test:Stop never runs act_too"),
        (Error, "never-runs", "idle: the row for Test:Stop never runs ignore_if"),
        (Error, "no-targets", "idle: the branch for Test:Stop declares no target")
    ]
);

fn act(_: &mut Idle, _: &Go, _: &mut Effects<Idle>) {}
fn act_too(_: &mut Idle, _: &Stop, _: &mut Effects<Idle>) {}

found!(
    two_types_of_one_name,
    Confused,
    |m| {
        sound(m, |_, _| Confused);
        m.during_any().on::<Imposter>().stay();
        m.during_any().failed::<Ask>().stay();
        m.during_any().failed::<AskAgain>().stay();
    },
    [
        (Error, "two-types", "confused: two Rust types are both called Test:Start"),
        (Error, "two-types", "confused: two Rust types are both called Ask"),
        (Error, "duplicate-row", "confused: two rows for failed Ask in any state")
    ]
);

#[derive(Clone, Serialize, Deserialize)]
struct Misnamed;

impl Machine for Misnamed {
    type State = Step;

    fn name() -> String {
        "no spaces please".to_owned()
    }

    fn define(m: &mut Table<Self>) {
        sound(m, |_, _| Misnamed);
    }
}

#[test]
fn a_name_that_no_broker_takes() {
    let found = definition::<Misnamed>().findings();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "error[bad-name]: `no spaces please` cannot name an endpoint: `no spaces please` holds \
         ' '; allowed are letters, digits, _ - . :"
    );
}

#[derive(Clone, Serialize, Deserialize)]
struct Adrift;

impl Machine for Adrift {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        sound(m, |_, _| Adrift);
        m.during_any().on::<Nameless>().stay();
    }
}

#[test]
fn mt_219_a_message_that_names_no_instance_is_a_finding_at_start() {
    let found = definition::<Adrift>().findings();
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.severity, finding.code), (Severity::Error, "no-correlation"));
    assert!(finding.text.starts_with("adrift: Test:Nameless names no instance"), "{finding}");
}

found!(
    sql_that_is_missing_twice_there_or_no_statement,
    BadSql,
    |m| {
        sound(m, |_, _| BadSql);
        m.statement("note", Dialects::same("DELETE FROM a"));
        m.statement("note", Dialects::same("DELETE FROM a"));
        m.statement("ends", Dialects::same("COMMIT"));
        m.purge_step("empty", ("DELETE FROM a WHERE b = $1", " -- nothing"));
        m.purge_step("greedy", ("DELETE FROM a WHERE b = $3", "DELETE FROM a"));
        m.migration("two", ("CREATE TABLE a (b int); COMMIT", "CREATE TABLE a (b)"));
    },
    [
        (Error, "duplicate-sql", "bad-sql: two statements are called `note`"),
        (
            Error,
            "bad-sql",
            "bad-sql: statement `ends` for Postgres: it begins with COMMIT, but may begin with \
             INSERT, UPDATE, DELETE, MERGE, REPLACE, WITH, SELECT, CALL"
        ),
        (
            Error,
            "bad-sql",
            "bad-sql: statement `ends` for SQLite: it begins with COMMIT, but may begin with \
             INSERT, UPDATE, DELETE, MERGE, REPLACE, WITH, SELECT, CALL"
        ),
        (Error, "bad-sql", "bad-sql: purge step `empty` for SQLite: its text is empty"),
        (
            Error,
            "bad-sql",
            "bad-sql: migration `two` for Postgres: COMMIT cannot be part of the transaction that \
             migrations share"
        ),
        (
            Error,
            "bad-sql",
            "bad-sql: purge step `greedy` takes more parameters than the instance's id and the run"
        )
    ]
);

found!(
    s0_13_tables_of_its_own_that_nothing_purges,
    Unpurged,
    |m| {
        sound(m, |_, _| Unpurged);
        m.statement("note", Dialects::same("DELETE FROM a"));
    },
    [(
        Warning,
        "no-purge-step",
        "unpurged: it has tables of its own and no m.purge_step(..): what a failed run wrote there \
         stays"
    )]
);

found!(
    a_restart_that_does_not_wait,
    Restless,
    |m| {
        sound(m, |_, _| Restless);
        m.restart_after(seconds(0));
    },
    [(Error, "bad-restart", "restless: restart_after(0) would never let it stand still")]
);

#[derive(Clone, Serialize, Deserialize)]
struct SelfPity;

impl Machine for SelfPity {
    type State = Step;
    fn define(m: &mut Table<Self>) {
        sound(m, |_, _| SelfPity);
        m.during([Step::One]).on::<FaultOf<Start>>().go_to(Step::Two);
        // Another service's is a message like any other.
        m.during([Step::One]).on::<FaultOf<Stop>>().go_to(Step::Two);
    }
}

#[test]
fn mt_137_b1_a_row_for_the_fault_of_its_own_event_is_refused() {
    let found = definition::<SelfPity>().findings();
    let wrong: Vec<_> = found.iter().filter(|it| it.severity == Severity::Error).collect();
    let [finding] = wrong.as_slice() else { panic!("one thing is wrong: {found:#?}") };
    assert_eq!(finding.code, "own-fault");
    let told = "self-pity: a row takes the fault of its own Test:Start, which is told when the run \
                is over: take a call's failure with failed::<..>";
    assert_eq!(finding.text, told);
}
