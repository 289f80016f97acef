//! Keeps a subscription up and hands over what comes, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future;
use knarr_model::CancellationToken;
use knarr_model::ports::transport::{Delivery, Receipt, Settlement, Settler as _};
use knarr_model::ports::{Clock, TransportError};
use knarr_model::topology::{ReceiveEndpoint, dead_queue};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::broken::{Broken, within};
use crate::codec;
use crate::connection::{Link, Live};
use crate::names::short;
use crate::settings::Settings;
use crate::settle::InHand;
use crate::topology::Declarer;

/// Messages of the dead queue in hand at once.
const DEAD_PREFETCH: u16 = 16;

/// How often the dead queue is looked at. It is hardly ever used, and consuming from a quorum queue
/// that has no leader costs the connection [seen on 3.10]: so only one with messages is consumed.
const DEAD_LOOK: Duration = Duration::from_secs(2);

/// The wait before a subscription that was lost is made again; it doubles.
const RESUBSCRIBE: Duration = Duration::from_millis(50);

/// A subscription that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Whether a consumer really consumes, and if not, why.
pub(crate) type Standing = Arc<Mutex<Result<(), String>>>;

/// What the pump hands over.
pub(crate) type Item = Result<Delivery, TransportError>;

/// One subscription's caretaker.
pub(crate) struct Pump {
    pub(crate) link: Arc<Link>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) endpoint: ReceiveEndpoint,
    pub(crate) in_hand: Arc<InHand>,
    pub(crate) standing: Standing,
    pub(crate) out: mpsc::Sender<Item>,
    pub(crate) stop: CancellationToken,
}

/// A stream of deliveries on a channel of its own.
struct Intake {
    generation: u64,
    channel: lapin::Channel,
    stream: lapin::Consumer,
}

/// What a subscription consists of on one connection.
pub(crate) struct Subscribed {
    live: Arc<Live>,
    main: Intake,
    has_dead: bool,
    dead: Option<Intake>,
    gauge: Gauge,
}

enum End {
    Stop,
    Lost(String),
}

impl Pump {
    /// Declares and begins to consume on this connection.
    pub(crate) async fn subscribe(&self, live: &Arc<Live>) -> Result<Subscribed, Broken> {
        let mut declarer = Declarer::on(live, self.settings.deadline);
        let has_dead = declarer.endpoint(&self.endpoint).await?;
        let gauge = Gauge::new(
            self.settings.prefetch_bytes,
            self.endpoint.max_body,
            self.endpoint.prefetch,
        );
        let main = self.intake(live, &self.endpoint.name, gauge.current).await?;
        Ok(Subscribed { live: live.clone(), main, has_dead, dead: None, gauge })
    }

    /// Consumes from the dead queue once it holds something; waits until then. Cancel-safe.
    async fn dead_intake(&self, live: &Live) -> Intake {
        let queue = dead_queue(&self.endpoint.name);
        loop {
            let mut declarer = Declarer::on(live, self.settings.deadline);
            while let Ok(found) = declarer.existing_queue(&queue).await {
                if found.message_count() > 0 {
                    match self.intake(live, &queue, DEAD_PREFETCH).await {
                        Ok(intake) => return intake,
                        Err(broken) => debug!(queue, error = broken.text(), "cannot be emptied"),
                    }
                }
                self.clock.sleep(DEAD_LOOK).await;
            }
            self.clock.sleep(DEAD_LOOK).await;
        }
    }

    async fn intake(&self, live: &Live, queue: &str, prefetch: u16) -> Result<Intake, Broken> {
        let limit = self.settings.deadline;
        let channel = within(limit, "channel.open", live.connection.create_channel()).await?;
        let stream = self.consume(&channel, queue, prefetch).await?;
        let generation = self.in_hand.open(channel.clone());
        Ok(Intake { generation, channel, stream })
    }

