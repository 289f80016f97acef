//! A world of rows on a real database, and what the server says of our sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use knarr_model::ids::Name;
use knarr_model::ports::store::EndpointState;
use knarr_postgres::{Settings, Store};
use knarr_testkit::conformance::store::{Stores, World};
use sqlx::PgConnection;

use crate::pause::pause;

/// Two handles on one schema, as a world of rows to write.
pub(crate) async fn world(settings: Settings) -> (World, Store) {
    let store = Store::connect(settings.clone()).await.expect("the store is opened");
    let second = Store::connect(settings).await.expect("the second handle is opened");
    let force = |_: (Name, EndpointState)| async {}.boxed();
    let (one, records) = (Arc::new(store.clone()), Arc::new(store.clone()));
    let stores = Stores::real(one, Arc::new(second), records, Arc::new(force));
    (World::new(stores).await, store)
}

/// A number that the server counts.
pub(crate) async fn count(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("counted")
}

/// Returns when the count is so high, or, for 0, so low.
pub(crate) async fn until(connection: &mut PgConnection, sql: &'static str, wanted: i64) {
    for _ in 0..2_000 {
        let found = count(connection, sql).await;
        if found == wanted || wanted > 0 && found > wanted {
            return;
        }
        pause(Duration::from_millis(10)).await;
    }
    panic!("it never became {wanted}: {sql}");
}
