//! Messages that kill the process are convicted while others go through; kills convict nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use knarr::uuid::Uuid;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::moments::Moments;
use crate::mortal::{DEED, DO, EASY, Mortal, PLEAD, What};
use crate::stored::Stored;
use crate::wire::{MASS_TRANSIT, Raw, Wire, envelope_of};
use crate::world::{World, until};

const OTHERS: i64 = 1_000;
/// Messages that wait at least when a process is to be killed.
const BACKLOG: u32 = 200;
/// What dead processes were about to decide, as far as nobody has looked into it yet.
const LEFT: &str = "SELECT coalesce(sum(cardinality(messages)), 0)::bigint FROM knarr.intent";

async fn send(wire: &Wire, exchange: &'static str, message: Value) {
    let id = Uuid::new_v4().to_string();
    let urn = format!("urn:message:{exchange}");
    let body = envelope_of(&id, &urn, message);
    wire.publish(&Raw { exchange, content_type: MASS_TRANSIT, body, ..Raw::default() }).await;
}

async fn easy(wire: &Wire, millis: u64) {
    send(wire, EASY, json!({ "correlation_id": Uuid::new_v4(), "millis": millis })).await;
}

async fn deed(wire: &Wire, what: What) {
    send(wire, DO, json!({ "correlation_id": Uuid::new_v4(), "what": what })).await;
}

/// Starts the child again whenever it has died, as a supervisor does.
struct Supervised<'a> {
    world: &'a World,
    set: &'static [(&'static str, &'static str)],
    child: Mortal,
    deaths: u32,
}

