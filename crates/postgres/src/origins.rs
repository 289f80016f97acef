//! Start messages of live runs: what is set aside when a run fails.

use std::sync::Arc;

use knarr_model::commit::{Origin, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::ports::StoreError;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Failed;
use crate::rows::{self, Query};

const ONE: &str = "
SELECT run, message_id, fingerprint, envelope
FROM origin WHERE saga = $1 AND instance = $2 AND run = $3";

const PUT: &str = "
INSERT INTO origin (saga, instance, run, message_id, fingerprint, envelope)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (instance, saga, run) DO UPDATE
SET message_id = excluded.message_id, fingerprint = excluded.fingerprint,
    envelope = excluded.envelope";

const DELETE_OF_INSTANCE: &str = "DELETE FROM origin WHERE saga = $1 AND instance = $2";

/// The start message of a run.
pub(crate) async fn one(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
    run: u32,
) -> Result<Option<Origin>, Failed> {
    let row = sqlx::query(ONE)
        .bind(saga)
        .bind(instance.0)
        .bind(i64::from(run))
        .fetch_optional(connection)
        .await?;
    row.map(|row| read(&row))
        .transpose()
        .map_err(|error| rows::unreadable("the start message of", instance, &error).into())
}

/// Puts the start message of a run back.
pub(crate) async fn put(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
    origin: &Origin,
) -> Result<(), Failed> {
    sqlx::query(PUT)
        .bind(saga)
        .bind(instance.0)
        .bind(i64::from(origin.run))
        .bind(origin.message_id.0)
        .bind(origin.fingerprint)
        .bind(rows::to_json(&*origin.envelope)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes the start messages of an instance.
pub(crate) async fn delete_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Failed> {
    sqlx::query(DELETE_OF_INSTANCE).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Origin, String> {
    let fingerprint: &[u8] = rows::get(row, "fingerprint")?;
    Ok(Origin {
        run: rows::count(row, "run")?,
        message_id: MessageId(rows::get(row, "message_id")?),
        fingerprint: fingerprint.try_into().map_err(|_| "its fingerprint is cut".to_owned())?,
        envelope: Arc::new(rows::json(row, "envelope")?),
    })
}

/// Start messages as the columns that a commit writes and deletes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    instance: Vec<Uuid>,
    run: Vec<i64>,
    message_id: Vec<Uuid>,
    fingerprint: Vec<[u8; 32]>,
    envelope: Vec<String>,
    forgotten_instance: Vec<Uuid>,
    forgotten_run: Vec<i64>,
}

impl Columns {
    /// A run that starts and ends in one slice leaves nothing.
    pub(crate) fn push(&mut self, slice: &Slice) -> Result<(), StoreError> {
        let Some(instance) = slice.key else { return Ok(()) };
        let begins = slice.origin.as_ref().filter(|origin| slice.forget_origin != Some(origin.run));
        if let Some(origin) = begins {
            self.envelope.push(rows::to_json(&*origin.envelope)?);
            self.instance.push(instance.0);
            self.run.push(origin.run.into());
            self.message_id.push(origin.message_id.0);
            self.fingerprint.push(origin.fingerprint);
        }
        if let Some(run) = slice.forget_origin {
            self.forgotten_instance.push(instance.0);
            self.forgotten_run.push(run.into());
        }
        Ok(())
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.instance)
            .bind(self.run)
            .bind(self.message_id)
            .bind(self.fingerprint)
            .bind(self.envelope)
            .bind(self.forgotten_instance)
            .bind(self.forgotten_run)
    }
}
