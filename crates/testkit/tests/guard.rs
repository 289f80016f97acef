//! Runs the guard's suite on the memory store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ports::Clock;
use knarr_testkit::clock::ManualClock;
use knarr_testkit::conformance::guard::{GuardUnderTest, Guards};
use knarr_testkit::conformance::store::Stores;
use knarr_testkit::memory::MemoryStore;

struct Fresh;

#[async_trait]
impl GuardUnderTest for Fresh {
    async fn fresh(&self) -> Guards {
        let clock = ManualClock::new(7);
        let store = MemoryStore::new(Arc::new(clock.clone()));
        let (forced, advanced) = (store.clone(), clock.clone());
        let stores = Stores {
            store: Arc::new(store.clone()),
            second: Arc::new(store.clone()),
            records: Arc::new(store.clone()),
            clock: Arc::new(clock) as Arc<dyn Clock>,
            advance: Arc::new(move |by: Duration| {
                let clock = advanced.clone();
                async move { clock.advance(by) }.boxed()
            }),
            lease: Duration::from_secs(10),
            force_state: Arc::new(move |(name, state)| {
                let store = forced.clone();
                async move {
                    store.with_rows(|rows| {
                        if let Some(row) = rows.endpoint.get_mut(&name) {
                            row.state = state;
                        }
                    });
                }
                .boxed()
            }),
            refused: None,
            corrupt: None,
            corrupt_instance: None,
            sql: None,
            keep: None,
        };
        Guards {
            stores,
            guard: Arc::new(store.clone()),
            second: Arc::new(store.clone()),
            incidents: Arc::new(store),
            sql: false,
        }
    }
}

knarr_testkit::guard_conformance!(Fresh);

/// A case that is written and not listed would never run.
#[test]
fn every_case_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance/guard");
    let mut written = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("the entry is read").path();
        let module = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("the file is read");
        for line in text.lines().filter(|line| line.ends_with("(guards: Guards) {")) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().expect("a name").to_owned();
                written.insert((module.clone(), name));
            }
        }
    }
    let cases = knarr_testkit::conformance::guard::GUARD_CASES;
    let listed: BTreeSet<_> =
        cases.iter().map(|(module, case)| (module.to_string(), case.to_string())).collect();
    assert_eq!(written, listed);
    assert_eq!(listed.len(), cases.len(), "a case is listed twice");
    assert!(listed.len() > 30);
}
