//! The saga's own tables in its table of rows: statements, purge steps, migrations.

use knarr_model::statement::Dialects;

use crate::machine::Machine;
use crate::sql::Named;
use crate::table::Table;

impl<M: Machine> Table<M> {
    /// Names a statement on the saga's own tables: for Postgres (parameters are `$1`, `$2` …) and
    /// for SQLite (`?1`, `?2` …). A behaviour asks for it with [`crate::Effects::sql`].
    ///
    /// ```
    /// # use knarr_saga::prelude::*;
    /// # fn table<M: Machine>(m: &mut Table<M>) {
    /// m.statement("insert_finding", (
    ///     "INSERT INTO findings (scan, verdict) VALUES ($1, $2)",
    ///     "INSERT INTO findings (scan, verdict) VALUES (?1, ?2)",
    /// ));
    /// # }
    /// ```
    pub fn statement(&mut self, name: impl Into<String>, text: impl Into<Dialects>) {
        self.sql.statements.push(Named::new(name, text));
    }

    /// Adds a statement that removes what a run has written into the saga's own tables: carried
    /// out when the run fails or is purged, in the same transaction, in declared order. Its
    /// parameters are the instance's id and the run.
    pub fn purge_step(&mut self, name: impl Into<String>, text: impl Into<Dialects>) {
        self.sql.purge_steps.push(Named::new(name, text));
    }

    /// Adds a script that makes or changes the saga's own tables, in the application's schema:
    /// carried out once, by `migrate` or at start, in declared order. One that has been applied
    /// anywhere is never changed: add another.
    pub fn migration(&mut self, name: impl Into<String>, text: impl Into<Dialects>) {
        self.sql.migrations.push(Named::new(name, text));
    }
}
