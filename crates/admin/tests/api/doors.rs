//! A listener over doors with known rows behind them, and a client that speaks to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use knarr_admin::{Kind, Metric, Saga, Settings, Sources, Token, Tokens, bind, router};
use knarr_guard::Desk;
use knarr_model::commit::{JournalRow, Outcome};
use knarr_model::format::masstransit::Host;
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::ports::transport::{Depth, Published};
use knarr_model::ports::{
    Clock, Consumer, Publisher, Records, StoreError, Transport, TransportError,
};
use knarr_model::quarantine::{Class, Quarantined, Status};
use knarr_model::shape::{EventShape, RowShape, Shape};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::{Outgoing, Timer};
use knarr_model::{Book, Context, Digest, Headers, Instance, InstanceId, MessageId, Name, RowId};
use knarr_testkit::clock::{ManualClock, beginning};
use knarr_testkit::memory::MemoryStore;
use serde_json::Value;
use uuid::Uuid;

use crate::ids::{id, raw};
use crate::scans::{Scans, sender};

pub(crate) const TOKEN: &str = "a-token-for-the-tests";

/// Behind the listener: what tests change and look at.
pub(crate) struct Doors {
    pub(crate) published: Mutex<Vec<Outgoing>>,
    pub(crate) answer: Mutex<Published>,
    pub(crate) broker_away: AtomicBool,
    pub(crate) store_away: AtomicBool,
    pub(crate) store_hangs: AtomicBool,
    pub(crate) unready: Mutex<Vec<String>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Doors {
    async fn store(&self) -> Result<(), StoreError> {
        if self.store_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.store_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Transient("connection refused".to_owned())),
            false => Ok(()),
        }
    }
}

fn detail() -> InstanceDetail {
    let instance = Instance {
        saga: "url-scan".into(),
        id: InstanceId(id(1)),
        run: 1,
        state: "Scanning".to_owned(),
        version: 3,
        definition_version: 1,
        data: raw(r#"{"url":"http://a.test/"}"#),
        book: Book::default(),
        incident: None,
    };
    InstanceDetail {
        instance,
        updated_at: beginning(),
        journal: vec![JournalRow {
            message_id: MessageId(id(50)),
            digest: Digest([7; 16]),
            instance: Some(InstanceId(id(1))),
            run: Some(1),
            seq: Some(1),
            event: "Knarr.UrlScan:SubmitUrl".to_owned(),
            from_state: Some("Initial".to_owned()),
            to_state: Some("Scanning".to_owned()),
            outcome: Outcome::Applied,
            at: beginning(),
        }],
        timers: vec![Timer {
            id: RowId(id(60)),
            endpoint: "url-scan".into(),
            saga: "url-scan".into(),
            instance: InstanceId(id(1)),
            run: 1,
            name: "Deadline".to_owned(),
            due_at: beginning() + TimeDelta::minutes(30),
            attempt: 0,
            claims: 0,
            context: Context::default(),
        }],
        calls: Vec::new(),
        parked: Vec::new(),
    }
}

fn quarantined(n: u128) -> Quarantined {
    Quarantined {
        id: id(n),
        endpoint: "url-scan".into(),
        saga: "url-scan".into(),
        message_id: MessageId(id(n + 100)),
        digest: Digest([1; 16]),
        class: Class::Failed,
        reason: "both services failed".to_owned(),
        errors: vec!["both services failed".to_owned(), "503".to_owned()],
        instance: Some(InstanceId(id(9))),
        run: Some(1),
        state: Some("Scanning".to_owned()),
        attempts: 1,
        message_types: vec!["urn:message:Knarr.UrlScan:SubmitUrl".to_owned()],
        content_type: Some("application/json".to_owned()),
        headers: Headers([("tenant".to_owned(), "blue".into())].into()),
        body: bytes::Bytes::from_static(b"{\"scanId\":1}"),
        size: 4096,
        exchange: "Knarr.UrlScan:SubmitUrl".to_owned(),
        routing_key: String::new(),
        fingerprint: None,
        definition_version: 1,
        at: beginning(),
        status: Status::Held,
        incident: None,
        copies: 0,
        released_as: None,
        edits: Vec::new(),
    }
}

#[async_trait]
impl Records for Doors {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        self.store().await?;
        let (limit, cursor) = (page.limit, page.cursor.as_deref().unwrap_or("-"));
        self.asked.lock().expect("lock").push(format!("{saga} {state:?} {limit} {cursor}"));
        let from = match page.cursor.as_deref() {
            None => 0,
            Some("two") => 1,
            Some(other) => {
                return Err(StoreError::Data(format!("`{other}` is no cursor of this list")));
            }
        };
        let rows = (1..=2u128).map(|n| InstanceSummary {
            saga: saga.clone(),
            id: InstanceId(id(n)),
            run: 1,
            state: "Scanning".to_owned(),
            version: 3,
            updated_at: beginning(),
        });
        let items: Vec<_> = rows.skip(from).take(page.limit).collect();
        let next = (from + items.len() < 2).then(|| "two".to_owned());
        Ok(Page { items, next })
    }

    async fn instance(
        &self,
        _: &Name,
        wanted: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        self.store().await?;
        Ok((wanted.0 == id(1)).then(detail))
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.store().await?;
        let count = |saga: &str, state: &str, count| StateCount {
            saga: saga.into(),
            state: state.to_owned(),
            count,
        };
        Ok(vec![count("url-scan", "Scanning", 2), count("elsewhere", "Final", 1)])
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.store().await?;
        let state = EndpointState::Halted;
        let holder = Some(knarr_model::NodeId(id(9)));
        let name = "url-scan".into();
        Ok(vec![EndpointRow {
            name,
            state,
            epoch: 4,
            guard_version: 0,
            holder,
            stop: None,
            watched_until: None,
            restored_at: None,
        }])
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        _: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        self.store().await?;
        self.asked.lock().expect("lock").push(format!("{filter:?}"));
        Ok(Page { items: vec![quarantined(20)], next: None })
    }

    async fn quarantined(&self, wanted: Uuid) -> Result<Option<Quarantined>, StoreError> {
        self.store().await?;
        Ok((wanted == id(20)).then(|| quarantined(20)))
    }
}

