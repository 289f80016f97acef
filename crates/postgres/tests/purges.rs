//! A purge whose network dies half way, on a real Postgres: all of it is there, or nothing.

#[path = "support/pause.rs"]
mod pause;
#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::sync::Arc;
use std::time::Duration;

use knarr_model::Class;
use knarr_model::incident::Incident;
use knarr_model::instance::PURGED;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{CarriedOut, Run};
use knarr_model::ports::store::EndpointState;
use knarr_postgres::Store;
use knarr_testkit::conformance::guard::{GuardWorld, Guards, full_run, halting_purge};
use knarr_testkit::conformance::store::Stores;
use knarr_testkit::services::postgres;

use pause::pause;
use proxy::{Mode, Proxy};
use support::{connect, settings};

/// A world whose guard speaks through the proxy, and everybody else past it.
async fn world(proxy: &Proxy, url: &str) -> GuardWorld {
    let mut slow = settings(&proxy.url(url));
    slow.answer_timeout = Duration::from_millis(800);
    slow.acquire_timeout = Duration::from_millis(800);
    let direct = Arc::new(Store::connect(settings(url)).await.expect("the store is opened"));
    let far = Arc::new(Store::connect(slow).await.expect("the store is opened"));
    let nothing = Arc::new(|_| -> futures_util::future::BoxFuture<'static, ()> {
        unreachable!("no case of the suite runs here")
    });
    let stores = Stores::real(direct.clone(), direct.clone(), direct.clone(), nothing);
    let guards =
        Guards { stores, guard: far, second: direct.clone(), incidents: direct, sql: true };
    GuardWorld::new(guards).await
}

/// Purges a run; in the midst of it the network does what `mode` says.
async fn purge(
    world: &GuardWorld,
    run: knarr_model::InstanceId,
    incident: &Incident,
    (proxy, mode): (&Proxy, Mode),
) -> Result<CarriedOut, StoreError> {
    let (own, proxy) = (incident.clone(), proxy.clone());
    let decide = Arc::new(move |scene: &_| {
        proxy.set(mode);
        Ok(halting_purge(scene, &own))
    });
    let done = world.guard.under_fence(world.ask_of(run), decide, Run::ForReal).await?;
    Ok(done.expect("nothing is refused"))
}

#[tokio::test]
async fn row_013_a_purge_whose_connection_dies_is_there_whole_or_not_at_all() {
    let database = postgres::database().await;
    let url = database.url();
    let proxy = Proxy::start(&url).await;
    let world = world(&proxy, &url).await;
    let run = full_run(&world).await;
    let incident = world.incident(Class::Failed);
    let before = world.picture(&[run]).await;

    // The network falls silent between reading and writing: the transaction never ends by itself.
    let error = purge(&world, run, &incident, (&proxy, Mode::Silent)).await;
    let error = error.expect_err("nobody answers");
    assert!(error.is_transient(), "{error}");
    proxy.set(Mode::Carry);
    let mut operator = connect(&url).await;
    let gone = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND state = 'idle in transaction'";
    sqlx::query(gone).execute(&mut operator).await.expect("the server notices it");
    assert_eq!(world.picture(&[run]).await, before, "nothing of it is there");

    // The COMMIT arrives and its answer is lost: all of it is there.
    let error = purge(&world, run, &incident, (&proxy, Mode::CutAfterCommit)).await;
    let error = error.expect_err("the answer was lost");
    assert!(error.is_transient(), "{error}");
    assert!(proxy.is(Mode::Carry), "the COMMIT was cut");
    let mut kept = None;
    for _ in 0..100 {
        kept = world.incidents.snapshot(incident.id).await.expect("it is read");
        if kept.is_some() {
            break;
        }
        pause(Duration::from_millis(20)).await;
    }
    let kept = kept.expect("the server had been told to commit");
    let row = world.store().endpoint(&world.endpoint).await.expect("the row is read");
    assert_eq!((row.state, row.epoch), (EndpointState::Halted, 2));
    let stone = world.read(run).await.expect("the row stays");
    assert_eq!((stone.state.as_str(), stone.incident), (PURGED, Some(incident.id)));
    assert_eq!((kept.timers.len(), kept.parked.is_empty()), (2, false));
    let detail = world.stores.records.instance(&world.saga, run).await.expect("it is read");
    let detail = detail.expect("the tombstone is shown");
    assert!(detail.timers.is_empty() && detail.calls.is_empty() && detail.parked.is_empty());
    assert_eq!(world.stored_incident(incident.id).await.expect("it is kept").run, Some(7));
}
