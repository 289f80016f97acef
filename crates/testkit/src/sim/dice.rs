//! Chance from a seed, and which faults it may bring.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// How often each fault happens, in thousandths of the calls it can happen to.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A store call fails and did nothing.
    pub store_fails: u32,
    /// A store call is carried out but its caller is told that it failed.
    pub store_answer_lost: u32,
    /// A store call is carried out some time after its caller was told that it failed.
    pub store_late: u32,
    /// A published message is not taken.
    pub publish_fails: u32,
    /// A published message is taken but its confirm is lost.
    pub confirm_lost: u32,
    /// A message arrives twice.
    pub duplicate: u32,
    /// A message is handed out before those in front of it.
    pub reorder: u32,
    /// A consumer's connection breaks; what it had not acked comes again.
    pub disconnect: u32,
    /// Acks are lost together with their connection.
    pub ack_lost: u32,
    /// Crashes of a node, per thousand ticks of the world.
    pub crash: u32,
    /// A node's way to the broker is cut for a while: nothing that it publishes is taken.
    pub outage: u32,
    /// Verbs of an operator, per thousand moments in which one looks up.
    pub operate: u32,
}

impl Faults {
    /// Nothing ever goes wrong.
    pub const NONE: Faults = Faults {
        store_fails: 0,
        store_answer_lost: 0,
        store_late: 0,
        publish_fails: 0,
        confirm_lost: 0,
        duplicate: 0,
        reorder: 0,
        disconnect: 0,
        ack_lost: 0,
        crash: 0,
        outage: 0,
        operate: 0,
    };

    /// Everything goes wrong now and then.
    pub const ALL: Faults = Faults {
        store_fails: 15,
        store_answer_lost: 15,
        store_late: 8,
        publish_fails: 25,
        confirm_lost: 25,
        duplicate: 100,
        reorder: 100,
        disconnect: 15,
        ack_lost: 20,
        crash: 12,
        outage: 20,
        operate: 350,
    };
}

/// The one source of chance in a simulated world.
#[derive(Debug)]
pub(super) struct Dice(Mutex<State>);

#[derive(Debug)]
struct State {
    x: u64,
    faults: Faults,
    /// How often each fault has struck.
    struck: BTreeMap<&'static str, u64>,
}

impl Dice {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
        Dice(Mutex::new(State { x, faults, struck: BTreeMap::new() }))
    }

    /// A number in `0..below`; 0 for 0.
    pub(super) fn below(&self, below: u64) -> u64 {
        let mut state = self.0.lock();
        state.x = state.x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state.x;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// Whether the fault of this name and rate strikes now.
    pub(super) fn strikes(&self, name: &'static str, rate: impl Fn(&Faults) -> u32) -> bool {
        let per_mille = rate(&self.0.lock().faults);
        let strikes = per_mille > 0 && self.below(1000) < u64::from(per_mille);
        if strikes {
            *self.0.lock().struck.entry(name).or_default() += 1;
        }
        strikes
    }

    /// How often each fault has struck.
    pub(super) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().struck.clone()
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm(&self) {
        self.0.lock().faults = Faults::NONE;
    }
}
