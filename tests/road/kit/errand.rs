//! A saga that does what its messages say: each carries a script, so that a test reads in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_saga::chrono::TimeDelta;
use knarr_saga::definition::Definition;
use knarr_saga::definition_with;
use knarr_saga::prelude::*;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One thing that a behaviour does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Publishes [`Told`].
    Tell(String),
    /// Publishes [`Cried`], which goes to another exchange.
    Cry(String),
    /// Publishes [`Told`] with a time to live in milliseconds.
    TellFor(String, u64),
    /// Publishes [`Told`] under a routing key.
    TellBy(String, String),
    /// Sends [`Told`] to an address.
    Send(String, String),
    /// Answers with [`Told`].
    Respond(String),
    /// Sets the timer `one` or `two`, due in so many milliseconds.
    Set(String, i64),
    Cancel(String),
    /// Makes a call whose failure has a row.
    Ask(String),
    /// Makes a call whose failure has none.
    Dare(String),
    /// Withdraws all open calls of the first kind.
    Withdraw,
    /// Fails.
    Break(String),
    /// Fails the first so many times that this label is met.
    BreakFirst(String, u32),
    Panic(String),
    Move(Phase),
    Finish,
    /// The declared target `Fail`.
    Fail(String),
    /// Makes the data so many bytes longer.
    Grow(usize),
    /// Makes the data such that they cannot be written as JSON.
    Odd,
    /// What the next timer does.
    OnTimer(Vec<Act>),
    /// What the next end of a call does.
    OnEnd(Vec<Act>),
}

/// Starts an errand.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Begin {
    pub(crate) correlation_id: Uuid,
    pub(crate) script: Vec<Act>,
}

/// Makes an errand do something.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Go {
    pub(crate) correlation_id: Uuid,
    pub(crate) n: u32,
    pub(crate) script: Vec<Act>,
}

/// Deferred until the errand is busy.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Later {
    pub(crate) correlation_id: Uuid,
    pub(crate) n: u32,
}

/// Has no row but in `Busy`.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Never {
    pub(crate) correlation_id: Uuid,
}

/// Is ignored everywhere.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Shrug {
    pub(crate) correlation_id: Uuid,
}

/// What an errand says to the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Told {
    pub(crate) correlation_id: Uuid,
    pub(crate) what: String,
}

/// What an errand says to another part of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(namespace = "Road")]
pub(crate) struct Cried {
    pub(crate) correlation_id: Uuid,
    pub(crate) what: String,
}

/// A call with a row for its failure.
#[derive(Clone, Debug, Serialize, Deserialize, Call)]
#[call(output = String)]
pub(crate) struct Ask {
    pub(crate) what: String,
}

/// A call without one.
#[derive(Clone, Debug, Serialize, Deserialize, Call)]
#[call(output = String)]
pub(crate) struct Dare {
    pub(crate) what: String,
}

/// An errand's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, States)]
pub(crate) enum Phase {
    Fresh,
    Busy,
}

/// An errand: what happened to it, in order. `K` tells two sagas apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Errand<const K: usize = 0> {
    id: Uuid,
    pub(crate) log: Vec<String>,
    bulk: String,
    /// Not JSON when `None` is among its keys.
    odd: BTreeMap<Option<u32>, u32>,
    on_timer: Vec<Act>,
    on_end: Vec<Act>,
}

impl<const K: usize> Machine for Errand<K> {
    type State = Phase;

    fn define(m: &mut Table<Self>) {
        table(m, &Breaks::default());
    }

    fn name() -> String {
        ["errand", "twin"][K].to_owned()
    }
}

/// How often each label has broken so far; kept outside the machine, where a failed step cannot
/// undo it.
type Breaks = Arc<Mutex<BTreeMap<String, u32>>>;

/// The saga as the engine takes it.
pub(crate) fn errand() -> Arc<dyn Definition> {
    errand_with::<0>(|_| {})
}

/// The saga with something added to its table.
pub(crate) fn errand_with<const K: usize>(
    more: impl FnOnce(&mut Table<Errand<K>>),
) -> Arc<dyn Definition> {
    definition_with::<Errand<K>>(|m| {
        table(m, &Breaks::default());
        more(m);
    })
}

const EXITS: [Target<Phase>; 5] = [Stay, To(Phase::Fresh), To(Phase::Busy), Finish, Fail];

