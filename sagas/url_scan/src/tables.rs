//! The saga's own table: what each source said of each scan, for whoever asks the database.

use knarr_saga::prelude::*;

/// Writes down what one source said.
pub(crate) const INSERT_FINDING: &str = "insert_finding";

const MAKE: (&str, &str) = (
    "CREATE TABLE scan_findings (
        scan_id  uuid        NOT NULL,
        source   text        NOT NULL,
        verdict  text        NOT NULL
                 CHECK (verdict IN ('clean', 'malicious', 'suspicious', 'unknown')),
        detail   text        NOT NULL,
        found_at timestamptz NOT NULL,
        PRIMARY KEY (scan_id, source)
    )",
    "CREATE TABLE scan_findings (
        scan_id  TEXT NOT NULL,
        source   TEXT NOT NULL,
        verdict  TEXT NOT NULL
                 CHECK (verdict IN ('clean', 'malicious', 'suspicious', 'unknown')),
        detail   TEXT NOT NULL,
        found_at TEXT NOT NULL,
        PRIMARY KEY (scan_id, source)
    ) STRICT",
);

/// A scan that is tried again after its incident may find its own rows.
const INSERT: (&str, &str) = (
    "INSERT INTO scan_findings (scan_id, source, verdict, detail, found_at)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (scan_id, source) DO UPDATE
     SET verdict = excluded.verdict, detail = excluded.detail, found_at = excluded.found_at",
    "INSERT INTO scan_findings (scan_id, source, verdict, detail, found_at)
     VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (scan_id, source) DO UPDATE
     SET verdict = excluded.verdict, detail = excluded.detail, found_at = excluded.found_at",
);

/// A scan's id is its instance's.
const DELETE: (&str, &str) = (
    "DELETE FROM scan_findings WHERE scan_id = $1::uuid",
    "DELETE FROM scan_findings WHERE scan_id = ?1",
);

/// Makes the table, writes to it, and takes out of it what a failed run wrote.
pub(crate) fn declare<M: Machine>(m: &mut Table<M>) {
    m.migration("0001_scan_findings", MAKE);
    m.statement(INSERT_FINDING, INSERT);
    m.purge_step("scan_findings", DELETE);
}
