//! SQL that a saga brings along for its own tables, in every dialect that a store may speak.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::Name;

/// A named SQL statement with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Its name, for people.
    pub name: String,
    /// The text in both dialects; parameters are `$1`, `$2` … in Postgres and `?1`, `?2` … in
    /// SQLite.
    pub text: Dialects,
    /// Parameters; a text may leave the last ones unused. Postgres says of which type each one is
    /// (`$1::uuid` says it explicitly), and the value is given as that; SQLite takes texts,
    /// numbers, truth values as 0 and 1, and everything else as JSON text.
    pub parameters: Vec<Value>,
}

/// One text in every dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialects {
    /// For Postgres.
    pub postgres: String,
    /// For SQLite.
    pub sqlite: String,
}

impl Dialects {
    /// The same text for both.
    pub fn same(text: &str) -> Dialects {
        Dialects { postgres: text.to_owned(), sqlite: text.to_owned() }
    }
}

/// The text for Postgres, and the text for SQLite.
impl From<(&str, &str)> for Dialects {
    fn from((postgres, sqlite): (&str, &str)) -> Self {
        Dialects { postgres: postgres.to_owned(), sqlite: sqlite.to_owned() }
    }
}

/// A script that makes or changes a saga's own tables: carried out once, never changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The saga whose tables they are.
    pub saga: Name,
    /// Its name, unique within the saga; scripts are carried out in declared order.
    pub name: String,
    /// The text in both dialects; several statements each.
    pub text: Dialects,
}