#[async_trait]
impl Publisher for Doors {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        self.published.lock().expect("lock").extend(messages.to_vec());
        vec![self.answer.lock().expect("lock").clone(); messages.len()]
    }
}

#[async_trait]
impl Transport for Doors {
    async fn consume(&self, _: &ReceiveEndpoint) -> Result<Box<dyn Consumer>, TransportError> {
        Err(TransportError::Refused("nothing is consumed here".to_owned()))
    }

    async fn declare(&self, _: &ReceiveEndpoint) -> Result<(), TransportError> {
        Ok(())
    }

    async fn depth(&self, _: &str) -> Result<Depth, TransportError> {
        match self.broker_away.load(Ordering::Relaxed) {
            true => Err(TransportError::Away("connection refused".to_owned())),
            false => Ok(Depth { ready: 12, consumers: 3 }),
        }
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn address(&self, endpoint: &str) -> String {
        format!("loopback://localhost/{endpoint}")
    }

    async fn close(&self) {}
}

pub(crate) fn saga() -> Saga {
    let row = RowShape {
        states: Vec::new(),
        on: EventShape::Message("Knarr.UrlScan:CancelScan".to_owned()),
        behaviours: Vec::new(),
        targets: vec!["Final".to_owned()],
        ignored: false,
    };
    Saga {
        name: "url-scan".into(),
        shape: Shape {
            saga: "url-scan".to_owned(),
            version: 1,
            states: vec!["Scanning".to_owned()],
            rows: vec![row],
        },
        takes: vec!["Knarr.UrlScan:SubmitUrl".to_owned(), "Knarr.UrlScan:CancelScan".to_owned()],
        calls: vec!["AskVirusTotal".to_owned()],
        diagram: "stateDiagram-v2\n".to_owned(),
    }
}

/// A broker that takes everything and has nothing.
pub(crate) struct Broker;

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        vec![Published::Confirmed; messages.len()]
    }
}

