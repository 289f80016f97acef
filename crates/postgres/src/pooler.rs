//! A pooler that lends a session for one transaction is found out before anything is asked of it.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::error::{Error, classed};

/// A session is one process of the server's.
const SESSION: &str = "SELECT pg_backend_pid()";

/// Whoever else uses the pooler may take a session in between, and hide that it is shared.
const LOOKS: usize = 5;

/// Refuses a server whose sessions are not our connections' own: settings would be gone at the next
/// transaction or be met by others, and nothing would ever be heard of a notification.
pub(crate) async fn refuse(options: &PgConnectOptions) -> Result<(), Error> {
    let mut one = connect(options).await?;
    let mut other = connect(options).await?;
    let looked = look(&mut one, &mut other).await;
    let _closed = tokio::join!(one.close(), other.close());
    match looked.map_err(|error| Error::from(classed(&error)))? {
        true => Err(Error::Pooled),
        false => Ok(()),
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    options.connect().await.map_err(|error| classed(&error).into())
}

/// Whether two connections share a session, or one of them changes it.
async fn look(one: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let first = session(one).await?;
    for _ in 0..LOOKS {
        if session(other).await? == first || session(one).await? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In one message: a prepared statement may be another session's by the time it is carried out.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql(SESSION).fetch_one(connection).await?;
    sqlx::Row::try_get(&row, 0)
}
