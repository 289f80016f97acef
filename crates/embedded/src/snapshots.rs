//! What an incident keeps of its run: JSON, and the unsent messages as in the outbox.

use knarr_model::incident::Whole;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::rows::get;

const WRITE: &str = "INSERT INTO snapshot (incident, whole, directory, bodies)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (incident) DO UPDATE SET whole = excluded.whole, directory = excluded.directory,
        bodies = excluded.bodies";
const FORGET: &str = "DELETE FROM snapshot WHERE incident = ?1";
const ONE: &str = "SELECT whole, directory, bodies FROM snapshot WHERE incident = ?1";

/// Keeps a run for an incident.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    incident: Uuid,
    whole: &Whole,
) -> Result<(), Error> {
    let (whole, directory, bodies) =
        whole.encode().map_err(|error| Error::Data(format!("snapshot {incident}: {error}")))?;
    let query = sqlx::query(WRITE).bind(incident).bind(whole).bind(directory).bind(bodies);
    query.execute(connection).await?;
    Ok(())
}

/// Forgets what an incident keeps.
pub(crate) async fn forget(connection: &mut SqliteConnection, incident: Uuid) -> Result<(), Error> {
    sqlx::query(FORGET).bind(incident).execute(connection).await?;
    Ok(())
}

/// What an incident keeps.
pub(crate) async fn one(
    connection: &mut SqliteConnection,
    incident: Uuid,
) -> Result<Option<Whole>, Error> {
    let row = sqlx::query(ONE).bind(incident).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let (whole, directory): (String, String) = (get(&row, 0)?, get(&row, 1)?);
    Whole::decode(&whole, &directory, get(&row, 2)?).map(Some).map_err(Error::Data)
}
