//! Keeps a subscription up and hands over what comes, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use futures_util::{FutureExt as _, StreamExt as _};
use knarr_model::CancellationToken;
use knarr_model::ports::transport::{Delivery, Receipt, Settlement, Settler as _};
use knarr_model::ports::{Clock, TransportError};
use knarr_model::topology::{ReceiveEndpoint, dead_queue};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::broken::{Broken, within};
use crate::codec;
use crate::connection::{Link, Live};
use crate::deaths::Deaths;
use crate::gauge::Gauge;
use crate::names::short;
use crate::settings::Settings;
use crate::settle::InHand;
use crate::standing::{Standing, Watchdog};
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
    pub(crate) deaths: Deaths,
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

/// What comes next on a subscription.
enum Pulled {
    Delivery(lapin::message::Delivery),
    Dead(lapin::message::Delivery),
    DeadFound(Intake),
    DeadEnded,
    RanDry,
    Lost(String),
    Stop,
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
    pub(crate) async fn run(self, first: Option<Subscribed>) {
        let (in_hand, clock) = (self.in_hand.clone(), self.clock.clone());
        tokio::select! {
            biased;
            () = self.keep_up(first) => {}
            () = in_hand.ack_what_is_late(&*clock) => {}
        }
    }

    async fn keep_up(self, mut first: Option<Subscribed>) {
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
                    match self.last(&mut subscribed).await {
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

    /// Hands over deliveries while the subscription lasts and something moves.
    async fn last(&self, subscribed: &mut Subscribed) -> End {
        let (live, generation) = (subscribed.live.clone(), subscribed.main.generation);
        let watchdog = Watchdog {
            queue: self.endpoint.name.to_string(),
            in_hand: self.in_hand.clone(),
            standing: self.standing.clone(),
            clock: self.clock.clone(),
            patience: self.settings.no_progress,
            deadline: self.settings.deadline,
        };
        let why = tokio::select! {
            biased;
            end = self.flow(subscribed) => return end,
            why = watchdog.stuck(&live, generation) => why,
        };
        // For all the client knows it is sound, and it must not go on beside the next one.
        let closed = subscribed.main.channel.close(200, "nothing came".into());
        let _best_effort = within(self.settings.deadline, "channel.close", closed).await;
        End::Lost(why)
    }

    /// Hands over deliveries while the subscription lasts.
    async fn flow(&self, subscribed: &mut Subscribed) -> End {
        // The old stream of the main queue runs dry while its prefetch is changed.
        let mut changing = None;
        let live = subscribed.live.clone();
        let mut looking: BoxFuture<'_, Intake> = self.dead_intake(&live).boxed();
        loop {
            let room = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stop,
                room = self.out.reserve() => room,
            };
            let Ok(room) = room else { return End::Stop };
            let (delivery, is_dead) = match self.pull(subscribed, &mut looking).await {
                Pulled::Delivery(delivery) => (delivery, false),
                Pulled::Dead(delivery) => (delivery, true),
                Pulled::DeadFound(intake) => {
                    subscribed.dead = Some(intake);
                    continue;
                }
                Pulled::DeadEnded => {
                    // The dead queue's trouble is not ours: it is looked at again.
                    if let Some(intake) = subscribed.dead.take() {
                        self.in_hand.forget(intake.generation);
                    }
                    looking = self.dead_intake(&live).boxed();
                    continue;
                }
                Pulled::RanDry => {
                    drop(room);
                    let Some(wanted) = changing.take() else {
                        self.link.poke();
                        return End::Lost(
                            "the broker ended it (queue deleted or moved)".to_owned(),
                        );
                    };
                    match self.change(&mut subscribed.main, wanted).await {
                        Ok(prefetch) => subscribed.gauge.set(prefetch),
                        Err(end) => return end,
                    }
                    continue;
                }
                Pulled::Lost(why) => {
                    self.link.poke();
                    return End::Lost(why);
                }
                Pulled::Stop => return End::Stop,
            };
            let intake = subscribed.dead.as_ref().filter(|_| is_dead).unwrap_or(&subscribed.main);
            let (generation, size) = (intake.generation, delivery.data.len());
            let full = self.hand_over(room, generation, delivery, is_dead).await;
            let gauge = &mut subscribed.gauge;
            if !is_dead {
                gauge.note(size);
            }
            if changing.is_none() && !is_dead {
                changing = gauge.change(self.in_hand.count(generation), full);
                if changing.is_some()
                    && let Err(broken) = self.cancel(&subscribed.main).await
                {
                    return End::Lost(broken.text());
                }
            }
        }
    }

    /// Waits for whatever comes next.
    async fn pull(
        &self,
        subscribed: &mut Subscribed,
        looking: &mut BoxFuture<'_, Intake>,
    ) -> Pulled {
        let Subscribed { main, has_dead, dead, .. } = subscribed;
        let look = *has_dead && dead.is_none();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Pulled::Stop,
            item = next_of(dead.as_mut()) => match item {
                Some(Ok(delivery)) => Pulled::Dead(delivery),
                Some(Err(_)) | None => Pulled::DeadEnded,
            },
            intake = looking, if look => Pulled::DeadFound(intake),
            item = main.stream.next() => match item {
                Some(Ok(delivery)) => Pulled::Delivery(delivery),
                Some(Err(error)) => Pulled::Lost(error.to_string()),
                None => Pulled::RanDry,
            },
        }
    }

    /// Hands a delivery to the engine, or back to the broker when far too much is in hand already,
    /// which is the case when it answers `true`.
    async fn hand_over(
        &self,
        room: mpsc::Permit<'_, Item>,
        generation: u64,
        delivery: lapin::message::Delivery,
        is_dead: bool,
    ) -> bool {
        let receipt = Receipt { generation, tag: delivery.delivery_tag };
        let full = self.in_hand.bytes() > self.settings.prefetch_bytes.saturating_mul(2);
        self.in_hand.arrived(receipt, delivery.data.len());
        if full {
            drop(room);
            self.in_hand.settle(&[(receipt, Settlement::Return)]).await;
        } else {
            let (now, dead) = (self.clock.now(), is_dead.then_some(&self.deaths));
            let read = codec::inbound(&self.endpoint, delivery, generation, now, dead);
            if !is_dead {
                self.deaths.delivered_before(read.delivery_count);
            }
            room.send(Ok(read));
        }
        full
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
