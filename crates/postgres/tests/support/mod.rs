//! What all tests of this crate share: settings with few connections, and connections past the store.

use knarr_postgres::Settings;
use sqlx::{Connection, PgConnection};

/// Settings for many stores on one small server.
pub(crate) fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url);
    settings.engine_connections = 4;
    settings.control_connections = 2;
    settings
}

/// A connection past the store.
pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database is there")
}
