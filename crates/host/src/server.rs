//! A process that serves: doors opened, engine running, admin API listening; and its orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use knarr_admin::{Draft, Sources};
use knarr_engine::{Engine, Ports, Running};
use knarr_guard::Desk;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Clock, Incidents, Records, Spans, Transport};
use knarr_model::topology::Subscription;
use knarr_model::{CancellationToken, Headers, Message, MessageId, Script};
use serde_json::value::{RawValue, to_raw_value};

use crate::admin::{Admin, admit, listen, metrics, settings, signed, token, unready};
use crate::clock::SystemClock;
use crate::compose::{self, OpenStore};
use crate::config::Config;
use crate::desk::desk;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::laid::{Laid, findings, shown};
use crate::late::LateStore;
use crate::restored;
use crate::sender::sender;
use crate::spawn::Spawner;
use crate::standing::Standing;
use crate::telemetry::{Telemetry, Who};

/// How long the engine may take beyond its drain, closing broker and store, and answers under way:
/// with a drain of 8 s a stop takes less than 10 s.
const LEAVING: Duration = Duration::from_millis(500);
const CLOSING: Duration = Duration::from_millis(900);
const ANSWERING: Duration = Duration::from_millis(300);
/// How often it is looked whether the process is still ready and whole.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked whether a start has come to its end.
const READY_LOOK: Duration = Duration::from_millis(10);

/// How a server starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Whether the store's schema is brought up to date.
    pub(crate) migrate: bool,
    /// Whether the store was brought back from a backup.
    pub(crate) after_restore: bool,
}

impl Default for Start {
    fn default() -> Self {
        Start { migrate: true, after_restore: false }
    }
}

/// A running process. See [`crate::App::start`].
pub struct Server {
    engine: Running,
    transport: Arc<dyn Transport>,
    store: OpenStore,
    config: Config,
    clock: Arc<dyn Clock>,
    host: Host,
    standing: Standing,
    admin: Admin,
    desk: Desk,
    late: LateStore,
    telemetry: Telemetry,
    /// Whether the token was made at this start.
    is_new: bool,
}

impl Server {
    pub(crate) async fn start(
        laid: Laid,
        config: Config,
        start: Start,
        stop: CancellationToken,
    ) -> Result<Server, Error> {
        #[cfg(debug_assertions)]
        crate::failpoint::arm_for_test()?;
        let found = findings(&laid.sagas, &laid.activities);
        if !found.is_empty() {
            return Err(Error::Findings(found));
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let host = sender(&laid.name, &laid.version);
        let spawner = Spawner::default();
        let standing = Standing::new(spawner.clone(), &laid.version);
        let bound = listen(config.listen).await?;
        let (token, is_new) = token(&config, &*clock)?;
        tracing::info!("admin API: http://{}", bound.address());
        let late = LateStore::default();
        let (transport, store, admin) = {
            let sources = |transport: &Arc<dyn Transport>| Sources {
                records: Arc::new(late.clone()),
                incidents: Arc::new(late.clone()),
                desk: desk(&laid.sagas, &late, &clock, signed(&**transport, &laid, &host)),
                transport: transport.clone(),
                clock: clock.clone(),
                sagas: laid.sagas.iter().map(|saga| shown(&**saga)).collect(),
                host: host.clone(),
                unready: unready(&standing),
                metrics: metrics(&standing),
            };
            let opening = Opening {
                config: &config,
                scripts: laid.scripts(),
                clock: &clock,
                standing: &standing,
                stop: &stop,
            };
            // A broker of its own needs no store to connect, so health can be asked for before the
            // store is there. Queues in the store's file come with the file.
            let (transport, store, admin) = match compose::broker(&config, &laid.name, &clock)? {
                Some(transport) => {
                    let admin = admit(bound, sources(&transport), settings(&config, &token), token);
                    (transport, opening.store(start).await?, admin)
                }
                None => {
                    let store = opening.store(start).await?;
                    let transport = compose::queues(&store)
                        .ok_or_else(|| Error::Broker("there is none".to_owned()))?;
                    let admin = admit(bound, sources(&transport), settings(&config, &token), token);
                    (transport, store, admin)
                }
            };
            late.arrive(store.doors());
            (transport, store, admin)
        };
        let desk = desk(&laid.sagas, &late, &clock, signed(&*transport, &laid, &host));
        if start.after_restore {
            restored::go_on(&desk, &laid.sagas, &*store.records(), &*clock, &stop).await?;
        }
        let ports = Ports {
            transport: transport.clone(),
            store: store.store(),
            clock: clock.clone(),
            spawn: Arc::new(spawner),
        };
        let telemetry = telemetry(&laid, &config, &host, &clock, &standing);
        let engine = engine(&laid, &config, ports, host.clone(), telemetry.spans())?;
        standing.runs(&engine);
        tokio::spawn(tell_readiness(standing.clone(), clock.clone(), admin.stop.clone()));
        Ok(Server {
            engine,
            transport,
            store,
            config,
            clock,
            host,
            standing,
            admin,
            desk,
            late,
            telemetry,
            is_new,
        })
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Scheme and authority of the admin API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.admin.address)
    }

