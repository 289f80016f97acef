//! One receive endpoint: consumes while it is open, routes each delivery to its lane, stops at a halt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use knarr_guard::Admission;
use knarr_model::failpoint::{self, Step};
use knarr_model::ports::store::Load;
use knarr_model::ports::transport::{Consumer, Delivery};
use tokio::sync::mpsc;

use super::effects::QUARANTINE_ID;
use super::router;
use crate::delivery::lane_of;
use crate::shared::{Serving, Shared};

/// Serves an endpoint until the engine stops. `lanes_gone` ends when its lanes have given back what
/// they held; only then is the consumer closed.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    serving: Arc<Serving>,
    mut lanes_gone: mpsc::Receiver<()>,
) {
    let mut failures = 0;
    while !shared.is_stopping() {
        // Said before it is looked: a stop that is not seen here sees that there may be a consumer.
        serving.attached.store(true, Ordering::SeqCst);
        if *serving.admission.borrow() != Admission::Go {
            detach(&serving);
            wait_for_change(&shared, &serving).await;
            continue;
        }
        match shared.ports.transport.consume(&serving.endpoint).await {
            Ok(consumer) => {
                failures = 0;
                consume(&shared, &serving, consumer, &mut lanes_gone).await;
                detach(&serving);
            }
            Err(error) => {
                detach(&serving);
                failures += 1;
                let endpoint = &serving.endpoint.name;
                tracing::error!(%endpoint, "cannot consume: {error}");
                shared.back_off(failures).await;
            }
        }
    }
}

/// The broker has no consumer of this node: who waits for that hears of it.
fn detach(serving: &Serving) {
    serving.attached.store(false, Ordering::SeqCst);
    serving.hand.empty.notify_one();
}

async fn consume(
    shared: &Shared,
    serving: &Serving,
    mut consumer: Box<dyn Consumer>,
    lanes_gone: &mut mpsc::Receiver<()>,
) {
    let settler = consumer.settler();
    let mut admission = serving.admission.subscribe();
    serving.consuming.store(true, Ordering::Relaxed);
    loop {
        if *admission.borrow_and_update() != Admission::Go {
            break;
        }
        if shared.is_full() || serving.waits.is_full() {
            // Nothing more is taken in until the broker, or what waits in line, has caught up.
            shared.pause(shared.settings.poll).await;
            if shared.is_stopping() {
                break;
            }
            look_again(shared, serving).await;
            continue;
        }
        let came = tokio::select! {
            biased;
            () = shared.tokens.process().cancelled() => break,
            _ = admission.changed() => continue,
            came = consumer.next(shared.settings.max_batch) => came,
        };
        match came {
            Ok(deliveries) => {
                for delivery in deliveries {
                    failpoint::pass(Step::Received);
                    if !route(shared, serving, delivery, &settler).await {
                        break;
                    }
                }
            }
            Err(error) => {
                tracing::error!(endpoint = %serving.endpoint.name, "consumer ended: {error}");
                shared.back_off(1).await;
                break;
            }
        }
    }
    serving.consuming.store(false, Ordering::Relaxed);
    if shared.is_stopping() {
        // The lanes settle what they hold through this consumer.
        let gone = async { while lanes_gone.recv().await.is_some() {} };
        tokio::select! {
            biased;
            () = gone => {}
            () = shared.ports.clock.sleep(shared.settings.drain) => {}
        }
    }
    consumer.stop().await;
}

/// Looks how many messages wait of the instances that had too many: nothing else may ask for them.
async fn look_again(shared: &Shared, serving: &Serving) {
    let instances: Vec<_> = serving.waits.full().into_iter().map(|(id, _)| id).collect();
    if instances.is_empty() {
        return;
    }
    let load = Load {
        endpoint: serving.endpoint.name.clone(),
        saga: serving.saga.name().clone(),
        instances: instances.clone(),
        keys: Vec::new(),
        messages: Vec::new(),
    };
    match shared.ports.store.load(load).await {
        Ok(loaded) => {
            let (cap, now) = (shared.settings.parked_cap, shared.ports.clock.now());
            serving.waits.note(&instances, &loaded, cap, |stored| serving.reads(stored), now);
        }
        Err(error) => tracing::warn!("cannot see what waits: {error}"),
    }
}

/// Sends a delivery to its lane; waits when the lane is full. `false` when the engine stops.
async fn route(
    shared: &Shared,
    serving: &Serving,
    delivery: Delivery,
    settler: &Arc<dyn knarr_model::ports::transport::Settler>,
) -> bool {
    shared.counters.received.add(1);
    shared.counters.without_id.add(usize::from(delivery.without_id));
    if let Some(id) = delivery.headers.text(QUARANTINE_ID).and_then(|id| id.parse().ok()) {
        // Somebody moved it back: it is known, starts nothing, and its row counts it.
        shared.counters.returned_mirrors.add(1);
        *serving.counts.lock().copies.entry(id).or_default() += 1;
    }
    let mut incoming = router::of_delivery(&*serving.saga, delivery, settler);
    incoming.held = Some(serving.hand.take(incoming.received_at));
    let instance = router::lane(serving, &incoming);
    let door = &serving.lanes[lane_of(instance, serving.lanes.len())];
    tokio::select! {
        biased;
        // Not sent: it is not settled either, so closing the consumer returns it.
        () = shared.tokens.process().cancelled() => false,
        sent = door.broker.send(incoming) => sent.is_ok(),
    }
}

async fn wait_for_change(shared: &Shared, serving: &Serving) {
    let mut admission = serving.admission.subscribe();
    if *admission.borrow_and_update() == Admission::Go {
        return;
    }
    tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => {}
        _ = admission.changed() => {}
    }
}