impl<'a> Supervised<'a> {
    async fn ready(world: &'a World) -> Supervised<'a> {
        Supervised::with(world, &[]).await
    }

    /// The same with these settings besides the usual ones.
    async fn with(
        world: &'a World,
        set: &'static [(&'static str, &'static str)],
    ) -> Supervised<'a> {
        let child = Mortal::start(world, set);
        until("the child is ready", async || {
            if child.is_ready() { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        Supervised { world, set, child, deaths: 0 }
    }

    fn revive(&mut self) {
        if self.child.has_ended() {
            self.deaths += 1;
            self.child = Mortal::start(self.world, self.set);
        }
    }

    /// Keeps it alive until the answer is there.
    async fn until(&mut self, what: &str, mut ask: impl AsyncFnMut() -> Result<(), String>) {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            self.revive();
            match ask().await {
                Ok(()) => return,
                Err(why) => assert!(Instant::now() < deadline, "{what}: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Messages by the class that they were set aside as.
async fn set_aside(stored: &mut Stored) -> BTreeMap<String, i64> {
    stored.groups("SELECT class, count(*) FROM knarr.quarantine GROUP BY class").await
}

async fn applied(stored: &mut Stored, event: &str) -> i64 {
    let query = "SELECT count(*) FROM knarr.journal WHERE outcome = 'applied' AND event";
    stored.count(&format!("{query} = '{event}'")).await
}

/// Each of these kills the process whenever it is decided: a start that aborts, one that overflows
/// the stack, one that panics while it unwinds, a timer, an answer. And one that never comes back.
#[tokio::test(flavor = "multi_thread")]
async fn row_018_row_082_row_083_pe_083_live_what_kills_or_hangs_is_convicted_while_a_thousand_go_through()
 {
    const KILLERS: [What; 5] =
        [What::Abort, What::Overflow, What::PanicTwice, What::AbortInTimer, What::AbortInAnswer];
    let world = World::new().await;
    let mut child = Supervised::ready(&world).await;
    let wire = Wire::open(&world).await;
    for n in 0..OTHERS {
        easy(&wire, 0).await;
        if n % 100 == 50
            && let Some(killer) = KILLERS.get(n as usize / 100)
        {
            deed(&wire, *killer).await;
        }
        if n == 700 {
            deed(&wire, What::Spin).await;
        }
        child.revive();
    }
    let mut stored = Stored::open(&world).await;
    let expected = BTreeMap::from([("poison".to_owned(), 5), ("stuck".to_owned(), 1)]);
    child
        .until("all are decided or convicted", async || {
            let (aside, done) = (set_aside(&mut stored).await, applied(&mut stored, EASY).await);
            let left = stored.count("SELECT count(*) FROM knarr.parked").await;
            if aside == expected && done == OTHERS && left == 0 {
                return Ok(());
            }
            Err(format!("set aside {aside:?}, {done} decided, {left} wait"))
        })
        .await;
    println!("it died {} times", child.deaths);
    // Each died of its five tries alone, and now and then before it was suspected.
    assert!(child.deaths >= 25, "{}", child.deaths);
    let told = "SELECT count(*) FROM knarr.quarantine \
                WHERE class = 'poison' AND detail LIKE '%5 processes died%'";
    assert_eq!(stored.count(told).await, 5);
    // The three that started a run block their copies; nothing has stopped.
    assert_eq!(stored.count("SELECT count(*) FROM knarr.block").await, 4);
    let open = "SELECT count(*) FROM knarr.endpoint WHERE state = 'open'";
    assert_eq!(stored.count(open).await, 2);
    assert_eq!(stored.count("SELECT count(*) FROM knarr.suspect").await, 0);
    assert_eq!(wire.ready(DEED).await, 0);
    wire.close().await;
}

/// One call aborts the process at every attempt. It takes a while: each death is noticed when the
/// lease is past.
#[tokio::test(flavor = "multi_thread")]
async fn row_018_row_083_live_a_call_that_kills_is_convicted_while_a_thousand_go_through() {
    const SLOW: i64 = 30;
    let world = World::new().await;
    let mut child = Supervised::ready(&world).await;
    let wire = Wire::open(&world).await;
    for n in 0..OTHERS {
        easy(&wire, 0).await;
        if n % 30 == 0 && n / 30 < SLOW {
            deed(&wire, What::SlowAnswer).await;
        }
        if n == 50 {
            send(&wire, PLEAD, json!({ "correlation_id": Uuid::new_v4() })).await;
        }
        child.revive();
    }
    let mut stored = Stored::open(&world).await;
    let expected = BTreeMap::from([("activity".to_owned(), 1)]);
    let mut sent = OTHERS;
    child
        .until("the call is convicted", async || {
            // Whoever lives shows it.
            easy(&wire, 0).await;
            sent += 1;
            let aside = set_aside(&mut stored).await;
            if aside == expected { Ok(()) } else { Err(format!("set aside {aside:?}")) }
        })
        .await;
    let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
    child
        .until("all others have come through", async || {
            let (done, slow) = (applied(&mut stored, EASY).await, stored.count(ended).await - sent);
            if (done, slow) == (sent, SLOW) { Ok(()) } else { Err(format!("{done}, {slow}")) }
        })
        .await;
    assert_eq!(set_aside(&mut stored).await, expected);
    println!("it died {} times", child.deaths);
    assert!(child.deaths >= 7, "{}", child.deaths);
    let told = "SELECT count(*) FROM knarr.quarantine \
                WHERE detail LIKE '%7 processes ended while they ran this call%'";
    assert_eq!(stored.count(told).await, 1);
    let purged = "SELECT count(*) FROM knarr.instance WHERE saga = 'plea' AND state = 'Purged'";
    assert_eq!(stored.count(purged).await, 1);
    let open = "SELECT count(*) FROM knarr.endpoint WHERE state = 'open'";
    assert_eq!(stored.count(open).await, 2, "nothing has stopped");
    assert_eq!(stored.count("SELECT count(*) FROM knarr.activity").await, 0);
    wire.close().await;
}

/// A classic queue counts no deliveries: whoever always fails, and whoever kills, is stopped by us.
#[tokio::test(flavor = "multi_thread")]
async fn row_036_live_a_classic_queue_counts_nothing_and_each_budget_holds_all_the_same() {
    let world = World::new().await;
    let mut child = Supervised::with(&world, &[("KNARR_QUEUE", "classic")]).await;
    let wire = Wire::open(&world).await;
    for n in 0..100 {
        easy(&wire, 0).await;
        match n {
            30 => deed(&wire, What::Panic).await,
            60 => deed(&wire, What::Abort).await,
            _ => {}
        }
    }
    let mut stored = Stored::open(&world).await;
    let expected = BTreeMap::from([("poison".to_owned(), 1), ("exhausted".to_owned(), 1)]);
    child
        .until("all are decided or set aside", async || {
            let (aside, done) = (set_aside(&mut stored).await, applied(&mut stored, EASY).await);
            if aside == expected && done == 100 {
                return Ok(());
            }
            Err(format!("set aside {aside:?}, {done} decided"))
        })
        .await;
    let attempts = "SELECT count(*) FROM knarr.quarantine \
                    WHERE class = 'exhausted' AND detail LIKE '%\"attempts\":2%'";
    assert_eq!(stored.count(attempts).await, 1, "it had its budget of two");
    let deaths = "SELECT count(*) FROM knarr.quarantine \
                  WHERE class = 'poison' AND detail LIKE '%5 processes died%'";
    assert_eq!(stored.count(deaths).await, 1);
    assert!(child.deaths >= 5, "{}", child.deaths);
    until("nothing comes again", async || match wire.ready(DEED).await {
        0 => Ok(()),
        left => Err(format!("{left} wait")),
    })
    .await;
    wire.close().await;
}

/// What unwinds is an attempt and kills nothing; what never ends is given up; the process lives on.
#[tokio::test(flavor = "multi_thread")]
async fn row_081_row_082_live_panics_and_waits_cost_attempts_and_no_process() {
    const MATRIX: [What; 6] = [
        What::Panic,
        What::PanicInDrop,
        What::PanicInDropOfData,
        What::PanicInActivity,
        What::Sleep,
        What::Pend,
    ];
    let world = World::new().await;
    let mut child = Supervised::ready(&world).await;
    let wire = Wire::open(&world).await;
    for what in MATRIX {
        deed(&wire, what).await;
        for _ in 0..10 {
            easy(&wire, 0).await;
        }
    }
    let mut stored = Stored::open(&world).await;
    let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
    child
        .until("everything has its outcome", async || {
            let (aside, done) = (set_aside(&mut stored).await, stored.count(ended).await);
            let failed: i64 = aside.values().sum();
            if failed + done == 66 { Ok(()) } else { Err(format!("{aside:?}, {done} ended")) }
        })
        .await;
    let aside = set_aside(&mut stored).await;
    let expected = BTreeMap::from([("exhausted".to_owned(), 3), ("stuck".to_owned(), 1)]);
    assert_eq!(aside, expected, "panics are failures, a sleep for ever is stuck");
    let attempts = "SELECT count(*) FROM knarr.quarantine WHERE detail LIKE '%\"attempts\":2%'";
    assert_eq!(stored.count(attempts).await, 4, "each had its budget of two");
    assert_eq!(applied(&mut stored, EASY).await, 60);
    assert_eq!(child.deaths, 0);
    wire.close().await;
}

/// Kills at random moments under load, start included: nobody is convicted, nothing is lost.
/// `KNARR_TEST_KILLS` says how many; `KNARR_TEST_SEED` when.
#[tokio::test(flavor = "multi_thread")]
async fn row_018_live_random_kills_under_load_convict_no_innocent() {
    let given = std::env::var("KNARR_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u32 = given.unwrap_or(8);
    let world = World::new().await;
    let mut child = Supervised::ready(&world).await;
    let wire = Wire::open(&world).await;
    let mut stored = Stored::open(&world).await;
    let mut moments = Moments::new();
    let (mut light, mut timed, mut struck, mut in_hand) = (0_i64, 0_i64, 0, 0);
    for _ in 0..kills {
        // There is always something to decide, and never more than can be done.
        while wire.ready(DEED).await < BACKLOG {
            // All at once: one confirmed after the other would come slower than they are decided.
            let sent = light..light + i64::from(BACKLOG);
            light = sent.end;
            join_all(sent.map(|n| easy(&wire, 1 + n.unsigned_abs() % 8))).await;
            deed(&wire, What::Nothing).await;
            timed += 1;
        }
        tokio::time::sleep(moments.within((50, 1_500))).await;
        child.child.kill9().await;
        let left = stored.count(LEFT).await;
        struck += u32::from(left > 0);
        in_hand += left;
        child.revive();
    }
    let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
    child
        .until("everything has come through", async || {
            let (aside, done) = (set_aside(&mut stored).await, stored.count(ended).await);
            assert!(aside.is_empty(), "somebody is convicted: {aside:?}");
            let all = light + timed;
            if done == all { Ok(()) } else { Err(format!("{done} of {all} have ended")) }
        })
        .await;
    assert_eq!(applied(&mut stored, EASY).await, light, "each took effect once");
    assert_eq!(applied(&mut stored, "timer Tick").await, timed, "each timer fired once");
    println!(
        "{kills} kills, {struck} of them while it was written down what was decided, {in_hand} \
         messages then; {light} messages and {timed} timers came through, nobody was convicted"
    );
    assert!(struck >= kills / 5, "the kills came at idle times: {struck} of {kills}");
    wire.close().await;
}
