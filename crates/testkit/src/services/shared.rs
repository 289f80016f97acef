//! One instance of each service for all test processes of a checkout, found by a file.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::node::Node;
use super::process::watch;
use super::server::Server;

/// Minutes after which instances that no test asked for are ended.
const IDLE_MINUTES: u32 = 45;

/// A service that tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The broker.
    Rabbitmq,
    /// The database server.
    Postgres,
}

impl Service {
    /// Both of them.
    pub const ALL: [Service; 2] = [Service::Rabbitmq, Service::Postgres];

    /// The variable through which a URL is given.
    pub fn variable(self) -> &'static str {
        match self {
            Service::Rabbitmq => "KNARR_TEST_AMQP_URL",
            Service::Postgres => "KNARR_TEST_DATABASE_URL",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Service::Rabbitmq => "rabbitmq",
            Service::Postgres => "postgres",
        }
    }
}

/// What tests connect to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Broker(Node),
    Database(Server),
    Url(String),
}

impl Found {
    fn url(&self) -> String {
        match self {
            Found::Broker(node) => node.url(),
            Found::Database(server) => server.url(),
            Found::Url(url) => url.clone(),
        }
    }

    fn is_up(&self) -> bool {
        match self {
            Found::Broker(node) => node.is_up(),
            Found::Database(server) => server.is_up(),
            Found::Url(_) => true,
        }
    }

    fn remove(&self) {
        match self {
            Found::Broker(node) => {
                node.stop();
                node.remove();
            }
            Found::Database(server) => {
                server.stop();
                server.remove();
            }
            Found::Url(_) => {}
        }
    }
}

/// Finds the service as the module says, starting it if need be.
pub(super) fn find(service: Service) -> Found {
    static BROKER: OnceLock<Found> = OnceLock::new();
    static DATABASE: OnceLock<Found> = OnceLock::new();
    let once = match service {
        Service::Rabbitmq => &BROKER,
        Service::Postgres => &DATABASE,
    };
    let found = once.get_or_init(|| {
        let _lock = lock(service);
        let given = std::env::var(service.variable()).ok().filter(|url| !url.is_empty());
        let known = read(service);
        match (given, known) {
            // The URL of our own instance, handed on by whoever started it.
            (Some(url), Some(ours)) if ours.url() == url => ours,
            (Some(url), _) => Found::Url(url),
            (None, Some(ours)) if ours.is_up() => ours,
            (None, stale) => {
                if let Some(stale) = stale {
                    stale.remove();
                }
                launch(service)
            }
        }
    });
    if !matches!(found, Found::Url(_)) {
        keep_used(service);
    }
    found.clone()
}

/// Notes that the service is used, now and for as long as this process runs: a test may take longer
/// than a service is kept for nobody.
fn keep_used(service: Service) {
    static KEPT: [Once; 2] = [const { Once::new() }; 2];
    let note = move || {
        let _best_effort = File::create(used_file(service));
    };
    note();
    KEPT[service as usize].call_once(|| {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(60));
                // Whoever stopped it meanwhile is not contradicted.
                if used_file(service).exists() {
                    note();
                }
            }
        });
    });
}

/// Starts the service unless it runs or a URL is given, and returns the URL.
///
/// # Panics
/// When it is not installed or does not start.
pub fn start(service: Service) -> String {
    find(service).url()
}

/// The URL of the instance of ours that runs, if one does.
pub fn status(service: Service) -> Option<String> {
    let _lock = lock(service);
    read(service).filter(Found::is_up).map(|found| found.url())
}

/// Ends the instance of ours, if one runs, and removes its folder. Whether there was one.
pub fn stop(service: Service) -> bool {
    let _lock = lock(service);
    let known = read(service);
    if let Some(found) = &known {
        found.remove();
        let _best_effort = fs::remove_file(state_file(service));
        let _best_effort = fs::remove_file(used_file(service));
    }
    known.is_some()
}

fn launch(service: Service) -> Found {
    let (found, dir) = match service {
        Service::Rabbitmq => {
            let node = Node::start_new();
            write(service, &node);
            (Found::Broker(node.clone()), node.dir().clone())
        }
        Service::Postgres => {
            let server = Server::start_new();
            write(service, &server);
            (Found::Database(server.clone()), server.dir().clone())
        }
    };
    File::create(used_file(service)).expect("the temporary folder can be written");
    let idle = format!(
        "[ ! -e '{used}' ] || [ -n \"$(find '{used}' -mmin +{IDLE_MINUTES})\" ]",
        used = used_file(service).display()
    );
    watch(&dir, &idle);
    found
}

fn read(service: Service) -> Option<Found> {
    fn parse<T: DeserializeOwned>(path: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
    let path = state_file(service);
    match service {
        Service::Rabbitmq => parse(&path).map(Found::Broker),
        Service::Postgres => parse(&path).map(Found::Database),
    }
}

fn write<T: Serialize>(service: Service, state: &T) {
    let text = serde_json::to_vec_pretty(state).expect("plain data");
    fs::write(state_file(service), text).expect("the temporary folder can be written");
}

/// Held while an instance is looked for, started or ended; other test processes wait.
fn lock(service: Service) -> File {
    let file = File::create(path(service, "lock")).expect("the temporary folder can be written");
    file.lock().expect("a lock on our own file");
    file
}

fn state_file(service: Service) -> PathBuf {
    path(service, "json")
}

fn used_file(service: Service) -> PathBuf {
    path(service, "used")
}

/// One folder per checkout and user, so that neighbours do not share instances.
fn path(service: Service, extension: &str) -> PathBuf {
    let mut hash = DefaultHasher::new();
    (env!("CARGO_MANIFEST_DIR"), std::env::var_os("USER")).hash(&mut hash);
    let dir = std::env::temp_dir().join(format!("knarr-services-{:x}", hash.finish()));
    fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir.join(format!("{}.{extension}", service.file()))
}
