//! One lane: takes whatever is ready and decides it in order; only under load it lets a batch grow.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::batch::Batches;
use super::deliveries::return_all;
use crate::delivery::Incoming;
use crate::shared::{LaneSeat, Serving, Shared};

/// A batch of so many messages shows that more are on their way.
const LOADED: usize = 16;

/// Runs a lane until the engine stops; what it holds then is given back. `alive` is dropped at the
/// end.
pub(crate) async fn run(
    shared: Arc<Shared>,
    serving: Arc<Serving>,
    mut seat: LaneSeat,
    number: usize,
    alive: mpsc::Sender<()>,
) {
    let name = format!("{}-{number}", serving.endpoint.name);
    let mut batches = Batches::new(
        shared.clone(),
        serving.clone(),
        (name, u32::try_from(number).unwrap_or(u32::MAX)),
        seat.outbox.clone(),
        seat.finished.clone(),
    );
    let mut carried: Vec<Incoming> = Vec::new();
    let mut last = 0;
    loop {
        if carried.is_empty() && !wait(&shared, &mut seat, &mut carried).await {
            break;
        }
        let alone = carried.first().is_some_and(|first| first.suspect);
        if !alone {
            linger(&shared, &seat, last).await;
        }
        // Held until the batch is settled; what arrives while it is waited for joins the batch.
        let turn = tokio::select! {
            biased;
            () = shared.tokens.process().cancelled() => break,
            turn = shared.turns(alone) => turn,
        };
        let mut batch = match split_off_losers(&mut carried) {
            Some(batch) => batch,
            None if alone => std::mem::take(&mut carried),
            None => {
                let mut batch = std::mem::take(&mut carried);
                fill(&mut seat, &mut batch, batches.most());
                batch
            }
        };
        let mut rest = batch.split_off(without_suspects(&batch));
        last = batch.len();
        let mut lost = batches.run(batch, alone).await;
        drop(turn);
        lost.append(&mut rest);
        lost.append(&mut carried);
        carried = lost;
    }
    give_back(&shared, seat, carried).await;
    drop(alive);
}

/// Waits for the first delivery of a batch. `false` at a stop.
async fn wait(shared: &Shared, seat: &mut LaneSeat, batch: &mut Vec<Incoming>) -> bool {
    tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => false,
        incoming = seat.internal.recv() => take(incoming, batch),
        incoming = seat.broker.recv() => take(incoming, batch),
    }
}

/// Under load, lets the next batch grow. A commit costs much the same whatever it holds; where
/// broker, store and engine share their processors, many small ones take what the others need.
async fn linger(shared: &Shared, seat: &LaneSeat, last: usize) {
    let settings = &shared.settings;
    let ready = seat.broker.len() + seat.internal.len();
    if last >= LOADED && ready < settings.max_batch / 2 {
        shared.pause(settings.linger).await;
    }
}

fn take(incoming: Option<Incoming>, batch: &mut Vec<Incoming>) -> bool {
    let came = incoming.is_some();
    batch.extend(incoming);
    came
}

/// Takes what is ready: internal deliveries up to half of a batch, then the broker's.
fn fill(seat: &mut LaneSeat, batch: &mut Vec<Incoming>, max: usize) {
    while batch.len() < max / 2
        && let Ok(incoming) = seat.internal.try_recv()
    {
        batch.push(incoming);
    }
    while batch.len() < max
        && let Ok(incoming) = seat.broker.try_recv()
    {
        batch.push(incoming);
    }
}

/// How many of these are decided together: a suspect is decided alone, those before it before it.
fn without_suspects(batch: &[Incoming]) -> usize {
    match batch.iter().position(|incoming| incoming.suspect) {
        Some(0) => 1,
        Some(first) => first,
        None => batch.len(),
    }
}

/// An instance that missed three times goes alone, so that progress is at least one a round.
fn split_off_losers(carried: &mut Vec<Incoming>) -> Option<Vec<Incoming>> {
    let first = carried.first().filter(|first| first.lost >= 3 && !first.suspect)?;
    let instance = first.instance();
    let (alone, rest): (Vec<_>, Vec<_>) =
        std::mem::take(carried).into_iter().partition(|incoming| incoming.instance() == instance);
    *carried = rest;
    Some(alone)
}

async fn give_back(shared: &Shared, mut seat: LaneSeat, mut held: Vec<Incoming>) {
    seat.internal.close();
    seat.broker.close();
    while let Ok(incoming) = seat.internal.try_recv() {
        held.push(incoming);
    }
    while let Ok(incoming) = seat.broker.try_recv() {
        held.push(incoming);
    }
    return_all(shared, held).await;
}
