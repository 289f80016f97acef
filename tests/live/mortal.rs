//! A program that some messages kill: this test binary, started again as a process of its own.

use std::hint::black_box;
use std::process::Stdio;
use std::time::Duration;

use knarr::prelude::*;
use knarr::serde::{Deserialize, Serialize};
use knarr::uuid::Uuid;
use tokio::process::Command;

use crate::program::{Program, command};
use crate::world::World;

/// The endpoint, and the exchanges of the two messages.
pub(crate) const DEED: &str = "deed";
pub(crate) const EASY: &str = "Mortal:Easy";
pub(crate) const DO: &str = "Mortal:Do";
/// Starts a run whose call kills the process, at an endpoint of its own.
pub(crate) const PLEAD: &str = "Mortal:Plead";
/// Where the child says that it is ready.
const READY: &str = "KNARR_TEST_READY";

/// Takes so many milliseconds.
#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Mortal")]
struct Easy {
    correlation_id: Uuid,
    millis: u64,
}

/// Does something that nobody should.
#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Mortal")]
struct Do {
    correlation_id: Uuid,
    what: What,
}

/// What a deed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// Waits for its timer, and is done.
    Nothing,
    Abort,
    Overflow,
    /// A panic while a panic unwinds.
    PanicTwice,
    Panic,
    /// A value of the behaviour's own panics when it is dropped.
    PanicInDrop,
    /// The data panic whenever they are dropped.
    PanicInDropOfData,
    Spin,
    Sleep,
    AbortInTimer,
    AbortInAnswer,
    PanicInActivity,
    /// The activity never answers.
    Pend,
    /// The activity takes its time.
    SlowAnswer,
}

/// Asks for a call that kills.
#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Mortal")]
struct Plead {
    correlation_id: Uuid,
}

/// Kills the process.
#[derive(Serialize, Deserialize, Call)]
#[call(output = ())]
struct Kill {}

/// A run whose only call kills, and whose failure no row takes.
#[derive(Clone, Serialize, Deserialize)]
struct Plea {}

impl Machine for Plea {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.on_failure(OnFailure::ContainInstance);
        m.initially::<Plead>().create(plead).go_to(Step::Doing);
        m.during([Step::Doing]).done::<Kill>().finish();
    }
}

fn plead(_: &Plead, out: &mut Effects<Plea>) -> Plea {
    out.run(Kill {});
    Plea {}
}

/// Aborts at every attempt.
struct Kills;

impl Activity<Kill> for Kills {
    async fn run(&self, _: &Kill, _: &Attempt) -> Result<(), Failure> {
        std::process::abort();
    }
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = ())]
struct Ask {
    what: What,
}

#[derive(Timer)]
struct Tick;

#[derive(Clone, Copy, States)]
enum Step {
    Doing,
}

#[derive(Clone, Serialize, Deserialize)]
struct Deed {
    what: What,
}

impl Drop for Deed {
    fn drop(&mut self) {
        if self.what == What::PanicInDropOfData && !std::thread::panicking() {
            panic!("the data do not want to go");
        }
    }
}

impl Machine for Deed {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.retry(RetryPolicy::fixed(2, Duration::from_millis(200)));
        m.on_failure(OnFailure::Quarantine);
        m.initially::<Easy>().create(easy).finish();
        m.initially::<Do>().create(start).go_to(Step::Doing);
        m.during([Step::Doing]).after(Tick).then(tick).finish();
        m.during([Step::Doing]).done::<Ask>().then(answered).finish();
        m.during([Step::Doing]).failed::<Ask>().finish();
    }
}

fn easy(e: &Easy, _: &mut Effects<Deed>) -> Deed {
    std::thread::sleep(Duration::from_millis(e.millis));
    Deed { what: What::Nothing }
}

