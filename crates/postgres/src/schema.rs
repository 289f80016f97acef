//! An application's schema: its name, and the lock numbers and channel that derive from it.

use knarr_model::ids::derived_id;

use crate::error::Error;

/// Identifiers are cut by Postgres beyond this many bytes.
const LONGEST: usize = 63;

/// A schema whose name has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    name: String,
}

/// The two numbers of an advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockKey {
    pub(crate) class: i32,
    pub(crate) object: i32,
}

impl Schema {
    /// Checks the name: it is written into statements that take no parameters.
    pub(crate) fn new(name: &str) -> Result<Schema, Error> {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        let good = name.starts_with(plain)
            && name.chars().all(|c| plain(c) || c.is_ascii_digit())
            && name.len() <= LONGEST
            && !name.starts_with("pg_");
        if good {
            Ok(Schema { name: name.to_owned() })
        } else {
            Err(Error::SchemaName(name.to_owned()))
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of `search_path`.
    pub(crate) fn search_path(&self) -> String {
        format!("\"{}\"", self.name)
    }

    /// The fence of an endpoint: shared by its commits, exclusive to halt, resume and purge.
    pub(crate) fn fence(&self, endpoint: &str) -> LockKey {
        self.lock("fence", endpoint)
    }

    /// Held while permits of one name are counted.
    pub(crate) fn purse(&self, name: &str) -> LockKey {
        self.lock("purse", name)
    }

    /// Held while the schema is migrated.
    pub(crate) fn migration(&self) -> LockKey {
        self.lock("migration", "")
    }

    /// The channel of notifications.
    pub(crate) fn channel(&self) -> String {
        format!("knarr_{:08x}", number(&[b"channel", self.name.as_bytes()]))
    }

    fn lock(&self, class: &str, object: &str) -> LockKey {
        LockKey {
            class: number(&[class.as_bytes(), self.name.as_bytes()]),
            object: number(&[b"object", object.as_bytes()]),
        }
    }
}

/// A number that is the same in every process and version. Two names that share one by chance only
/// wait for each other more often.
fn number(parts: &[&[u8]]) -> i32 {
    let id = derived_id(parts);
    let [a, b, c, d, ..] = *id.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_cannot_carry_sql() {
        let long = "a".repeat(64);
        for bad in ["", "A", "1a", "a-b", "a b", "a\"", "a;drop", "pg_x", "größe", &long] {
            assert!(matches!(Schema::new(bad), Err(Error::SchemaName(_))), "{bad:?}");
        }
        for good in ["knarr", "_a", "shop_2", &"a".repeat(63)] {
            assert!(Schema::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn applications_in_one_database_share_neither_locks_nor_channel() {
        let one = Schema::new("one").expect("a name");
        let two = Schema::new("two").expect("a name");
        assert_ne!(one.fence("orders"), two.fence("orders"));
        assert_ne!(one.fence("orders"), one.fence("payments"));
        assert_ne!(one.fence("orders").class, one.purse("orders").class);
        assert_ne!(one.channel(), two.channel());
        assert_eq!(one.fence("orders"), Schema::new("one").expect("a name").fence("orders"));
    }
}