    async fn consume(
        &self,
        channel: &lapin::Channel,
        queue: &str,
        prefetch: u16,
    ) -> Result<lapin::Consumer, Broken> {
        let limit = self.settings.deadline;
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        within(limit, "basic.qos", qos).await?;
        let queue = short("the queue", queue).map_err(|why| Broken::Refused(406, why))?;
        let options = BasicConsumeOptions::default();
        let consumed = channel.basic_consume(queue, "".into(), options, FieldTable::default());
        within(limit, "basic.consume", consumed).await
    }

    /// Runs until it is stopped or nobody listens.
    pub(crate) async fn run(self, mut first: Option<Subscribed>) {
        let stop = self.stop.clone();
        let mut failures: u32 = 0;
        let mut told = None;
        loop {
            let began = self.clock.monotonic();
            let subscribed = match first.take() {
                Some(subscribed) => Ok(subscribed),
                None => tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    made = self.resubscribe() => made,
                },
            };
            let why = match subscribed {
                Ok(mut subscribed) => {
                    *self.standing.lock() = Ok(());
                    match self.flow(&mut subscribed).await {
                        End::Stop => return self.give_back(subscribed).await,
                        End::Lost(why) => {
                            let queue = &*self.endpoint.name;
                            warn!(queue, %why, "the subscription was lost; making it again");
                            self.let_go(subscribed);
                            why
                        }
                    }
                }
                Err(None) => return,
                Err(Some(broken)) => {
                    let why = broken.text();
                    if matches!(broken, Broken::Refused(..)) && told.as_ref() != Some(&why) {
                        warn!(queue = &*self.endpoint.name, %why, "cannot subscribe");
                        told = Some(why.clone());
                        let _nobody_listens = self.out.try_send(Err(broken.into()));
                    }
                    why
                }
            };
            *self.standing.lock() = Err(why);
            if self.clock.monotonic().saturating_sub(began) > GOOD {
                failures = 0;
            }
            let pause = RESUBSCRIBE.saturating_mul(1 << failures.min(16));
            failures = failures.saturating_add(1);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep(pause.min(self.settings.reconnect_most)) => {}
            }
        }
    }

    /// `Err(None)`: the link is closed.
    async fn resubscribe(&self) -> Result<Subscribed, Option<Broken>> {
        let live = self.link.live().await.ok_or(None)?;
        let subscribed = self.subscribe(&live).await?;
        info!(queue = &*self.endpoint.name, "subscribed");
        Ok(subscribed)
    }

    /// Hands over deliveries while the subscription lasts.
    async fn flow(&self, subscribed: &mut Subscribed) -> End {
        // The old stream of the main queue runs dry while its prefetch is changed.
        let mut changing = None;
        let looked_at = subscribed.live.clone();
        let mut looking = Box::pin(self.dead_intake(&looked_at));
        loop {
            let room = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stop,
                room = self.out.reserve() => room,
            };
            let Ok(room) = room else { return End::Stop };
            let Subscribed { main, has_dead, dead, gauge, .. } = subscribed;
            let (item, is_dead) = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stop,
                item = next_of(dead.as_mut()) => (item, true),
                item = main.stream.next() => (item, false),
                intake = &mut looking, if dead.is_none() && *has_dead => {
                    *dead = Some(intake);
                    continue;
                }
            };
            let delivery = match item {
                Some(Ok(delivery)) => delivery,
                // The dead queue's trouble is not ours: it is looked at again.
                None | Some(Err(_)) if is_dead => {
                    if let Some(intake) = dead.take() {
                        self.in_hand.forget(intake.generation);
                    }
                    looking = Box::pin(self.dead_intake(&looked_at));
                    continue;
                }
                Some(Err(error)) => {
                    self.link.poke();
                    return End::Lost(error.to_string());
                }
                None => match changing.take() {
                    Some(wanted) => {
                        drop(room);
                        match self.change(main, wanted).await {
                            Ok(prefetch) => {
                                gauge.set(prefetch);
                                continue;
                            }
                            Err(end) => return end,
                        }
                    }
                    None => {
                        self.link.poke();
                        return End::Lost(
                            "the broker ended it (queue deleted or moved)".to_owned(),
                        );
                    }
                },
            };
            let generation = if is_dead { dead_generation(dead.as_ref()) } else { main.generation };
            let receipt = Receipt { generation, tag: delivery.delivery_tag };
            let size = delivery.data.len();
            let full = self.in_hand.bytes() > self.settings.prefetch_bytes.saturating_mul(2);
            self.in_hand.arrived(receipt, size);
            if full {
                drop(room);
                self.in_hand.settle(&[(receipt, Settlement::Return)]).await;
            } else {
                let now = self.clock.now();
                let inbound = codec::inbound(&self.endpoint, delivery, generation, now, is_dead);
                room.send(Ok(inbound));
            }
            if !is_dead {
                gauge.note(size);
                if changing.is_none()
                    && let Some(wanted) = gauge.change(self.in_hand.count(generation), full)
                {
                    let canceled = self.cancel(main).await;
                    if let Err(broken) = canceled {
                        return End::Lost(broken.text());
                    }
                    changing = Some(wanted);
                }
            }
        }
    }

    async fn cancel(&self, intake: &Intake) -> Result<(), Broken> {
        let tag = intake.stream.tag();
        let canceled = intake.channel.basic_cancel(tag, BasicCancelOptions::default());
        within(self.settings.deadline, "basic.cancel", canceled).await
    }

    /// Consumes again on the same channel, since the broker applies a prefetch to new consumers
    /// only. What is in hand from the old one counts against `wanted`.
    async fn change(&self, main: &mut Intake, wanted: u16) -> Result<u16, End> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(End::Stop),
            () = self.in_hand.at_most(self.settings.prefetch_bytes) => {}
        }
        let in_hand = u16::try_from(self.in_hand.count(main.generation)).unwrap_or(u16::MAX);
        let prefetch = wanted.saturating_sub(in_hand).max(1);
        debug!(queue = &*self.endpoint.name, prefetch, "the prefetch follows the size of bodies");
        let consumed = self.consume(&main.channel, &self.endpoint.name, prefetch).await;
        main.stream = consumed.map_err(|broken| End::Lost(broken.text()))?;
        Ok(prefetch)
    }

    /// Leaves channels that are of no use any more: the broker has what came over them.
    fn let_go(&self, subscribed: Subscribed) {
        for intake in [Some(subscribed.main), subscribed.dead].into_iter().flatten() {
            self.in_hand.forget(intake.generation);
        }
    }

    /// Stops in an orderly way: no new deliveries, then everything goes back, then the channels.
    async fn give_back(&self, subscribed: Subscribed) {
        let intakes: Vec<_> =
            [Some(subscribed.main), subscribed.dead].into_iter().flatten().collect();
        // All are told to stop before any is waited for.
        let canceled = future::join_all(intakes.iter().map(|intake| self.cancel(intake)));
        if let Some(error) = canceled.await.into_iter().find_map(Result::err) {
            debug!(error = error.text(), "a consumer was not cancelled");
        }
        future::join_all(intakes.into_iter().map(|intake| self.empty(intake))).await;
    }

    async fn empty(&self, mut intake: Intake) {
        let generation = intake.generation;
        // What the client still holds comes before the end of its stream.
        let drained = async {
            while let Some(Ok(delivery)) = intake.stream.next().await {
                let receipt = Receipt { generation, tag: delivery.delivery_tag };
                self.in_hand.arrived(receipt, delivery.data.len());
            }
        };
        let limit = self.settings.deadline.min(Duration::from_secs(3));
        let _best_effort = tokio::time::timeout(limit, drained).await;
        let back: Vec<_> = self
            .in_hand
            .on(generation)
            .into_iter()
            .map(|receipt| (receipt, Settlement::Return))
            .collect();
        self.in_hand.settle(&back).await;
        self.in_hand.forget(generation);
        // The client's stream says nothing of what was dropped; the channel's end frees the rest.
        let closed = intake.channel.close(200, "stopped".into());
        let _best_effort = within(limit, "channel.close", closed).await;
    }
}

