//! From a URL's scheme to an adapter: the only place that picks one.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::ports::{Clock, Incidents, Records, Store, Transport};
use knarr_model::{CancellationToken, RetryPolicy, Script};

use crate::config::{BrokerAt, Config, StoreAt};
use crate::error::Error;
use crate::late::Arrived;

/// A store that is open.
pub(crate) enum OpenStore {
    Embedded(knarr_embedded::Store),
    Postgres(knarr_postgres::Store),
}

impl OpenStore {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            OpenStore::Embedded(store) => Arc::new(store.clone()),
            OpenStore::Postgres(store) => Arc::new(store.clone()),
        }
    }

    pub(crate) fn records(&self) -> Arc<dyn Records> {
        match self {
            OpenStore::Embedded(store) => Arc::new(store.clone()),
            OpenStore::Postgres(store) => Arc::new(store.clone()),
        }
    }

    fn incidents(&self) -> Arc<dyn Incidents> {
        match self {
            OpenStore::Embedded(store) => Arc::new(store.clone()),
            OpenStore::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What the admin API needs of it.
    pub(crate) fn doors(&self) -> Arrived {
        Arrived { records: self.records(), incidents: self.incidents(), guarded: self.store() }
    }

    pub(crate) async fn close(&self) {
        match self {
            OpenStore::Embedded(store) => store.close().await,
            OpenStore::Postgres(store) => store.close().await,
        }
    }
}

/// Why a store did not open.
enum Refused {
    /// Trying again may help.
    Away(String),
    For(Error),
}

async fn open(
    config: &Config,
    migrate: bool,
    scripts: &[Script],
    clock: &Arc<dyn Clock>,
) -> Result<OpenStore, Refused> {
    let refused = |away: bool, misfit: bool, text: String| match (away, misfit) {
        (true, _) => Refused::Away(text),
        (false, misfit) => Refused::For(unfit(misfit, text)),
    };
    match &config.store {
        StoreAt::Sqlite(path) => {
            let mut settings = knarr_embedded::Settings::new(path);
            settings.migrate = migrate;
            settings.scripts = scripts.to_vec();
            let opened = knarr_embedded::Store::open(settings, clock.clone()).await;
            opened
                .map(OpenStore::Embedded)
                .map_err(|e| refused(e.is_transient(), e.is_misfit(), e.to_string()))
        }
        StoreAt::Postgres { .. } => {
            let mut settings = postgres(config);
            settings.migrate = migrate;
            settings.scripts = scripts.to_vec();
            let opened = knarr_postgres::Store::connect(settings).await;
            opened
                .map(OpenStore::Postgres)
                .map_err(|e| refused(e.is_transient(), e.is_misfit(), e.to_string()))
        }
    }
}

/// A store that a person has to change something about, or one that refuses.
fn unfit(misfit: bool, why: String) -> Error {
    match misfit {
        true => Error::wrong("KNARR_STORE", why),
        false => Error::Store(why),
    }
}

fn postgres(config: &Config) -> knarr_postgres::Settings {
    let (url, schema, connections) = match &config.store {
        StoreAt::Postgres { url, schema, connections } => {
            (url.as_str(), schema.as_str(), *connections)
        }
        StoreAt::Sqlite(_) => ("", "", 1),
    };
    let mut settings = knarr_postgres::Settings::new(url).schema(schema);
    settings.engine_connections = connections;
    settings
}

/// Opens the store, or says at once why not. `scripts` are those of the sagas' own tables.
pub(crate) async fn store(
    config: &Config,
    migrate: bool,
    scripts: &[Script],
    clock: &Arc<dyn Clock>,
) -> Result<OpenStore, Error> {
    open(config, migrate, scripts, clock).await.map_err(|refused| match refused {
        Refused::Away(why) => Error::Store(why),
        Refused::For(error) => error,
    })
}

/// Opens the store; one that is away is waited for, and `waiting` hears why.
///
/// # Errors
/// What waiting will not mend; [`Error::Closed`] when `stop` was cancelled meanwhile.
pub(crate) async fn store_in_time(
    config: &Config,
    (migrate, scripts): (bool, &[Script]),
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
    waiting: impl Fn(&str, Duration),
) -> Result<OpenStore, Error> {
    let policy =
        RetryPolicy::doubling(u32::MAX, Duration::from_millis(500), Duration::from_secs(5));
    let mut failures = 0;
    loop {
        match open(config, migrate, scripts, clock).await {
            Ok(store) => return Ok(store),
            Err(Refused::For(error)) => return Err(error),
            Err(Refused::Away(why)) => {
                failures += 1;
                let pause = policy.backoff(failures, clock.random(1000));
                waiting(&why, pause);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Error::Closed),
                    () = clock.sleep(pause) => {}
                }
            }
        }
    }
}

