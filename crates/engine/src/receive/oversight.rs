//! Keeps an eye on an endpoint's row: what was decided elsewhere is heeded here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use knarr_guard::Admission;
use knarr_model::ports::StoreError;
use knarr_model::ports::store::{EndpointRow, EndpointState};

use super::contain::begin_probe;
use super::halting::Telling;
use crate::shared::{Serving, Shared, is_held};

/// Reads the endpoint's row now and then, and whenever a fence was met: the row is the truth.
pub(crate) async fn watch(shared: Arc<Shared>, serving: Arc<Serving>) {
    let mut failures = 0;
    let mut guard_version = None;
    let mut telling = Telling::default();
    // A message that killed the process before this one may be the first to come.
    let mut looked = shared.looked.subscribe();
    tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => {}
        _ = looked.wait_for(|looked| *looked) => {}
    }
    while !shared.is_stopping() {
        match read(&shared, &serving).await {
            Ok(row) => {
                failures = 0;
                heed(&shared, &serving, &row, &mut telling).await;
                telling.tell(&shared, &serving).await;
                if guard_version != Some(row.guard_version) {
                    guard_version = Some(row.guard_version);
                    cancel_lost_calls(&shared).await;
                }
                let restart = row.stop.as_ref().and_then(|stop| stop.restart_at);
                let stopped = matches!(row.state, EndpointState::Halted | EndpointState::Paused);
                if stopped && restart.is_some_and(|at| at <= shared.ports.clock.now()) {
                    begin_probe(&shared, &serving).await;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!("cannot read endpoint {}: {error}", serving.endpoint.name);
                shared.back_off(failures).await;
            }
        }
        tokio::select! {
            biased;
            () = shared.tokens.process().cancelled() => {}
            () = serving.changed.notified() => {}
            () = let_go(&serving, &telling) => {}
            () = shared.ports.clock.sleep(shared.settings.endpoint_poll) => {}
        }
    }
}

/// A stopped endpoint's last delivery is settled, or its consumer gone: it may be told now.
async fn let_go(serving: &Serving, telling: &Telling) {
    match telling.is_due() {
        true => serving.hand.empty.notified().await,
        false => std::future::pending().await,
    }
}

/// Looks at the endpoints as soon as a verb may have changed one, here or elsewhere.
pub(crate) async fn hear_verbs(shared: Arc<Shared>) {
    while !shared.is_stopping() {
        let told = tokio::select! {
            biased;
            () = shared.tokens.process().cancelled() => false,
            told = shared.ports.store.wait_for_verb(shared.settings.poll) => told,
        };
        if told {
            shared.endpoints.values().for_each(|serving| serving.changed.notify_one());
        }
    }
}

/// The endpoint's row. One that only one node may serve is asked for on the way.
async fn read(shared: &Shared, serving: &Serving) -> Result<EndpointRow, StoreError> {
    let (store, name) = (&shared.ports.store, &serving.endpoint.name);
    let lives = shared.node.is_valid(shared.ports.clock.monotonic()) && !shared.standing.is_back();
    if serving.endpoint.ordered && lives {
        return store.hold(name, shared.node.id()).await;
    }
    let row = store.endpoint(name).await?;
    if is_held(serving, &row) && lives {
        return store.hold(name, shared.node.id()).await;
    }
    Ok(row)
}

/// Does what the endpoint's row says.
async fn heed(shared: &Shared, serving: &Serving, row: &EndpointRow, telling: &mut Telling) {
    let endpoint = &row.name;
    let now = shared.admit(serving, row);
    let closed = serving.is_closed();
    let before = *serving.admission.borrow();
    // Who waits for a change is woken by one, and by nothing else.
    serving.admission.send_if_modified(|admission| {
        let other = *admission != now;
        *admission = now;
        other
    });
    match now {
        Admission::Return => {
            telling.stopped(row, shared.ports.clock.now(), || shared.tokens.halt(endpoint));
        }
        _ => telling.flows(),
    }
    if !serving.is_closed() {
        serving.hand.forget();
    }
    serving.read.store(true, Ordering::Relaxed);
    if serving.is_closed() && !closed {
        match now {
            Admission::Wait if shared.standing.is_back() => {
                tracing::warn!(%endpoint, "left to the other processes");
            }
            Admission::Wait => {
                tracing::warn!(%endpoint, holder = ?row.holder, "another process serves it now");
            }
            _ => tracing::warn!(%endpoint, epoch = row.epoch, "halted: nothing is decided"),
        }
        shared.tokens.halt(endpoint);
        give_back(shared, serving).await;
    } else if now == Admission::Go && before != Admission::Go {
        // What was counted before it stopped says nothing about how it goes now.
        serving.breaker.lock().reset();
        // Rows of which nobody knows whether they were given back come again.
        shared.reclaim();
        tracing::info!(%endpoint, epoch = row.epoch, state = row.state.as_str(), "open");
        shared.due.notify_one();
        shared.calls.notify_one();
    }
}

async fn give_back(shared: &Shared, serving: &Serving) {
    let node = shared.node.id();
    if let Err(error) = shared.ports.store.give_back(node, &serving.endpoint.name).await {
        tracing::warn!("claims of {} stay until the lease ends: {error}", serving.endpoint.name);
    }
}

/// A purge elsewhere took the rows of calls that run here: they are cancelled.
async fn cancel_lost_calls(shared: &Shared) {
    let running = shared.tokens.running();
    if running.is_empty() {
        return;
    }
    match shared.ports.store.lost_calls(shared.node.id(), &running).await {
        Ok(lost) => lost.into_iter().for_each(|row| shared.tokens.cancel_call(row)),
        Err(error) => tracing::warn!("cannot see which calls are withdrawn: {error}"),
    }
}
