//! What desks and nodes asked for and were answered: is there one order in which all of it is right?

use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

use crate::rules::Verb;
use crate::words::{Decided, Gate, What};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    Desk(u8),
    Node(u8),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    Verb(Verb),
    Commit(Decided),
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The endpoint stands so after the verb.
    Done(Gate, u8),
    /// The commit, or the containment, is written.
    Written,
    /// Nothing was written.
    Refused,
}

/// The guard as one clerk would keep it, one entry after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    halted: bool,
    epoch: u8,
    guard: u8,
    live: bool,
    /// Whether the start message is set aside.
    held: bool,
}

impl SequentialSpec for Ledger {
    type Op = Asked;
    type Ret = Answer;

    fn invoke(&mut self, asked: &Asked) -> Answer {
        match asked {
            Asked::Verb(verb) => self.verb(*verb),
            Asked::Commit(decided) => self.commit(decided),
        }
    }

    /// A commit may always be refused: it may have lost a race that this ledger does not keep.
    fn is_valid_step(&mut self, asked: &Asked, answer: &Answer) -> bool {
        let refused = matches!(asked, Asked::Commit(_)) && *answer == Answer::Refused;
        refused || self.invoke(asked) == *answer
    }
}

impl Ledger {
    fn verb(&mut self, verb: Verb) -> Answer {
        match verb {
            Verb::Halt if self.halted => {}
            Verb::Halt => {
                self.halted = true;
                self.epoch += 1;
            }
            Verb::Resume => self.halted = false,
            Verb::Purge if self.live => {
                self.live = false;
                self.guard += 1;
            }
            Verb::Release(_) if self.held => {
                self.held = false;
                self.guard += 1;
            }
            _ => return Answer::Refused,
        }
        Answer::Done(if self.halted { Gate::Halted } else { Gate::Open }, self.epoch)
    }

    fn commit(&mut self, decided: &Decided) -> Answer {
        let fits = !self.halted && self.epoch == decided.epoch;
        match decided.what {
            What::Fail(_) if fits && self.live => {
                self.halted = true;
                self.epoch += 1;
                self.guard += 1;
                self.live = false;
                self.held = true;
            }
            What::Fail(_) => return Answer::Refused,
            _ if !fits || self.guard != decided.guard => return Answer::Refused,
            What::Begin(_) if self.live => return Answer::Refused,
            What::Begin(_) => self.live = true,
            What::Finish if !self.live => return Answer::Refused,
            What::Finish => self.live = false,
            _ => {}
        }
        Answer::Written
    }
}

/// The history so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    tester: LinearizabilityTester<Place, Ledger>,
    /// Looked for at each answer: only answers can make it impossible.
    linear: bool,
}

impl History {
    /// Of an endpoint that has never done anything, at this epoch.
    pub(crate) fn new(epoch: u8) -> History {
        let ledger = Ledger { halted: false, epoch, guard: 0, live: false, held: false };
        History { tester: LinearizabilityTester::new(ledger), linear: true }
    }

    pub(crate) fn ask(&mut self, place: Place, asked: Asked) {
        self.tester.on_invoke(place, asked).expect("one question at a time");
    }

    pub(crate) fn answer(&mut self, place: Place, answer: Answer) {
        self.tester.on_return(place, answer).expect("it was asked");
        self.linear = self.linear && self.tester.is_consistent();
    }

    /// Whether one clerk could have answered so.
    pub(crate) fn is_linear(&self) -> bool {
        self.linear
    }
}
