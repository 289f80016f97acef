//! What lies in the database, read past everything that is under test.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::world::{World, until};

/// Tables whose rows mean that something is still to be done.
const WAITING: [&str; 5] = ["outbox", "timer", "activity", "parked", "origin"];

/// A connection of ours to the database.
pub(crate) struct Stored {
    connection: PgConnection,
}

impl Stored {
    pub(crate) async fn open(world: &World) -> Stored {
        Stored::at(&world.store).await
    }

    /// A connection to another database.
    pub(crate) async fn at(url: &str) -> Stored {
        let connection = PgConnection::connect(url).await;
        Stored { connection: connection.expect("the database is there") }
    }

    /// A number that the database counts.
    pub(crate) async fn count(&mut self, query: &str) -> i64 {
        let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(&mut self.connection);
        row.await.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
    }

    /// Carries a statement out.
    pub(crate) async fn execute(&mut self, statement: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut self.connection);
        done.await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Numbers that the database counts by a name.
    pub(crate) async fn groups(&mut self, query: &str) -> BTreeMap<String, i64> {
        let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut self.connection);
        let rows = rows.await.unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Instances of url-scan by state.
    pub(crate) async fn states(&mut self) -> BTreeMap<String, i64> {
        self.groups(
            "SELECT state, count(*) FROM knarr.instance WHERE saga = 'url-scan' GROUP BY state",
        )
        .await
    }

    /// Instances that have not ended.
    pub(crate) async fn in_flight(&mut self) -> i64 {
        self.count("SELECT count(*) FROM knarr.instance WHERE state <> 'Final'").await
    }

    /// Waits until nothing is left to be done; then every one of `ended` instances must have ended,
    /// once.
    pub(crate) async fn all_ended_once(&mut self, ended: i64) {
        until("nothing is left to be done", async || {
            let mut left = Vec::new();
            for table in WAITING {
                match self.count(&format!("SELECT count(*) FROM knarr.{table}")).await {
                    0 => {}
                    rows => left.push(format!("{table}: {rows}")),
                }
            }
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
        assert_eq!(self.states().await, BTreeMap::from([("Final".to_owned(), ended)]));
        let endings = "SELECT count(*) FROM knarr.journal \
                       WHERE outcome = 'applied' AND to_state = 'Final'";
        assert_eq!(self.count(endings).await, ended, "an instance ends once");
        let starts = "SELECT count(*) FROM knarr.journal \
                      WHERE outcome = 'applied' AND event LIKE '%SubmitUrl'";
        assert_eq!(self.count(starts).await, ended, "an instance begins once");
        let odd = "SELECT count(*) FROM (SELECT instance FROM knarr.journal \
                   WHERE outcome = 'applied' GROUP BY instance, seq HAVING count(*) > 1) twice";
        assert_eq!(self.count(odd).await, 0, "no step of an instance is taken twice");
    }
}
