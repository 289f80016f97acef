//! One connection to the broker that is kept up: lost, it is made again until it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use knarr_model::CancellationToken;
use knarr_model::ports::Clock;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Event};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::address::Broker;
use crate::settings::Settings;
use crate::stream;

/// How often a connection is looked at, since the client does not tell when it is lost.
const LOOK: Duration = Duration::from_millis(200);

/// A connection that was made.
pub(crate) struct Live {
    pub(crate) connection: Connection,
    /// Differs from that of every other connection of this link.
    pub(crate) number: u64,
    blocked: Mutex<Option<String>>,
}

impl Live {
    /// Why the broker takes no messages at present, if so.
    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.lock().clone()
    }

    fn is_up(&self) -> bool {
        self.connection.status().connected()
    }
}

#[derive(Clone)]
enum State {
    Starting,
    Up(Arc<Live>),
    Down(String),
    Closed,
}

/// A supervised connection.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    poke: Arc<Notify>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// Starts to connect. `purpose` is for people: `publish` or `consume`.
    pub(crate) fn start(
        purpose: &'static str,
        broker: Broker,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
    ) -> Link {
        let (sender, state) = watch::channel(State::Starting);
        let poke = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            purpose,
            broker,
            settings,
            clock,
            state: sender,
            poke: poke.clone(),
            stop: stop.clone(),
            made: AtomicU64::new(0),
            hung: false,
        };
        let task = tokio::spawn(supervisor.run());
        Link { state, poke, stop, supervisor: Mutex::new(Some(task)) }
    }

    /// The connection as soon as there is one; `None` once the link is closed. Cancel-safe.
    pub(crate) async fn live(&self) -> Option<Arc<Live>> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                State::Up(live) if live.is_up() => return Some(live.clone()),
                State::Up(_) => self.poke(),
                State::Closed => return None,
                State::Starting | State::Down(_) => {}
            }
            state.changed().await.ok()?;
        }
    }

    /// The connection, or why there is none, once the first attempt has ended.
    pub(crate) async fn attempted(&self) -> Result<Arc<Live>, String> {
        let mut state = self.state.clone();
        // An error means that the supervisor has ended, and `now` says so.
        let _ended = state.wait_for(|state| !matches!(state, State::Starting)).await.is_err();
        self.now()
    }

    /// The connection, or why there is none at present.
    pub(crate) fn now(&self) -> Result<Arc<Live>, String> {
        match &*self.state.borrow() {
            State::Up(live) if live.is_up() => Ok(live.clone()),
            State::Up(_) => {
                self.poke();
                Err("the connection was lost".to_owned())
            }
            State::Starting => Err("connecting".to_owned()),
            State::Down(why) => Err(why.clone()),
            State::Closed => Err("the transport is closed".to_owned()),
        }
    }

    /// Has the connection looked at soon: somebody saw it fail.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    /// Closes the connection and makes no new one.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let task = self.supervisor.lock().take();
        if let Some(task) = task {
            let _ended = task.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Supervisor {
    purpose: &'static str,
    broker: Broker,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
    poke: Arc<Notify>,
    stop: CancellationToken,
    made: AtomicU64,
    /// An attempt got no answer at all.
    hung: bool,
}

impl Supervisor {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                attempt = self.connect() => attempt,
            };
            let why = match attempt {
                Ok(live) => {
                    info!(purpose = self.purpose, "connected to the broker");
                    failures = 0;
                    self.state.send_replace(State::Up(live.clone()));
                    self.watch(&live).await;
                    if stop.is_cancelled() {
                        self.state.send_replace(State::Closed);
                        let closed = live.connection.close(200, "goodbye".into());
                        let limit = self.settings.deadline.min(Duration::from_secs(3));
                        let _best_effort = tokio::time::timeout(limit, closed).await;
                        break;
                    }
                    "the connection was lost".to_owned()
                }
                Err(why) => why,
            };
            if failures == 0 {
                warn!(purpose = self.purpose, %why, "no connection to the broker");
            } else {
                debug!(purpose = self.purpose, %why, failures, "no connection to the broker");
            }
            self.state.send_replace(State::Down(why));
            let pause = self.pause(failures);
            failures = failures.saturating_add(1);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
        self.state.send_replace(State::Closed);
    }

    /// Doubles with each failure; between half and all of it, so that clients do not come at once.
    fn pause(&self, failures: u32) -> Duration {
        let most = self.settings.reconnect_most;
        let whole = self.settings.reconnect_first.saturating_mul(1 << failures.min(16)).min(most);
        let half = whole / 2;
        let millis = u32::try_from(half.as_millis()).unwrap_or(u32::MAX);
        half + Duration::from_millis(u64::from(self.clock.random(millis.saturating_add(1))))
    }

    /// Tries the hosts in order.
    async fn connect(&mut self) -> Result<Arc<Live>, String> {
        let mut reasons = Vec::new();
        for uri in &self.broker.hosts {
            let host = format!("{}:{}", uri.authority.host, uri.authority.port);
            let limit = self.settings.connect_timeout;
            // A broker that hangs would keep one thread of the client for each attempt: after the
            // first, it has to show that it lives before the client is let near it.
            if self.hung {
                match tokio::time::timeout(limit, greets(uri)).await {
                    Ok(Ok(())) => self.hung = false,
                    Ok(Err(why)) => {
                        self.hung = false;
                        reasons.push(format!("{host}: {why}"));
                        continue;
                    }
                    Err(_) => {
                        reasons.push(format!("{host}: no answer within {limit:?}"));
                        continue;
                    }
                }
            }
            match tokio::time::timeout(limit, self.connect_to(uri.clone())).await {
                Ok(Ok(connection)) => {
                    let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
                    return Ok(Arc::new(Live { connection, number, blocked: Mutex::new(None) }));
                }
                Ok(Err(error)) => reasons.push(format!("{host}: {error}")),
                Err(_) => {
                    self.hung = true;
                    reasons.push(format!("{host}: no answer within {limit:?}"));
                }
            }
        }
        Err(reasons.join("; "))
    }

    async fn connect_to(&self, uri: AMQPUri) -> lapin::Result<Connection> {
        let name = format!("{} ({})", self.settings.application, self.purpose);
        // No auto-recovery: it acks with tags of channels that are gone, and gives up.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig {
            cert_chain: self.settings.authorities.clone(),
            identity: self.settings.identity.as_ref().map(|identity| OwnedIdentity::PKCS8 {
                pem: identity.certificate.clone().into_bytes(),
                key: identity.key.clone().into_bytes(),
            }),
        };
        stream::connect(uri, properties, tls).await
    }

    /// Returns when the connection is lost or is to be closed.
    async fn watch(&self, live: &Live) {
        let mut events = std::pin::pin!(live.connection.events_listener());
        let mut more = true;
        while live.is_up() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                event = events.next(), if more => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        warn!(purpose = self.purpose, %reason, "the broker takes no messages");
                        *live.blocked.lock() = Some(reason);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        info!(purpose = self.purpose, "the broker takes messages again");
                        *live.blocked.lock() = None;
                    }
                    Some(_) => {}
                    None => more = false,
                },
                () = self.poke.notified() => {}
                () = self.clock.sleep(LOOK) => {}
            }
        }
    }
}

/// Whether somebody there answers AMQP's greeting. With TLS, taking the connection must do.
async fn greets(uri: &AMQPUri) -> Result<(), String> {
    let address = (uri.authority.host.as_str(), uri.authority.port);
    let mut stream = tokio::net::TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    if uri.scheme == lapin::uri::AMQPScheme::AMQP {
        stream.write_all(b"AMQP\0\0\x09\x01").await.map_err(|e| e.to_string())?;
        stream.read_u8().await.map_err(|e| e.to_string())?;
    }
    Ok(())
}
