//! What can be set about the broker, each with its unit and default.

use std::fmt;
use std::time::Duration;

/// A client certificate for brokers that ask for one.
#[derive(Clone)]
pub struct Identity {
    /// The certificate chain, PEM.
    pub certificate: String,
    /// The private key, PKCS#8 PEM.
    pub key: String,
}

/// How the broker is reached and how long it may take.
#[derive(Clone)]
pub struct Settings {
    /// `amqp[s]://user:password@host:port[,host:port…]/vhost`; hosts are tried in order. Without a
    /// virtual host (or with an empty one) it is `/`.
    pub url: String,
    /// The name that the broker shows for our connections. Default `knarr`.
    pub application: String,
    /// Certificate authorities to trust besides those of the system, PEM. Default none.
    pub authorities: Option<String>,
    /// Our certificate, for brokers that ask for one. Default none.
    pub identity: Option<Identity>,
    /// A connection that was silent for this long is dead; whole seconds. Default 15 s.
    pub heartbeat: Duration,
    /// How long one attempt at connecting to one host may take. Default 10 s.
    pub connect_timeout: Duration,
    /// The wait after the first failed attempt; it doubles with each further one. Default 200 ms.
    pub reconnect_first: Duration,
    /// The longest wait between attempts. Default 5 s.
    pub reconnect_most: Duration,
    /// How long the broker may take for one answer, and one call of `publish` as a whole; a
    /// message without a confirm by then is `Unknown`. Default 10 s.
    pub deadline: Duration,
    /// The largest body the broker takes, in bytes: 128 MiB to 3.13, 16 MiB from 4.0. Larger ones
    /// are `Impossible`, and so is what the broker itself refuses. Default 128 MiB.
    pub max_message: usize,
    /// Body bytes that one consumer holds at once, about: the prefetch is lowered when bodies are
    /// large. Default 64 MiB.
    pub prefetch_bytes: usize,
    /// A consumer that neither gets nor settles anything for this long is looked at: when its queue
    /// should have given it something it subscribes again, and when it holds what it should have
    /// settled the transport is not well. Default 3 min, longer than any delivery is meant to wait.
    pub no_progress: Duration,
}

/// A part of the settings that may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The broker's URL.
    Url,
    /// Whom we trust.
    Authorities,
    /// Our certificate.
    Certificate,
    /// Its key.
    Key,
}

impl Settings {
    /// The defaults for the broker at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Settings {
            url: url.into(),
            application: "knarr".to_owned(),
            authorities: None,
            identity: None,
            heartbeat: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(10),
            reconnect_first: Duration::from_millis(200),
            reconnect_most: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            max_message: 128 << 20,
            prefetch_bytes: 64 << 20,
            no_progress: Duration::from_secs(180),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL, which holds a password, nor the key.
        f.debug_struct("Settings")
            .field("application", &self.application)
            .field("heartbeat", &self.heartbeat)
            .field("connect_timeout", &self.connect_timeout)
            .field("deadline", &self.deadline)
            .field("max_message", &self.max_message)
            .field("prefetch_bytes", &self.prefetch_bytes)
            .field("no_progress", &self.no_progress)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