#[async_trait]
impl Transport for Broker {
    async fn consume(&self, _: &ReceiveEndpoint) -> Result<Box<dyn Consumer>, TransportError> {
        Err(TransportError::Refused("nothing is consumed here".to_owned()))
    }

    async fn declare(&self, _: &ReceiveEndpoint) -> Result<(), TransportError> {
        Ok(())
    }

    async fn depth(&self, _: &str) -> Result<Depth, TransportError> {
        Ok(Depth { ready: 0, consumers: 1 })
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn address(&self, endpoint: &str) -> String {
        format!("loopback://localhost/{endpoint}")
    }

    async fn close(&self) {}
}

/// A listener on a port of its own, and a client.
pub(crate) struct Api {
    pub(crate) doors: Arc<Doors>,
    base: String,
    client: reqwest::Client,
}

impl Api {
    pub(crate) async fn start() -> Api {
        let doors = Arc::new(Doors {
            published: Mutex::default(),
            answer: Mutex::new(Published::Confirmed),
            broker_away: AtomicBool::new(false),
            store_away: AtomicBool::new(false),
            store_hangs: AtomicBool::new(false),
            unready: Mutex::default(),
            asked: Mutex::default(),
        });
        let (unready, clock) = (doors.clone(), Arc::new(ManualClock::new(1)));
        // Nobody gives orders here, so an empty store takes them.
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let orders = knarr_guard::desk::Doors {
            guarded: store.clone(),
            records: store.clone(),
            incidents: store.clone(),
            clock: clock.clone(),
            sagas: Arc::new(Scans),
        };
        let sources = Sources {
            records: doors.clone(),
            incidents: store,
            desk: Desk::new(orders, sender()),
            transport: doors.clone(),
            clock: clock.clone() as Arc<dyn Clock>,
            sagas: vec![saga()],
            host: Host::default(),
            unready: Arc::new(move || unready.unready.lock().expect("lock").clone()),
            metrics: Arc::new(|| {
                vec![Metric {
                    name: "knarr_applied_total".to_owned(),
                    help: "Rows run.".to_owned(),
                    kind: Kind::Counter,
                    labels: Vec::new(),
                    value: 41,
                }]
            }),
        };
        let mut settings =
            Settings::new(Tokens::default().with_admin(&Token::new(TOKEN).expect("long enough")));
        settings.max_body = 4096;
        settings.deadline = Duration::from_millis(500);
        let bound = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let base = format!("http://{}", bound.address());
        tokio::spawn(bound.serve(router(sources, settings), std::future::pending()));
        #[expect(clippy::disallowed_methods, reason = "the client of a test, to our own listener")]
        let client = reqwest::Client::new();
        Api { doors, base, client }
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A GET with the token.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        told(self.bare(reqwest::Method::GET, path).bearer_auth(TOKEN)).await
    }

    /// A POST of JSON with the token.
    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.bare(reqwest::Method::POST, path).bearer_auth(TOKEN).json(body)
    }
}

/// The status and the JSON of an answer; every failure must be a problem document.
pub(crate) async fn told(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let media = response.headers()["content-type"].to_str().expect("text").to_owned();
    let text = response.text().await.expect("a body");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    if status >= 400 && body["status"].is_number() {
        assert_eq!(media, "application/problem+json");
        assert_eq!(body["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
    }
    (status, body)
}

/// Compares with a recorded file; with `KNARR_RECORD=1` records it anew.
pub(crate) fn is_as_recorded(name: &str, body: &Value) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = serde_json::to_string_pretty(body).expect("JSON") + "\n";
    if std::env::var_os("KNARR_RECORD").is_some() {
        std::fs::write(&path, &text).expect("the folder can be written");
    }
    let recorded = std::fs::read_to_string(&path).expect("recorded with KNARR_RECORD=1");
    assert_eq!(text, recorded, "{name}: the API's form changed; note it in CHANGELOG.md");
}