async fn next_of(dead: Option<&mut Intake>) -> Option<lapin::Result<lapin::message::Delivery>> {
    match dead {
        Some(intake) => intake.stream.next().await,
        None => future::pending().await,
    }
}

fn dead_generation(dead: Option<&Intake>) -> u64 {
    dead.map_or(0, |intake| intake.generation)
}

/// How many messages may be in hand, by the bytes seen.
#[derive(Debug)]
struct Gauge {
    budget: usize,
    most: u16,
    current: u16,
    average: usize,
    seen: u32,
}

impl Gauge {
    /// Begins with what fits if every body is as large as the endpoint takes.
    fn new(budget: usize, max_body: usize, most: u16) -> Self {
        let mut gauge = Gauge { budget, most: most.max(1), current: 1, average: 0, seen: 0 };
        gauge.current = gauge.fitting(max_body);
        gauge
    }

    fn fitting(&self, size: usize) -> u16 {
        let fitting = self.budget / size.max(1);
        u16::try_from(fitting).unwrap_or(u16::MAX).clamp(1, self.most)
    }

    fn note(&mut self, size: usize) {
        self.average = if self.seen == 0 && self.average == 0 {
            size
        } else {
            // Rises at once, falls slowly: what was large may come again.
            (self.average * 7 / 8 + size / 8).max(size / 4)
        };
        self.seen = self.seen.saturating_add(1);
    }

