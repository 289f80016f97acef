//! Every bound of the way out, in one place.

use std::time::Duration;

use crate::ssrf::Allow;

/// How a [`crate::Client`] behaves. Every wait and size has its bound here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long connecting may take, name lookup and TLS included. Keep it below `silence`, or a
    /// server that hangs while connecting counts as one that may have taken the request.
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// How long a server may say nothing, before its answer and within it. Default 10 s.
    pub silence: Duration,
    /// How long a whole exchange may take, whatever trickles in. Default 20 s.
    pub timeout: Duration,
    /// The largest answer in bytes, counted after inflating it. Default 1 MiB.
    pub max_body: usize,
    /// No `Retry-After` counts for longer than this. Default one hour.
    pub longest_wait: Duration,
    /// Idle connections kept per host. Default 8.
    pub idle_per_host: usize,
    /// What we call ourselves. The word gzip asks some services for compressed answers.
    pub user_agent: String,
    /// Addresses and hosts that may be called though they are not on the public internet.
    /// Default none (`KNARR_HTTP_ALLOW`).
    pub allow: Allow,
    /// Certificates (PEM) that are trusted besides the system's. Default none.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connect_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            max_body: 1 << 20,
            longest_wait: Duration::from_secs(3600),
            idle_per_host: 8,
            user_agent: concat!("knarr/", env!("CARGO_PKG_VERSION"), " (gzip)").to_owned(),
            allow: Allow::default(),
            extra_roots: Vec::new(),
        }
    }
}