    /// The token that opens the admin API.
    #[must_use]
    pub fn token(&self) -> &str {
        self.admin.token.reveal()
    }

    /// The admin API's address with the token in it, to be opened in a browser. The token stands
    /// behind `#`, so that no server's log ever holds it.
    #[must_use]
    pub fn console(&self) -> String {
        format!("{}/#token={}", self.url(), self.token())
    }

    /// Whether the token was made just now, so that nobody can know it yet.
    pub(crate) fn has_new_token(&self) -> bool {
        self.is_new
    }

    /// Whether the token lies in the data directory and was not set.
    pub(crate) fn keeps_token(&self) -> bool {
        self.config.token.is_none()
    }

    /// What keeps the process from being ready, one sentence each; empty when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        self.standing.unready()
    }

    /// Waits until nothing keeps the process from being ready: broker and store answer, and every
    /// queue is there and consumed from.
    pub async fn ready(&self) {
        while !self.unready().is_empty() {
            self.clock.sleep(READY_LOOK).await;
        }
    }

    /// The reading side of the store.
    #[must_use]
    pub fn records(&self) -> Arc<dyn Records> {
        self.store.records()
    }

    /// Where halts, releases and the other verbs of the guard are asked for.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Incidents, what they keep, and who did what.
    #[must_use]
    pub fn incidents(&self) -> Arc<dyn Incidents> {
        Arc::new(self.late.clone())
    }

    /// The process's clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Publishes a message as a person or another program would; returns its id once the broker has
    /// it.
    ///
    /// # Errors
    /// When the message cannot be written, nobody takes its type, or the broker is away.
    pub async fn publish<M: Message>(&self, message: &M) -> Result<MessageId, Error> {
        let payload: Box<RawValue> =
            to_raw_value(message).map_err(|error| Error::Failed(error.to_string()))?;
        let draft = Draft::new(&M::urn(), &payload, Headers::new())
            .map_err(|bad| Error::Failed(bad.to_string()))?;
        let id = MessageId(self.clock.new_id());
        publish(&*self.transport, draft, id, &*self.clock, &self.host).await?;
        Ok(id)
    }

    /// Reads messages of type `M` from a queue of this name, which is made if it is not there and
    /// stays when the process ends: what is published meanwhile waits in it.
    ///
    /// # Errors
    /// When the broker refuses the queue.
    pub async fn subscribe<M: Message>(&self, queue: &str) -> Result<Inbox<M>, Error> {
        let endpoint = self.config.endpoint(queue, vec![Subscription::to(&M::type_name())]);
        let consumer = self.transport.consume(&endpoint).await;
        consumer.map(Inbox::new).map_err(|error| Error::Broker(error.to_string()))
    }

    /// Ends when the process is no longer whole and should be started again; says why.
    pub async fn broken(&self) -> String {
        loop {
            if let Some(why) = self.standing.restart() {
                return why;
            }
            self.clock.sleep(LOOK).await;
        }
    }

    /// Stops: takes in nothing more, finishes or gives back what is in flight, closes everything.
    /// Takes less than 10 s.
    pub async fn stop(self) {
        let Server { engine, transport, store, config, mut admin, mut telemetry, .. } = self;
        // The drain itself is the engine's; giving back its lease may hang with the store.
        let stopping = tokio::time::timeout(config.engine.drain + LEAVING, engine.stop());
        if stopping.await.is_err() {
            tracing::warn!("the lease could not be given back; it runs out by itself");
        }
        admin.stop.cancel();
        let closing = async {
            transport.close().await;
            store.close().await;
        };
        let closing = async { tokio::join!(closing, telemetry.flush()) };
        // What lingers is cut off: everything that was answered is durable.
        let _cut_off = tokio::time::timeout(CLOSING, closing).await;
        let _cut_off = tokio::time::timeout(ANSWERING, &mut admin.ended).await;
    }
}

