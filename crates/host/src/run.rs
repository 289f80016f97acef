//! Serves until it is told to stop, or until the process is no longer whole.

use std::future::Future;
use std::pin::pin;

use knarr_model::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::laid::Laid;
use crate::server::{Server, Start};

/// Serves until `shutdown` ends or the process is no longer whole; `started` sees the server once it
/// runs.
pub(crate) async fn run(
    laid: Laid,
    config: Config,
    start: Start,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Server),
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    let mut starting = pin!(Server::start(laid, config, start, stop.clone()));
    let server = tokio::select! {
        biased;
        () = &mut shutdown => {
            stop.cancel();
            return match starting.await {
                Ok(server) => {
                    server.stop().await;
                    Ok(())
                }
                Err(Error::Closed) => Ok(()),
                Err(error) => Err(error),
            };
        }
        server = &mut starting => server?,
    };
    started(&server);
    let broken = tokio::select! {
        biased;
        () = &mut shutdown => None,
        why = server.broken() => Some(why),
    };
    server.stop().await;
    broken.map_or(Ok(()), |why| Err(Error::Restart(why)))
}
