//! Runs the store suite on the memory store, and proves that the suite notices built-in faults.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ports::Clock;
use knarr_testkit::clock::ManualClock;
use knarr_testkit::conformance::store::{self, StoreUnderTest, Stores};
use knarr_testkit::conformance::{STORE_CASES, run_store_case};
use knarr_testkit::memory::{MemoryStore, Mutations};

struct Memory(Mutations);

#[async_trait]
impl StoreUnderTest for Memory {
    async fn fresh(&self) -> Stores {
        let clock = ManualClock::new(7);
        let store = MemoryStore::mutated(Arc::new(clock.clone()), self.0);
        let (forced, spoilt) = (store.clone(), store.clone());
        let advanced = clock.clone();
        Stores {
            store: Arc::new(store.clone()),
            second: Arc::new(store.clone()),
            records: Arc::new(store),
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
            corrupt_instance: Some(Arc::new(move |(_, id)| {
                let store = spoilt.clone();
                async move { store.with_rows(|rows| rows.spoilt.extend([id])) }.boxed()
            })),
            sql: None,
            keep: None,
        }
    }
}

knarr_testkit::store_conformance!(Memory(Mutations::default()));

/// Whether the suite's case fails on a store with this fault built in.
fn notices<R: Future<Output = ()>>(mutations: Mutations, case: fn(Stores) -> R) -> bool {
    catch_unwind(AssertUnwindSafe(|| run_store_case(Memory(mutations), case))).is_err()
}

#[test]
fn the_suite_notices_each_built_in_fault() {
    let none = Mutations::default();
    let journal = Mutations { skip_journal_insert: true, ..none };
    let version = Mutations { skip_version_check: true, ..none };
    let fence = Mutations { skip_fence: true, ..none };
    let taken = Mutations { skip_taken_check: true, ..none };
    assert!(notices(
        journal,
        store::races::pe_085_one_message_in_two_open_transactions_applies_once
    ));
    assert!(notices(journal, store::commits::pe_111_a_known_message_rolls_the_commit_back));
    assert!(notices(version, store::commits::a_stale_version_is_lost_alone));
    assert!(notices(version, store::races::pe_117_no_concurrent_step_overwrites_another));
    assert!(notices(fence, store::fences::a_late_commit_after_a_halt_is_fenced));
    assert!(notices(taken, store::timers::a_taken_row_must_be_the_nodes_own));
    assert!(notices(taken, store::nodes::pe_251_a_dead_nodes_rows_are_taken_over_after_its_lease));
}

/// A case that is written and not listed would never run.
#[test]
fn every_case_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance/store");
    let mut written = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("the entry is read").path();
        let module = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("the file is read");
        for line in text.lines().filter(|line| line.ends_with("(stores: Stores) {")) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().expect("a name").to_owned();
                written.insert((module.clone(), name));
            }
        }
    }
    let listed: BTreeSet<_> =
        STORE_CASES.iter().map(|(module, case)| (module.to_string(), case.to_string())).collect();
    assert_eq!(written, listed);
    assert_eq!(listed.len(), STORE_CASES.len(), "a case is listed twice");
    assert!(listed.len() > 100);
}
