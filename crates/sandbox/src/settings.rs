//! How the stand-ins behave, and where they get the time from.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Where the stand-ins get the time from.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How the stand-ins behave.
#[derive(Clone)]
pub struct Settings {
    /// VirusTotal requests that `ok-key` has: so many in each window.
    pub quota: Vec<(u32, Duration)>,
    /// How long Safe Browsing says that an answer holds.
    pub cache_duration: Duration,
    /// How long every answer takes.
    pub latency: Duration,
    /// The time.
    pub now: Now,
}

impl Default for Settings {
    /// A public key's quota (4 a minute, 500 a day), answers that hold five minutes, no latency.
    fn default() -> Self {
        Settings {
            quota: vec![(4, Duration::from_secs(60)), (500, Duration::from_secs(86_400))],
            cache_duration: Duration::from_secs(300),
            latency: Duration::ZERO,
            now: Arc::new(wall_clock),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in is no part of the engine: its own clock")]
fn wall_clock() -> DateTime<Utc> {
    Utc::now()
}
