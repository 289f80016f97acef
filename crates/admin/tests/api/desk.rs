//! A listener over a memory store whose desk takes orders, with three people who may come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use knarr_admin::{Settings, Sources, Token, Tokens, bind, router};
use knarr_guard::Desk;
use knarr_guard::desk::Doors;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::incident::{Audit, Block};
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::store::{EndpointState, Served};
use knarr_model::ports::{Clock, StoreError};
use knarr_model::quarantine::{Class, Status};
use knarr_testkit::clock::ManualClock;
use knarr_testkit::memory::{MemoryStore, Rows};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::doors::{Broker, saga, told};
use crate::ids::id;
use crate::scans::{SCAN, Scans, add_held, add_run, endpoint, sender};

pub(crate) const ADMIN: &str = "the-token-of-the-admin";
pub(crate) const ANNA: &str = "anna-is-on-call-tonight";
pub(crate) const OTTO: &str = "otto-only-looks-at-it";

/// `printf %s <token> | sha256sum` of each.
pub(crate) const FILE: &str = "\
# on call
anna operate bdc13163c5bc049b96d0cc89366df73e32a068fe8810290699e2a0360b7884ec
otto read    02f4f01619184581b01d1d12020ddba360ba6b16da08cdccdedf9b4bc3a9649f
";

pub(crate) const GOOD: &[u8] = br#"{"url":"http://a.test/"}"#;

/// What a door does instead of answering.
const ANSWERS: u8 = 0;
const IS_AWAY: u8 = 1;
const CHANGES: u8 = 2;

/// The memory store's door, which can be shut.
struct Door {
    store: MemoryStore,
    mood: Arc<AtomicU8>,
}

#[async_trait]
impl Guarded for Door {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        match self.mood.load(Ordering::Relaxed) {
            IS_AWAY => Err(StoreError::Transient("connection refused".to_owned())),
            CHANGES => Ok(Err(Refusal::Changed)),
            _ => self.store.under_fence(ask, decide, run).await,
        }
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        self.store.served_by(endpoint).await
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        self.store.blocks(endpoint).await
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        self.store.withdrawn(endpoint, runs).await
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        self.store.lost_calls(node, calls).await
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        self.store.add_counts(counts).await
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        self.store.outlived_blocks(endpoint).await
    }
}

/// A server with a desk, and a client.
pub(crate) struct Bench {
    pub(crate) store: MemoryStore,
    mood: Arc<AtomicU8>,
    base: String,
    client: reqwest::Client,
}

impl Bench {
    /// An open endpoint with one run (1) and three held messages: two that failed (20, 21), one
    /// that cannot be read (22).
    pub(crate) async fn start() -> Bench {
        let clock = Arc::new(ManualClock::new(1));
        let store = MemoryStore::new(clock.clone());
        store.with_rows(|rows| {
            rows.endpoint.insert(SCAN.into(), endpoint(EndpointState::Open));
            add_run(rows, 1);
            add_held(rows, 20, Class::Failed, GOOD);
            add_held(rows, 21, Class::Failed, GOOD);
            add_held(rows, 22, Class::BadMessage, b"{ no JSON");
        });
        let mood = Arc::new(AtomicU8::new(ANSWERS));
        let shared = Arc::new(store.clone());
        let doors = Doors {
            guarded: Arc::new(Door { store: store.clone(), mood: mood.clone() }),
            records: shared.clone(),
            incidents: shared.clone(),
            clock: clock.clone(),
            sagas: Arc::new(Scans),
        };
        let sources = Sources {
            records: shared.clone(),
            incidents: shared,
            desk: Desk::new(doors, sender()),
            transport: Arc::new(Broker),
            clock: clock as Arc<dyn Clock>,
            sagas: vec![saga()],
            host: knarr_model::format::masstransit::Host::default(),
            unready: Arc::new(Vec::new),
            metrics: Arc::new(Vec::new),
        };
        let admin = Token::new(ADMIN).expect("long enough");
        let tokens = Tokens::read(FILE).expect("a good file").with_admin(&admin);
        let mut settings = Settings::new(tokens);
        settings.max_body = 4096;
        settings.max_edit = 8192;
        let bound = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let base = format!("http://{}", bound.address());
        tokio::spawn(bound.serve(router(sources, settings), std::future::pending()));
        #[expect(clippy::disallowed_methods, reason = "the client of a test, to our own listener")]
        let client = reqwest::Client::new();
        Bench { store, mood, base, client }
    }

    pub(crate) fn request(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token)
    }

    /// A request that wants no token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = told(self.request(OTTO, Method::GET, path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// An order of the admin's, without a body.
    pub(crate) async fn order(&self, path: &str) -> (u16, Value) {
        told(self.request(ADMIN, Method::POST, path)).await
    }

    /// An order of the admin's that is carried out.
    pub(crate) async fn done(&self, path: &str) -> Value {
        let (status, body) = self.order(path).await;
        assert!([200, 202].contains(&status), "{path}: {status} {body}");
        body
    }

    pub(crate) fn shut(&self) {
        self.mood.store(IS_AWAY, Ordering::Relaxed);
    }

    pub(crate) fn keep_changing(&self) {
        self.mood.store(CHANGES, Ordering::Relaxed);
    }

    /// The lines of the audit, as they were written.
    pub(crate) fn audit(&self) -> Vec<Audit> {
        let mut lines: Vec<Audit> = self.store.rows().audit.into_values().collect();
        lines.sort_by_key(|line| (line.at, line.id));
        lines
    }

    /// Everything that is stored, to see whether something changed.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.store.rows())
    }

    pub(crate) fn status_of(&self, n: u128) -> Status {
        self.rows(|rows| rows.quarantine[&id(n)].status)
    }

    pub(crate) fn rows<R>(&self, look: impl FnOnce(&mut Rows) -> R) -> R {
        self.store.with_rows(look)
    }

    /// Purges run 1 and returns its incident.
    pub(crate) async fn purged(&self) -> String {
        let done = self.done(&format!("/api/v1/sagas/{SCAN}/instances/{}/purge", id(1))).await;
        done["incident"]["id"].as_str().expect("an incident").to_owned()
    }
}

/// A refusal: its status, and that its detail holds these words; nothing may have changed.
pub(crate) async fn refused(
    bench: &Bench,
    request: RequestBuilder,
    status: u16,
    words: &str,
) -> Value {
    let before = bench.everything();
    let (got, body) = told(request).await;
    assert_eq!(got, status, "{body}");
    let detail = body["detail"].as_str().expect("a problem document");
    assert!(detail.contains(words), "{detail} should say: {words}");
    assert!(detail.ends_with('.'), "a sentence: {detail}");
    assert_eq!(before, bench.everything(), "nothing is changed by a refusal");
    body
}

pub(crate) fn because(reason: &str) -> Value {
    json!({ "reason": reason })
}
