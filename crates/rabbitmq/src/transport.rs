//! A broker: its two connections, its consumers, and whether all of them work.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use knarr_model::CancellationToken;
use knarr_model::ids::Name;
use knarr_model::ports::transport::{
    Consumer as ConsumerPort, Depth, Published, Publisher as PublisherPort,
    Transport as TransportPort,
};
use knarr_model::ports::{Clock, TransportError};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::address::Broker;
use crate::broken::Broken;
use crate::connection::{Link, Live};
use crate::consumer::Consumer;
use crate::deaths::Deaths;
use crate::publisher::Publisher;
use crate::pump::Pump;
use crate::settings::Settings;
use crate::settle::InHand;
use crate::standing::Standing;
use crate::topology::Declarer;

/// Room between the pump and the engine beyond the prefetch, for errors and the dead queue.
const EXTRA_ROOM: usize = 64;

/// A RabbitMQ broker. See [`Settings`].
pub struct Transport {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    broker: Broker,
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    publisher: Publisher,
    consumers: Mutex<Vec<Registered>>,
    pumps: TaskTracker,
}

struct Registered {
    endpoint: Name,
    standing: Standing,
    /// Stopped consumers do not count.
    stop: CancellationToken,
}

impl Transport {
    /// Starts to connect and returns at once; a broker that is away is waited for in the
    /// background. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Transport, TransportError> {
        let broker = Broker::parse(&settings).map_err(TransportError::Refused)?;
        // One provider is named here, since other crates may bring a second one into the build.
        let _set_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let settings = Arc::new(settings);
        let link = |purpose| {
            Arc::new(Link::start(purpose, broker.clone(), settings.clone(), clock.clone()))
        };
        let (publishing, consuming) = (link("publish"), link("consume"));
        let publisher = Publisher::new(publishing.clone(), settings.clone(), clock.clone());
        Ok(Transport {
            settings,
            clock,
            broker,
            publishing,
            consuming,
            publisher,
            consumers: Mutex::default(),
            pumps: TaskTracker::new(),
        })
    }

    fn declarer<'a>(&self, live: &'a Live) -> Declarer<'a> {
        Declarer::on(live, self.settings.deadline)
    }
}

#[async_trait]
impl PublisherPort for Transport {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        self.publisher.publish(messages).await
    }
}

#[async_trait]
impl TransportPort for Transport {
    async fn consume(
        &self,
        endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn ConsumerPort>, TransportError> {
        let room = usize::from(endpoint.prefetch) + EXTRA_ROOM;
        let (out, incoming) = mpsc::channel(room);
        let stop = CancellationToken::new();
        let in_hand = Arc::new(InHand::new(self.settings.deadline));
        let standing: Standing = Arc::new(Mutex::new(Err("not consuming yet".to_owned())));
        let pump = Pump {
            link: self.consuming.clone(),
            settings: self.settings.clone(),
            clock: self.clock.clone(),
            endpoint: endpoint.clone(),
            in_hand: in_hand.clone(),
            standing: standing.clone(),
            deaths: Deaths::default(),
            out,
            stop: stop.clone(),
        };
        let first = match self.consuming.attempted().await {
            Err(_away) => None,
            Ok(live) => {
                self.declarer(&live).compare(endpoint).await;
                match pump.subscribe(&live).await {
                    Ok(first) => Some(first),
                    Err(refused @ Broken::Refused(..)) => return Err(refused.into()),
                    Err(Broken::Closed(_) | Broken::Away(_)) => None,
                }
            }
        };
        if first.is_some() {
            *standing.lock() = Ok(());
        }
        let mut consumers = self.consumers.lock();
        consumers.retain(|it| !it.stop.is_cancelled());
        consumers.push(Registered {
            endpoint: endpoint.name.clone(),
            standing,
            stop: stop.clone(),
        });
        drop(consumers);
        Ok(Box::new(Consumer {
            in_hand,
            incoming,
            left: VecDeque::new(),
            pump: self.pumps.spawn(pump.run(first)),
            on_drop: stop.clone().drop_guard(),
            stop,
            patience: self.settings.deadline,
        }))
    }

    async fn declare(&self, endpoint: &ReceiveEndpoint) -> Result<(), TransportError> {
        let live = self.consuming.attempted().await.map_err(TransportError::Away)?;
        let mut declarer = self.declarer(&live);
        declarer.compare(endpoint).await;
        declarer.endpoint(endpoint).await?;
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, TransportError> {
        let live = self.consuming.attempted().await.map_err(TransportError::Away)?;
        let queue = self.declarer(&live).existing_queue(queue).await?;
        Ok(Depth { ready: u64::from(queue.message_count()), consumers: queue.consumer_count() })
    }

    fn health(&self) -> Result<(), String> {
        let publishing = self.publishing.now()?;
        let consuming = self.consuming.now()?;
        for live in [&publishing, &consuming] {
            if let Some(reason) = live.blocked() {
                return Err(format!("the broker takes no messages: {reason}"));
            }
        }
        let consumers = self.consumers.lock();
        let idle = consumers.iter().filter(|it| !it.stop.is_cancelled()).find_map(|it| {
            let why = it.standing.lock().clone().err()?;
            Some(format!("{} does not consume: {why}", it.endpoint))
        });
        idle.map_or(Ok(()), Err)
    }

    fn address(&self, endpoint: &str) -> String {
        self.broker.address(endpoint)
    }

    async fn close(&self) {
        for consumer in self.consumers.lock().drain(..) {
            consumer.stop.cancel();
        }
        self.pumps.close();
        let _best_effort = tokio::time::timeout(self.settings.deadline, self.pumps.wait()).await;
        self.publisher.close().await;
        self.publishing.close().await;
        self.consuming.close().await;
    }
}
