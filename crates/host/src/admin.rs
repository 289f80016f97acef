//! The admin API of a process: its listener, who may come in, and what it looks through.

use std::net::SocketAddr;
use std::sync::Arc;

use knarr_admin::{Bound, Sources, Token, Tokens};
use knarr_guard::notice::Sender;
use knarr_model::CancellationToken;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::{Clock, Transport};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::error::Error;
use crate::laid::Laid;
use crate::standing::Standing;
use crate::token_file;

/// The admin API of a process.
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    pub(crate) token: Token,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
}

pub(crate) async fn listen(address: SocketAddr) -> Result<Bound, Error> {
    knarr_admin::bind(address).await.map_err(|error| match error.kind() {
        // No address of this machine: starting again does not help.
        std::io::ErrorKind::AddrNotAvailable => {
            Error::wrong("KNARR_LISTEN", format!("cannot listen on {address}: {error}"))
        }
        _ => Error::Listen { address: address.to_string(), why: error.to_string() },
    })
}

/// The token that is set, else the one of the data directory; and whether that was made just now.
pub(crate) fn token(config: &Config, clock: &dyn Clock) -> Result<(Token, bool), Error> {
    if let Some(token) = &config.token {
        return Ok((token.clone(), false));
    }
    let kept = token_file::find_or_make(&config.data_dir, clock)?;
    Ok((kept.token, kept.is_new))
}

/// Who may come in, and how much they may send: a message may be edited whatever its size, also
/// when its JSON, written as a string, takes twice as much.
pub(crate) fn settings(config: &Config, token: &Token) -> knarr_admin::Settings {
    let tokens: Tokens = config.tokens.clone().with_admin(token);
    let mut settings = knarr_admin::Settings::new(tokens);
    settings.max_edit = settings.max_edit.max(2 * config.max_body());
    settings
}

/// How the guard signs what it tells of.
pub(crate) fn signed(transport: &dyn Transport, laid: &Laid, host: &Host) -> Sender {
    let name = laid.sagas.first().map_or(laid.name.as_str(), |saga| &**saga.name());
    Sender { address: transport.address(name), host: host.clone() }
}

pub(crate) fn admit(
    bound: Bound,
    sources: Sources,
    settings: knarr_admin::Settings,
    token: Token,
) -> Admin {
    let (address, stop) = (bound.address(), CancellationToken::new());
    let router = knarr_admin::router(sources, settings);
    let stopped = stop.clone();
    let ended = tokio::spawn(async move {
        let serving = bound.serve(router, async move { stopped.cancelled().await });
        if let Err(error) = serving.await {
            tracing::error!("the admin API ended: {error}");
        }
    });
    Admin { address, token, stop, ended }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // A start that fails half-way must not leave a listener behind.
        self.stop.cancel();
        self.ended.abort();
    }
}

pub(crate) fn unready(standing: &Standing) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    let standing = standing.clone();
    Arc::new(move || standing.unready())
}

pub(crate) fn metrics(
    standing: &Standing,
) -> Arc<dyn Fn() -> Vec<knarr_admin::Metric> + Send + Sync> {
    let standing = standing.clone();
    Arc::new(move || standing.metrics())
}
