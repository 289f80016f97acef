//! Where the file is, and how much one process may have in hand.

use std::path::PathBuf;
use std::time::Duration;

use knarr_model::statement::Script;

/// Settings of the embedded store and transport.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The SQLite file; its folders are made, `<path>.lock` stands beside it.
    pub path: PathBuf,
    /// Whether opening makes the file and brings its schema up to date; else it must be so already.
    pub migrate: bool,
    /// Migrations of the sagas' own tables, carried out with those of the schema.
    pub scripts: Vec<Script>,
    /// Connections that read (load, lists, deliveries); at least 1.
    pub readers: u32,
    /// Writes that may wait for the one writer before callers wait.
    pub waiting_writes: usize,
    /// Writes that share one SQLite transaction, and so one fsync, at most.
    pub group: usize,
    /// How long acknowledgements may wait for a write that they can join.
    pub linger: Duration,
    /// How long to wait for a process that is just ending to let go of the file.
    pub lock_wait: Duration,
    /// Page cache of the writing connection in KiB; readers take a quarter each.
    pub cache_kib: u32,
    /// Bodies above this many bytes are refused when published.
    pub max_body: usize,
}

impl Settings {
    /// The defaults on `path`.
    pub fn new(path: impl Into<PathBuf>) -> Settings {
        Settings {
            path: path.into(),
            migrate: true,
            scripts: Vec::new(),
            readers: 4,
            waiting_writes: 256,
            group: 64,
            linger: Duration::from_millis(5),
            lock_wait: Duration::from_secs(2),
            cache_kib: 32 * 1024,
            max_body: 128 << 20,
        }
    }
}
