//! Sends a request within all bounds and reads its answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use knarr_model::Failure;
use reqwest::redirect::Policy;

use crate::draft::Draft;
use crate::error::Error;
use crate::fault::{lost, of_transport};
use crate::resolve::{Lookup, SystemLookup, Vetting};
use crate::response::Response;
use crate::secret::redact;
use crate::settings::Settings;
use crate::traced::Traced;

/// The guarded way out. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    settings: Arc<Settings>,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// When a certificate of the settings cannot be read.
    pub fn new(settings: Settings) -> Result<Client, Error> {
        Client::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// A client that looks names up with `lookup`.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_lookup(settings: Settings, lookup: Arc<dyn Lookup>) -> Result<Client, Error> {
        let setup = |error: reqwest::Error| Error::Setup(error.to_string());
        let mut roots = Vec::new();
        for pem in &settings.extra_roots {
            roots.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?);
        }
        let build = |trusted: Trusted| {
            let builder = bounded(&settings, lookup.clone());
            match trusted {
                Trusted::SystemAnd(roots) => builder.tls_certs_merge(roots),
                Trusted::Only(roots) => builder.tls_certs_only(roots),
            }
            .build()
        };
        let inner = match build(Trusted::SystemAnd(roots.clone())) {
            Ok(client) => client,
            // A machine without any certificates can still call plain HTTP on loopback.
            Err(error) => {
                tracing::warn!(
                    "the system's certificates cannot be read, https will fail: {error}"
                );
                build(Trusted::Only(roots)).map_err(setup)?
            }
        };
        Ok(Client { inner, settings: Arc::new(settings) })
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends the request and reads the whole answer.
    pub(crate) async fn exchange(&self, mut draft: Draft) -> Result<Response, Failure> {
        self.settings
            .allow
            .vet(&draft.url)
            .map_err(|refused| Failure::permanent("forbidden-address", refused))?;
        let traced = Traced::begin(&mut draft);
        let (repeatable, secrets) = (draft.repeatable, draft.secrets.clone());
        let host = draft.url.host_str().unwrap_or_default().to_owned();
        let answer = tokio::time::timeout(self.settings.timeout, self.attempt(draft, &host)).await;
        let answer = answer.unwrap_or_else(|_| {
            let reason = format!("no whole answer within {:?}", self.settings.timeout);
            Err(lost(repeatable, "timeout", reason))
        });
        let answer = answer.map_err(|mut failure| {
            failure.reason = redact(&format!("{host}: {}", failure.reason), &secrets);
            failure
        });
        if let Some(traced) = traced {
            traced.end(&answer);
        }
        answer
    }

    async fn attempt(&self, draft: Draft, host: &str) -> Result<Response, Failure> {
        let Draft { method, url, headers, body, repeatable, secrets } = draft;
        let request = self.inner.request(method, url).headers(headers).body(body);
        let broken = |error: reqwest::Error| of_transport(&error, repeatable);
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status().as_u16();
        tracing::debug!(host, status, "answered");
        let headers = std::mem::take(answer.headers_mut());
        let body = self.read(answer, repeatable).await?;
        let longest_wait = self.settings.longest_wait;
        let host = host.to_owned();
        Ok(Response { status, headers, body, host, secrets, repeatable, longest_wait })
    }

    /// The whole body, counted as it is inflated, so that neither a flood nor a bomb is held.
    async fn read(
        &self,
        mut answer: reqwest::Response,
        repeatable: bool,
    ) -> Result<Bytes, Failure> {
        let most = self.settings.max_body;
        let too_large = || {
            let reason = format!("the answer is larger than {most} bytes");
            match repeatable {
                true => Failure::permanent("too-large", reason),
                false => lost(false, "too-large", reason),
            }
        };
        if answer.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| of_transport(&error, repeatable))?
        {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// Whose certificates count.
enum Trusted {
    SystemAnd(Vec<reqwest::Certificate>),
    Only(Vec<reqwest::Certificate>),
}

#[expect(clippy::disallowed_methods, reason = "this crate is the one guarded way out")]
fn bounded(settings: &Settings, lookup: Arc<dyn Lookup>) -> reqwest::ClientBuilder {
    let vetting = Vetting { lookup, allow: settings.allow.clone() };
    reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.silence)
        .pool_max_idle_per_host(settings.idle_per_host)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .dns_resolver(vetting)
}
