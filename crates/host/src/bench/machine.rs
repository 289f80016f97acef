//! The saga that is measured: every event is one transition that publishes one message.

use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The event.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.Bench")]
pub(super) struct Tick {
    pub(super) correlation_id: Uuid,
    pub(super) n: u32,
    /// Fills the body up to its size.
    pub(super) padding: String,
}

/// What is published for each event.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.Bench")]
pub(super) struct Ticked {
    pub(super) correlation_id: Uuid,
    pub(super) n: u32,
    pub(super) padding: String,
}

#[derive(Clone, Copy, Debug, States)]
pub(super) enum Step {
    Ticking,
}

/// What an instance keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bench {
    id: Uuid,
    ticks: u32,
}

impl Machine for Bench {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Tick>().create(first).go_to(Step::Ticking);
        m.during([Step::Ticking]).on::<Tick>().then(next).stay();
    }
}

fn first(e: &Tick, out: &mut Effects<Bench>) -> Bench {
    let mut bench = Bench { id: e.correlation_id, ticks: 0 };
    next(&mut bench, e, out);
    bench
}

fn next(bench: &mut Bench, e: &Tick, out: &mut Effects<Bench>) {
    bench.ticks += 1;
    out.publish(Ticked { correlation_id: bench.id, n: e.n, padding: e.padding.clone() });
}