fn start(e: &Do, out: &mut Effects<Deed>) -> Deed {
    match e.what {
        What::Nothing | What::AbortInTimer | What::PanicInDropOfData => {
            out.schedule(Tick, Duration::from_millis(20));
        }
        What::AbortInAnswer | What::PanicInActivity | What::Pend | What::SlowAnswer => {
            out.run(Ask { what: e.what });
        }
        What::Abort => std::process::abort(),
        What::Overflow => assert!(deep(black_box(1)) > 0, "it has an end"),
        What::PanicTwice => {
            let _falls = Falls;
            panic!("once");
        }
        What::Panic => panic!("on purpose"),
        What::PanicInDrop => drop(Falls),
        What::Spin => spin(),
        What::Sleep => std::thread::sleep(Duration::from_secs(100_000)),
    }
    Deed { what: e.what }
}

fn tick(deed: &mut Deed, _: &mut Effects<Deed>) {
    if deed.what == What::AbortInTimer {
        std::process::abort();
    }
}

fn answered(deed: &mut Deed, (): &(), _: &mut Effects<Deed>) {
    if deed.what == What::AbortInAnswer {
        std::process::abort();
    }
}

struct Falls;

impl Drop for Falls {
    fn drop(&mut self) {
        panic!("while it is dropped");
    }
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let room = black_box([n; 64]);
    if n == 0 { room[0] } else { deep(black_box(n + 1)).wrapping_add(room[1]) }
}

fn spin() {
    let began = std::time::Instant::now();
    // Far beyond every deadline; not for ever, since the thread outlives its decision.
    while black_box(began.elapsed()) < Duration::from_secs(3) {}
}

/// Answers, or does not.
struct Answers;

impl Activity<Ask> for Answers {
    async fn run(&self, call: &Ask, _: &Attempt) -> Result<(), Failure> {
        match call.what {
            What::PanicInActivity => panic!("an activity panics"),
            What::Pend => std::future::pending().await,
            What::SlowAnswer => {
                tokio::time::sleep(Duration::from_millis(150)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::fixed(2, Duration::from_millis(100))
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// The process that dies. Started by [`Mortal`] only; by hand it has nothing to serve.
#[tokio::test(flavor = "multi_thread")]
async fn serves() {
    let Some(ready) = std::env::var_os(READY) else { return };
    let app = knarr::App::new("mortal").saga::<Deed>().activity(Answers);
    let app = app.saga::<Plea>().activity(Kills);
    let server = app.start().await.expect("it starts");
    server.ready().await;
    std::fs::write(ready, "ready").expect("our own folder");
    let why = server.broken().await;
    server.stop().await;
    eprintln!("{why}");
    std::process::exit(70);
}

/// The child, as its test sees it.
pub(crate) struct Mortal {
    program: Program,
    ready: std::path::PathBuf,
}

impl Mortal {
    pub(crate) fn start(world: &World, set: &[(&str, &str)]) -> Mortal {
        let (name, folder) = world.room();
        let ready = folder.join("ready");
        let mut command: Command = command(std::env::current_exe().expect("our own name"));
        command.args(["--exact", "mortal::serves", "--nocapture"]);
        command.current_dir(&folder).stdout(Stdio::null()).env(READY, &ready);
        command.envs([
            ("KNARR_BROKER", world.broker.as_str()),
            ("KNARR_STORE", world.store.as_str()),
            ("KNARR_LISTEN", "127.0.0.1:0"),
            ("KNARR_LEASE", "2s"),
            ("KNARR_PREFETCH", "200"),
            ("KNARR_DECIDE_DEADLINE", "500ms"),
            ("KNARR_CRASH_WATCH", "5s"),
            ("KNARR_CRASH_SPACING", "100ms,200ms"),
        ]);
        command.envs(set.iter().copied());
        Mortal { program: Program::start(&name, command, world.folder()), ready }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.exists()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.program.ended().is_some()
    }

    pub(crate) async fn kill9(&mut self) {
        self.program.kill9().await;
    }
}
