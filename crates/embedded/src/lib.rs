//! Store and transport in one SQLite file.
