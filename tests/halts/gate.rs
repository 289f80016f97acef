//! A saga whose every message waits at a gate while it is decided: so all of them are in hand at once.

use std::time::Duration;

use knarr_saga::prelude::*;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whether the gate is open, for all lanes of all nodes here.
static OPEN: Mutex<bool> = Mutex::new(true);
static CHANGED: Condvar = Condvar::new();
/// A decision that waited longer would be given up by its lane.
const LONGEST: Duration = Duration::from_secs(4);

/// Opens or closes the gate.
pub(crate) fn set_open(open: bool) {
    *OPEN.lock() = open;
    CHANGED.notify_all();
}

/// The start message.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.Halts")]
pub(crate) struct Tick {
    pub(crate) correlation_id: Uuid,
}

#[derive(Clone, Copy, Debug, States)]
pub(crate) enum Step {
    Ticked,
}

/// What an instance keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gated {
    id: Uuid,
}

impl Machine for Gated {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Tick>().create(pass).go_to(Step::Ticked);
    }
}

fn pass(e: &Tick, _: &mut Effects<Gated>) -> Gated {
    let mut open = OPEN.lock();
    CHANGED.wait_while_for(&mut open, |open| !*open, LONGEST);
    Gated { id: e.correlation_id }
}
