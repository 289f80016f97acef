//! The toy saga that travels in the simulator: it uses every kind of row, and its data tell what
//! was done to it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ports::Attempt;
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The toy's name and endpoint.
pub const ENDPOINT: &str = "toy";

/// Starts an instance.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Start {
    /// The instance.
    pub correlation_id: Uuid,
    /// How often its timer ticks.
    pub ticks: u32,
    /// Whether it breaks whoever decides it.
    pub poison: bool,
    /// What else is wrong with the run.
    pub flaw: Flaw,
    /// Whether the process of whoever runs its second call dies.
    pub lethal: bool,
}

/// How a run that began well fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// Not at all.
    None,
    /// A call that fails for good ends in the target `Fail`.
    Look,
    /// The last tick of its timer breaks whoever decides it.
    Tick,
}

/// Something to be counted once.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Count {
    /// The instance.
    pub correlation_id: Uuid,
    /// Which one it is.
    pub n: u32,
    /// Whether it breaks whoever decides it.
    pub poison: bool,
    /// Whether the process of whoever decides it dies.
    #[serde(default)]
    pub kills: bool,
}

/// Sets the timer anew.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Rearm {
    /// The instance.
    pub correlation_id: Uuid,
    /// How long until it ticks.
    pub millis: u64,
}

/// Stops the timer.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Disarm {
    /// The instance.
    pub correlation_id: Uuid,
}

/// Ends the run, once its calls are over.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Close {
    /// The instance.
    pub correlation_id: Uuid,
}

/// Says to the outside that something was done.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Toy")]
pub struct Told {
    /// The instance.
    pub correlation_id: Uuid,
    /// What.
    pub what: String,
}

/// A call that mostly works.
#[derive(Clone, Debug, Serialize, Deserialize, Call)]
#[call(output = u32)]
pub struct Fetch {
    /// What comes back.
    pub n: u32,
}

/// A call that fails more often.
#[derive(Clone, Debug, Serialize, Deserialize, Call)]
#[call(output = u32)]
pub struct Look {
    /// What comes back.
    pub n: u32,
    /// Whether the process of whoever runs it dies.
    pub lethal: bool,
}

#[derive(Timer)]
struct Tick;

/// The toy's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, States)]
pub enum Phase {
    /// Its calls are open.
    Working,
    /// Its calls are over.
    Ready,
}

/// The toy's data: what was done to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Toy {
    id: Uuid,
    /// Which counts were applied, in order.
    pub counted: Vec<u32>,
    /// Ends of calls, by name.
    pub ends: Vec<String>,
    /// How often the join fired.
    pub joined: u32,
    ticks_left: u32,
    flaw: Flaw,
    due: Option<DateTime<Utc>>,
    /// What must not have happened.
    pub wrong: Vec<String>,
}

impl Machine for Toy {
    type State = Phase;

    fn define(m: &mut Table<Self>) {
        use Phase::{Ready, Working};
        m.retry(RetryPolicy::fixed(3, Duration::from_millis(300)));
        m.initially::<Start>().create(start).go_to(Working);
        m.during([Working, Ready]).on::<Count>().then(count).stay();
        m.during([Working, Ready]).on::<Rearm>().then(rearm).stay();
        m.during([Working, Ready]).on::<Disarm>().then(disarm).stay();
        m.during([Working, Ready]).after(Tick).then(tick).stay();
        m.during([Working]).done::<Fetch>().then(fetched).stay();
        m.during([Working]).failed::<Fetch>().then(not_fetched).stay();
        m.during([Working]).done::<Look>().then(looked).stay();
        m.during([Working]).failed::<Look>().branch([Stay, Fail], not_looked);
        m.during([Working]).all_of([ended::<Fetch>(), ended::<Look>()]).then(joined).go_to(Ready);
        m.during([Working]).on::<Close>().defer();
        m.during([Ready]).on::<Close>().then(close).finish();
    }
}

