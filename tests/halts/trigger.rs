//! What the database itself saw at the commit of each halt: every line of the journal there was.

use sqlx::{Connection as _, Executor as _, PgConnection};

/// Runs within the halt's own COMMIT, while its fence is still closed: whatever committed before is
/// counted, and a commit that came later is not.
const COUNT_AT_COMMIT: &str = "
CREATE TABLE knarr.seen_at_halt (epoch bigint PRIMARY KEY, lines bigint NOT NULL);
CREATE FUNCTION knarr.count_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO knarr.seen_at_halt SELECT NEW.epoch, count(*) FROM knarr.journal;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_at_commit AFTER UPDATE ON knarr.endpoint
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state = 'halted' AND OLD.state <> 'halted')
    EXECUTE FUNCTION knarr.count_lines()";

/// A connection of the test's own.
pub(crate) struct Seen(PgConnection);

impl Seen {
    pub(crate) async fn install(url: &str) -> Seen {
        let mut connection = PgConnection::connect(url).await.expect("the database is there");
        connection.execute(COUNT_AT_COMMIT).await.expect("the trigger is made");
        Seen(connection)
    }

    /// Lines of the journal that were committed when the halt to `epoch` committed.
    pub(crate) async fn at_halt(&mut self, epoch: i64) -> i64 {
        let query = sqlx::query_scalar("SELECT lines FROM knarr.seen_at_halt WHERE epoch = $1");
        query.bind(epoch).fetch_one(&mut self.0).await.expect("the halt was seen")
    }

    pub(crate) async fn count(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.0).await.expect("counted")
    }

    /// Lines of the journal now.
    pub(crate) async fn lines(&mut self) -> i64 {
        self.count("SELECT count(*) FROM knarr.journal").await
    }
}
