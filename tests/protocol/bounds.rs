//! The bounds that are checked: narrow ones in every test run, wide ones on demand.

use crate::rules::{Bounds, Kind, Reaction, VERBS};

const NEXT: [Kind; 2] = [Kind::Start, Kind::Next];
const COPY: [Kind; 2] = [Kind::Start, Kind::Copy];

/// Two messages, what may fail of them, and so many verbs.
fn with(messages: [Kind; 2], failing: &'static [Kind], orders: u8) -> Bounds {
    Bounds { messages, failing, orders, ..Bounds::small() }
}

/// For every test run.
pub fn narrow() -> Vec<(&'static str, Bounds)> {
    let instance = Bounds { reaction: Reaction::Instance, ..with(NEXT, &[Kind::Timer], 2) };
    let small = with(NEXT, &[Kind::Next], 2);
    vec![
        ("a message fails: two verbs", Bounds { crashes: 0, ..small.clone() }),
        ("a message fails: a verb, a crash", Bounds { orders: 1, ..small.clone() }),
        ("a timer fails: three verbs", Bounds { crashes: 0, ..with(NEXT, &[Kind::Timer], 3) }),
        ("a start fails, its copy comes: a verb, a crash", with(COPY, &[Kind::Start], 1)),
        ("only the instance is held: two verbs", Bounds { crashes: 0, ..instance.clone() }),
        ("only the instance is held: a verb, a crash", Bounds { orders: 1, ..instance.clone() }),
        (
            "the queue flows: two verbs",
            Bounds { crashes: 0, reaction: Reaction::Nothing, ..instance },
        ),
        (
            "statement by statement: a verb, a crash",
            Bounds { fine: true, orders: 1, ..small.clone() },
        ),
        ("the broker is away: two verbs", Bounds { away: 1, crashes: 0, ..small }),
    ]
}

/// On demand: every verb, in every order, with a crash and the broker away.
pub fn wide() -> Vec<(&'static str, Bounds)> {
    let full = Bounds { fine: true, away: 1, ..with(NEXT, &[Kind::Next], 2) };
    vec![
        ("a message fails, statement by statement, 2 verbs", full.clone()),
        ("a message fails, 3 verbs", Bounds { fine: false, away: 0, orders: 3, ..full.clone() }),
        (
            "a message or a timer fails, twice, 2 verbs",
            Bounds { faults: 2, ..with(NEXT, &[Kind::Next, Kind::Timer], 2) },
        ),
        (
            "a start fails, twice, its copy comes, 3 verbs",
            Bounds { faults: 2, verbs: twice(4), ..with(COPY, &[Kind::Start], 3) },
        ),
        (
            "only the instance is held, 2 verbs, a crash",
            Bounds { reaction: Reaction::Instance, ..with(NEXT, &[Kind::Timer], 2) },
        ),
        (
            "a copy comes, a timer fails, the queue flows, 2 verbs",
            Bounds { reaction: Reaction::Nothing, ..with(COPY, &[Kind::Timer], 2) },
        ),
    ]
}

/// So many verbs from two places at once, their answers and the commits' judged as one history.
pub fn two_places(orders: u8) -> Bounds {
    let verbs = only(&[0, 2, 3, 4]);
    Bounds { verbs, crashes: 0, desks: true, ..with(NEXT, &[Kind::Next], orders) }
}

/// Each of these verbs once, by their places.
pub fn only(verbs: &[usize]) -> [u8; VERBS] {
    let mut each = [0; VERBS];
    for verb in verbs {
        each[*verb] = 1;
    }
    each
}

/// Every verb once, and this one twice.
fn twice(verb: usize) -> [u8; VERBS] {
    let mut each = [1; VERBS];
    each[verb] = 2;
    each
}
