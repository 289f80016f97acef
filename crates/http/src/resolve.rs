//! Names become addresses here, and every address is looked at before anything connects to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::ssrf::Allow;

/// No more addresses of one name are tried.
const MAX_ADDRESSES: usize = 16;

/// Looks a name up. Tests put their own in its place.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    ///
    /// # Errors
    /// Why there are none; always taken as something that may pass.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own lookup.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Resolves, vets and pins: the connection goes to the vetted addresses and is resolved no second
/// time, so that a name cannot change between the look and the call.
pub(crate) struct Vetting {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) allow: Allow,
}

/// A name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("{host} cannot be resolved: {why}")]
pub(crate) struct Unresolved {
    host: String,
    why: String,
}

impl Resolve for Vetting {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow) = (self.lookup.clone(), self.allow.clone());
        Box::pin(async move {
            let host = name.as_str();
            let unresolved = |why| Unresolved { host: host.to_owned(), why };
            let mut found =
                lookup.lookup(host).await.map_err(|error| unresolved(error.to_string()))?;
            found.truncate(MAX_ADDRESSES);
            let vetted = allow.vetted(host, found)?;
            if vetted.is_empty() {
                return Err(unresolved("it has no address".to_owned()).into());
            }
            let addresses = vetted.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