/// Brings the store's schema and the sagas' own tables up to date; returns where it is.
pub(crate) async fn migrate(
    config: &Config,
    scripts: &[Script],
    clock: &Arc<dyn Clock>,
) -> Result<String, Error> {
    match &config.store {
        StoreAt::Sqlite(path) => {
            // Opening the file brings it up to date.
            store(config, true, scripts, clock).await?.close().await;
            Ok(format!("{} is up to date", path.display()))
        }
        StoreAt::Postgres { schema, .. } => {
            let mut settings = postgres(config);
            settings.scripts = scripts.to_vec();
            let before = knarr_postgres::migrate(&settings)
                .await
                .map_err(|error| unfit(error.is_misfit(), error.to_string()))?;
            let after = knarr_postgres::SCHEMA_VERSION;
            Ok(match before == after {
                true => format!("schema {schema} is at version {after} already"),
                false => format!("schema {schema} went from version {before} to {after}"),
            })
        }
    }
}

/// The broker of its own, if there is one: it connects in the background.
pub(crate) fn broker(
    config: &Config,
    application: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn Transport>>, Error> {
    match &config.broker {
        BrokerAt::Embedded => Ok(None),
        BrokerAt::Amqp(url) => {
            let mut settings = knarr_rabbitmq::Settings::new(url);
            settings.application = application.to_owned();
            settings.authorities = config.broker_tls.authorities.clone();
            settings.identity = config.broker_tls.identity.clone();
            let transport = knarr_rabbitmq::Transport::open(settings, clock.clone())
                .map_err(|error| Error::wrong("KNARR_BROKER", error))?;
            Ok(Some(Arc::new(transport)))
        }
    }
}

/// What a bench runs on: RabbitMQ and Postgres, in a schema of its own that is removed afterwards.
pub(crate) struct Measured {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) broker_url: String,
    pub(crate) store: Arc<dyn Store>,
    opened: OpenStore,
    settings: knarr_postgres::Settings,
}

impl Measured {
    /// Broker and store once more, over connections of their own, as another process has them.
    pub(crate) async fn replica(
        &self,
        notify: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Transport>, Arc<dyn Store>), Error> {
        let mut settings = self.settings.clone();
        (settings.notify, settings.migrate) = (notify, false);
        let store = knarr_postgres::Store::connect(settings).await;
        let store = store.map_err(|error| Error::Store(error.to_string()))?;
        let transport = knarr_rabbitmq::Transport::open(
            knarr_rabbitmq::Settings::new(&self.broker_url),
            clock.clone(),
        )
        .map_err(|error| Error::wrong("KNARR_BROKER", error))?;
        Ok((Arc::new(transport), Arc::new(store)))
    }

    /// Removes the schema and closes everything.
    pub(crate) async fn clear(self) -> Result<(), Error> {
        self.transport.close().await;
        self.opened.close().await;
        let dropped = knarr_postgres::drop_schema(&self.settings).await;
        dropped.map_err(|error| Error::Store(error.to_string()))
    }
}

/// Opens what a bench runs on.
pub(crate) async fn measured(
    config: &Config,
    application: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Measured, Error> {
    let BrokerAt::Amqp(url) = &config.broker else {
        return Err(Error::wrong("KNARR_BROKER", "a bench measures RabbitMQ: give an amqp:// URL"));
    };
    let StoreAt::Postgres { schema, .. } = &config.store else {
        return Err(Error::wrong("KNARR_STORE", "a bench measures Postgres: give its URL"));
    };
    let settings = postgres(config).schema(format!("{schema}_bench"));
    let away = |error: knarr_postgres::Error| Error::Store(error.to_string());
    // One that was broken off may have left its rows.
    knarr_postgres::drop_schema(&settings).await.map_err(away)?;
    let store = knarr_postgres::Store::connect(settings.clone()).await.map_err(away)?;
    let transport = broker(config, application, clock)?
        .ok_or_else(|| Error::wrong("KNARR_BROKER", "a bench measures RabbitMQ"))?;
    Ok(Measured {
        transport,
        broker_url: url.clone(),
        store: Arc::new(store.clone()),
        opened: OpenStore::Postgres(store),
        settings,
    })
}

/// The queues in the store's own file, if it has some.
pub(crate) fn queues(store: &OpenStore) -> Option<Arc<dyn Transport>> {
    match store {
        OpenStore::Embedded(store) => Some(Arc::new(knarr_embedded::Transport::new(store))),
        OpenStore::Postgres(_) => None,
    }
}

/// Where broker and store are, without logins.
pub(crate) fn told(config: &Config) -> String {
    let broker = match &config.broker {
        BrokerAt::Embedded => "embedded queues".to_owned(),
        BrokerAt::Amqp(url) => without_login(url),
    };
    let store = match &config.store {
        StoreAt::Sqlite(path) => format!("sqlite:{}", path.display()),
        StoreAt::Postgres { url, schema, .. } => format!("{} schema {schema}", without_login(url)),
    };
    format!("{broker}, {store}")
}

/// A URL as it may be shown: neither login nor options, which may hold passwords too.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    format!("{scheme}://{hosts}/{path}")
}

#[cfg(test)]
mod tests {
    use super::without_login;

    #[test]
    fn what_is_shown_of_a_url_holds_no_secret() {
        for (url, shown) in [
            ("amqp://me:s3cret@one:5672,two/v", "amqp://one:5672,two/v"),
            ("postgres://me:s3@cret@db/app?password=s3cret", "postgres://db/app"),
            ("amqps://broker", "amqps://broker/"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }
}