impl Toy {
    fn tell(&self, out: &mut Effects<Toy>, what: impl Into<String>) {
        out.publish(Told { correlation_id: self.id, what: what.into() });
    }

    fn arm(&mut self, out: &mut Effects<Toy>, after: Duration) {
        self.due = Some(out.now() + after);
        out.schedule(Tick, after);
    }
}

fn start(e: &Start, out: &mut Effects<Toy>) -> Result<Toy, String> {
    if e.poison {
        return Err("this start is poison".to_owned());
    }
    out.run(Fetch { n: e.ticks });
    out.run(Look { n: e.ticks, lethal: e.lethal });
    let mut toy = Toy {
        id: e.correlation_id,
        counted: Vec::new(),
        ends: Vec::new(),
        joined: 0,
        ticks_left: e.ticks,
        flaw: e.flaw,
        due: None,
        wrong: Vec::new(),
    };
    toy.arm(out, Duration::from_millis(200));
    toy.tell(out, "started");
    Ok(toy)
}

fn count(toy: &mut Toy, e: &Count, out: &mut Effects<Toy>) -> Result<(), String> {
    if toy.counted.contains(&e.n) {
        toy.wrong.push(format!("I2 count {} was applied twice", e.n));
    }
    toy.counted.push(e.n);
    toy.tell(out, format!("counted {}", e.n));
    if e.poison { Err(format!("count {} is poison", e.n)) } else { Ok(()) }
}

fn rearm(toy: &mut Toy, e: &Rearm, out: &mut Effects<Toy>) {
    toy.arm(out, Duration::from_millis(e.millis));
}

fn disarm(toy: &mut Toy, _: &Disarm, out: &mut Effects<Toy>) {
    toy.due = None;
    out.unschedule(Tick);
}

fn tick(toy: &mut Toy, out: &mut Effects<Toy>) -> Result<(), String> {
    match toy.due.take() {
        None => toy.wrong.push("a cancelled timer fired".to_owned()),
        Some(due) if due > out.now() => {
            toy.wrong.push(format!("a timer due at {due} fired at {}", out.now()));
        }
        Some(_) => {}
    }
    toy.tell(out, "tick");
    if toy.ticks_left > 0 {
        toy.ticks_left -= 1;
        toy.arm(out, Duration::from_millis(150));
    } else if toy.flaw == Flaw::Tick {
        return Err("the last tick is poison".to_owned());
    }
    Ok(())
}

fn fetched(toy: &mut Toy, _: &u32, _: &mut Effects<Toy>) {
    toy.ends.push("done Fetch".to_owned());
}

fn not_fetched(toy: &mut Toy, _: &Failure, _: &mut Effects<Toy>) {
    toy.ends.push("failed Fetch".to_owned());
}

fn looked(toy: &mut Toy, _: &u32, _: &mut Effects<Toy>) {
    toy.ends.push("done Look".to_owned());
}

fn not_looked(toy: &mut Toy, _: &Failure, _: &mut Effects<Toy>) -> Target<Phase> {
    if toy.flaw == Flaw::Look {
        return fail("it could not be looked at");
    }
    toy.ends.push("failed Look".to_owned());
    Stay
}

fn joined(toy: &mut Toy, out: &mut Effects<Toy>) {
    toy.joined += 1;
    if toy.joined > 1 || toy.ends.len() != 2 {
        toy.wrong.push(format!("the join fired {} times, after {:?}", toy.joined, toy.ends));
    }
    toy.tell(out, "joined");
}

fn close(toy: &mut Toy, _: &Close, out: &mut Effects<Toy>) {
    toy.tell(out, "closed");
}

/// What the simulated activities answer from.
pub trait Answers: Send + Sync + 'static {
    /// One attempt at a call.
    fn answer(
        &self,
        call: &'static str,
        n: u32,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<u32, Failure>> + Send;
}