fn table<const K: usize>(m: &mut Table<Errand<K>>, breaks: &Breaks) {
    use Phase::{Busy, Fresh};
    m.retry(RetryPolicy::fixed(3, seconds(1)));
    // The queue flows on: what a halt does has tests of its own.
    m.on_failure(OnFailure::Quarantine);
    let with = breaks.clone();
    m.initially::<Begin>()
        .create(move |e, out| begin(e, out, &with))
        .branch([To(Fresh), To(Busy), Finish, Fail], |_, e: &Begin, _: &mut Effects<Errand<K>>| {
            aim(&e.script, To(Fresh))
        });
    let with = breaks.clone();
    m.during([Fresh, Busy]).on::<Go>().branch(EXITS, move |errand, e, out| {
        errand.log.push(format!("go {}", e.n));
        errand.act(&e.script, out, &with)
    });
    m.during([Fresh]).on::<Later>().defer();
    m.during([Busy])
        .on::<Later>()
        .then(|errand, e, _| errand.log.push(format!("later {}", e.n)))
        .stay();
    m.during([Busy]).on::<Never>().then(|errand, _, _| errand.log.push("never".to_owned())).stay();
    m.during_any().on::<Shrug>().ignore();
    for timer in ["one", "two"] {
        let with = breaks.clone();
        m.during([Fresh, Busy]).after(timer).branch(EXITS, move |errand, out| {
            errand.log.push(format!("timer {timer}"));
            let script = std::mem::take(&mut errand.on_timer);
            errand.act(&script, out, &with)
        });
    }
    let with = breaks.clone();
    m.during([Fresh, Busy])
        .done::<Ask>()
        .branch(EXITS, move |errand, text, out| errand.ended(format!("done {text}"), out, &with));
    let with = breaks.clone();
    m.during([Fresh, Busy]).failed::<Ask>().branch(EXITS, move |errand, why: &Failure, out| {
        errand.ended(format!("failed {}", why.class), out, &with)
    });
    let with = breaks.clone();
    m.during([Fresh, Busy])
        .done::<Dare>()
        .branch(EXITS, move |errand, text, out| errand.ended(format!("dared {text}"), out, &with));
}

fn begin<const K: usize>(
    e: &Begin,
    out: &mut Effects<Errand<K>>,
    breaks: &Breaks,
) -> Result<Errand<K>, String> {
    let mut errand = Errand {
        id: e.correlation_id,
        log: vec!["begun".to_owned()],
        bulk: String::new(),
        odd: BTreeMap::new(),
        on_timer: Vec::new(),
        on_end: Vec::new(),
    };
    errand.act(&e.script, out, breaks)?;
    Ok(errand)
}

/// Where a script leads.
fn aim(script: &[Act], otherwise: Target<Phase>) -> Target<Phase> {
    let exit = script.iter().rev().find_map(|act| match act {
        Act::Move(phase) => Some(To(*phase)),
        Act::Finish => Some(Finish),
        Act::Fail(why) => Some(fail(why)),
        _ => None,
    });
    exit.unwrap_or(otherwise)
}

fn timer(name: &str) -> &'static str {
    if name == "one" { "one" } else { "two" }
}

impl<const K: usize> Errand<K> {
    fn ended(
        &mut self,
        what: String,
        out: &mut Effects<Self>,
        breaks: &Breaks,
    ) -> Result<Target<Phase>, String> {
        self.log.push(what);
        let script = std::mem::take(&mut self.on_end);
        self.act(&script, out, breaks)
    }

    fn told(&self, what: &str) -> Told {
        Told { correlation_id: self.id, what: what.to_owned() }
    }

    fn act(
        &mut self,
        script: &[Act],
        out: &mut Effects<Self>,
        breaks: &Breaks,
    ) -> Result<Target<Phase>, String> {
        for act in script {
            match act {
                Act::Tell(what) => drop(out.publish(self.told(what))),
                Act::TellFor(what, millis) => {
                    out.publish(self.told(what)).time_to_live(knarr_saga::millis(*millis));
                }
                Act::Cry(what) => {
                    out.publish(Cried { correlation_id: self.id, what: what.clone() });
                }
                Act::TellBy(what, key) => {
                    out.publish(self.told(what)).routing_key(key.clone());
                }
                Act::Send(to, what) => drop(out.send(to.clone(), self.told(what))),
                Act::Respond(what) => drop(out.respond(self.told(what))),
                Act::Set(name, millis) => {
                    let due = out.now() + TimeDelta::milliseconds(*millis);
                    out.schedule_at(timer(name), due);
                }
                Act::Cancel(name) => {
                    out.unschedule(timer(name));
                }
                Act::Ask(what) => drop(out.run(Ask { what: what.clone() })),
                Act::Dare(what) => drop(out.run(Dare { what: what.clone() })),
                Act::Withdraw => {
                    out.cancel::<Ask>();
                }
                Act::Break(why) => return Err(why.clone()),
                Act::BreakFirst(label, times) => {
                    let mut breaks = breaks.lock();
                    let broken = breaks.entry(label.clone()).or_default();
                    if *broken < *times {
                        *broken += 1;
                        return Err(format!("{label} broke {broken} of {times} times"));
                    }
                }
                Act::Panic(why) => std::panic::resume_unwind(Box::new(why.clone())),
                Act::Grow(bytes) => self.bulk.push_str(&"x".repeat(*bytes)),
                Act::Odd => drop(self.odd.insert(None, 0)),
                Act::OnTimer(script) => self.on_timer.clone_from(script),
                Act::OnEnd(script) => self.on_end.clone_from(script),
                Act::Move(_) | Act::Finish | Act::Fail(_) => {}
            }
        }
        Ok(aim(script, Stay))
    }
}