/// Publishes one message and says plainly what became of it.
pub(crate) async fn publish(
    transport: &dyn Transport,
    draft: Draft,
    id: MessageId,
    clock: &dyn Clock,
    host: &Host,
) -> Result<(), Error> {
    let (urn, exchange) = (draft.urn(), draft.exchange());
    let message = draft.outgoing(id, clock.now(), host);
    match transport.publish(&[message]).await.pop() {
        Some(Published::Confirmed) => Ok(()),
        Some(Published::Returned(_)) => Err(Error::Failed(format!(
            "nobody takes {urn}: no queue is bound to the exchange {exchange}"
        ))),
        Some(Published::Impossible(why)) => Err(Error::Failed(why)),
        Some(Published::Unknown(why)) => {
            Err(Error::Broker(format!("it is not known whether message {id} was sent: {why}")))
        }
        None => Err(Error::Broker("it gave no answer".to_owned())),
    }
}

/// What opening the store needs to know.
struct Opening<'a> {
    config: &'a Config,
    scripts: Vec<Script>,
    clock: &'a Arc<dyn Clock>,
    standing: &'a Standing,
    stop: &'a CancellationToken,
}

impl Opening<'_> {
    async fn store(&self, start: Start) -> Result<OpenStore, Error> {
        let waiting = |why: &str, pause: Duration| {
            self.standing.waits_for(&format!("the store is away: {why}"));
            let seconds = pause.as_secs_f32();
            tracing::warn!(
                "waiting for the store: {why} (KNARR_STORE); next attempt in {seconds:.1} s"
            );
        };
        let migrations = (start.migrate, self.scripts.as_slice());
        compose::store_in_time(self.config, migrations, self.clock, self.stop, waiting).await
    }
}

/// What is sent to a collector, if there is one.
fn telemetry(
    laid: &Laid,
    config: &Config,
    host: &Host,
    clock: &Arc<dyn Clock>,
    standing: &Standing,
) -> Telemetry {
    let who = Who { name: &laid.name, version: &laid.version, host };
    let plan = config.telemetry.as_ref();
    Telemetry::start(plan, &who, clock, metrics(standing), standing.exported())
}

fn engine(
    laid: &Laid,
    config: &Config,
    ports: Ports,
    host: Host,
    spans: Option<Arc<dyn Spans>>,
) -> Result<Running, Error> {
    let token = CancellationToken::new();
    let mut engine = Engine::new(ports, config.engine.clone(), host, token);
    if let Some(spans) = spans {
        engine = engine.spans(spans);
    }
    for saga in &laid.sagas {
        let mut endpoint = config.endpoint(saga.name(), saga.subscriptions());
        endpoint.ordered = saga.is_ordered();
        engine = engine.saga(saga.clone(), endpoint);
    }
    for activity in &laid.activities {
        engine = engine.activity(activity.clone());
    }
    let names: Vec<&str> = laid.sagas.iter().map(|saga| &**saga.name()).collect();
    tracing::info!(
        "{} {} serves {} over {}",
        laid.name,
        laid.version,
        names.join(", "),
        compose::told(config)
    );
    engine.start().map_err(|error| Error::Findings(vec![error.to_string()]))
}

/// The reasons in one line; where a setting may be what is wrong, it is named.
fn with_settings(unready: &[String]) -> String {
    let named = |reason: &String| match reason.split_once(": ") {
        Some(("broker", _)) => format!("{reason} (KNARR_BROKER)"),
        Some(("store", _)) => format!("{reason} (KNARR_STORE)"),
        _ => reason.clone(),
    };
    unready.iter().map(named).collect::<Vec<_>>().join("; ")
}

/// Says in the log when the process becomes ready, and why it is not.
async fn tell_readiness(standing: Standing, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut told: Option<Vec<String>> = None;
    // A start takes a moment: what is missing at once is no news.
    let mut grace = 8;
    loop {
        let unready = standing.unready();
        let fresh = told.as_ref() != Some(&unready);
        if unready.is_empty() && fresh {
            tracing::info!("ready");
            told = Some(unready);
            grace = 8;
        } else if fresh && grace == 0 {
            tracing::warn!("not ready: {}", with_settings(&unready));
            told = Some(unready);
        } else if !unready.is_empty() {
            grace = u8::saturating_sub(grace, 1);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep(LOOK) => {}
        }
    }
}
