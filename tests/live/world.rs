//! What one test has to itself: a virtual host, a database, stand-ins for the services, a folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use knarr_sandbox::Sandbox;
use knarr_testkit::services::{postgres, rabbitmq};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// A condition that does not come true in this time never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Whole systems run beside each other would only measure how slow the machine is.
static TURN: Mutex<()> = Mutex::const_new(());

/// Everything around the servers of one test; gone with it.
pub(crate) struct World {
    /// Where the broker is, with its virtual host.
    pub(crate) broker: String,
    /// Where the database is.
    pub(crate) store: String,
    pub(crate) sandbox: Sandbox,
    folder: TempDir,
    servers: AtomicU32,
    _ours: Option<(rabbitmq::Vhost, Option<postgres::Database>)>,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// A world whose services answer at once.
    pub(crate) async fn new() -> World {
        World::with_latency(Duration::ZERO).await
    }

    /// A world whose services take so long for every answer.
    pub(crate) async fn with_latency(latency: Duration) -> World {
        let turn = TURN.lock().await;
        let (vhost, database) = tokio::join!(rabbitmq::vhost(), postgres::database());
        let (broker, store) = (vhost.url(), database.url());
        World {
            _ours: Some((vhost, Some(database))),
            ..World::around(broker, store, latency, turn).await
        }
    }

    /// A world around a broker and a database server that the test itself may kill.
    pub(crate) async fn mortal(latency: Duration) -> (World, rabbitmq::Private, postgres::Private) {
        let turn = TURN.lock().await;
        let (broker, server) =
            tokio::join!(rabbitmq::Private::launch(), postgres::Private::launch());
        let world = World::around(broker.url(), server.url(), latency, turn).await;
        (world, broker, server)
    }

    /// A world around a broker that the test has started, with a database as all others have it.
    pub(crate) async fn beside(broker: &rabbitmq::Private) -> World {
        World::beside_with_latency(broker, Duration::ZERO).await
    }

    /// The same, with services that take so long for every answer.
    pub(crate) async fn beside_with_latency(
        broker: &rabbitmq::Private,
        latency: Duration,
    ) -> World {
        let turn = TURN.lock().await;
        let (vhost, database) = tokio::join!(rabbitmq::vhost(), postgres::database());
        let store = database.url();
        World {
            _ours: Some((vhost, Some(database))),
            ..World::around(broker.url(), store, latency, turn).await
        }
    }

    /// A world on a database that the test has made.
    pub(crate) async fn on_store(store: String) -> World {
        let turn = TURN.lock().await;
        let vhost = rabbitmq::vhost().await;
        let (broker, latency) = (vhost.url(), Duration::from_millis(100));
        World { _ours: Some((vhost, None)), ..World::around(broker, store, latency, turn).await }
    }

    async fn around(
        broker: String,
        store: String,
        latency: Duration,
        turn: MutexGuard<'static, ()>,
    ) -> World {
        let settings = knarr_sandbox::Settings { latency, ..knarr_sandbox::Settings::default() };
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let sandbox = Sandbox::start(anywhere, settings).await;
        World {
            broker,
            store,
            sandbox: sandbox.expect("the sandbox listens"),
            folder: TempDir::with_prefix("knarr-live-").expect("a temporary folder"),
            servers: AtomicU32::new(0),
            _ours: None,
            _turn: turn,
        }
    }

    /// A name and an empty folder for one more server.
    pub(crate) fn room(&self) -> (String, PathBuf) {
        let number = self.servers.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("server-{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder).expect("our own folder");
        (name, folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// How much of something a test does: a small number, unless the environment names another one.
pub(crate) fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Asks again and again until the answer is there; panics with the last excuse when it never comes.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) if Instant::now() > deadline => {
                panic!("{what}: not within {PATIENCE:?}: {why}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
