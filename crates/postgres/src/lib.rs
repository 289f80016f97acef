//! Store over Postgres.