    /// How many should be in hand, if what comes of the present prefetch is wrong by a factor of
    /// two. `in_hand` are there already.
    fn change(&self, in_hand: usize, full: bool) -> Option<u16> {
        let in_hand = u16::try_from(in_hand).unwrap_or(u16::MAX);
        let fitting = self.fitting(self.average);
        if full || fitting <= self.current / 2 {
            return (self.current > 1).then_some(fitting.min(self.current / 2).max(1));
        }
        let wanted = fitting.min(self.current.saturating_mul(8));
        let enough = self.seen >= u32::from(self.current) / 2;
        (enough && wanted.saturating_sub(in_hand) / 2 >= self.current).then_some(wanted)
    }

    fn set(&mut self, current: u16) {
        self.current = current;
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(gauge: &mut Gauge, size: usize) -> u16 {
        for _ in 0..10_000 {
            gauge.note(size);
            if let Some(prefetch) = gauge.change(0, false) {
                gauge.set(prefetch);
            }
        }
        gauge.current
    }

    #[test]
    fn the_prefetch_grows_with_small_bodies_and_shrinks_with_large_ones() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 2_048);
        assert_eq!(gauge.current, 8, "as if all were as large as can be");
        assert_eq!(settle(&mut gauge, 512), 2_048);
        assert!(settle(&mut gauge, 8 << 20) <= 15);
        assert!(settle(&mut gauge, 512) > 1_024);
    }

    #[test]
    fn a_small_prefetch_is_left_alone() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 5);
        gauge.note(10);
        assert_eq!((gauge.current, gauge.change(1, false)), (5, None));
    }

    #[test]
    fn what_is_in_hand_and_the_prefetch_never_exceed_what_was_asked_for() {
        let mut gauge = Gauge::new(64 << 20, 8 << 20, 20);
        (0..8).for_each(|_| gauge.note(10));
        assert_eq!(gauge.change(2, false), Some(20));
        assert_eq!(gauge.change(8, false), None, "not worth a change");
    }

    #[test]
    fn a_body_above_the_whole_budget_still_comes_one_at_a_time() {
        let mut gauge = Gauge::new(1 << 20, 8 << 20, 100);
        assert_eq!(gauge.current, 1);
        gauge.note(8 << 20);
        assert_eq!(gauge.change(1, true), None);
    }
}
