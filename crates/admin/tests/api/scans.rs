//! The url-scan saga as far as the desk must know it, and the rows that tests begin with.

use chrono::TimeDelta;
use knarr_guard::desk::Sagas;
use knarr_guard::notice::Sender;
use knarr_model::format::masstransit::Host;
use knarr_model::incident::{Block, BlockBy};
use knarr_model::ports::guard::Statement;
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::quarantine::{Class, Quarantined, Status};
use knarr_model::topology::Subscription;
use knarr_model::work::Timer;
use knarr_model::{
    Book, Context, Digest, Envelope, Headers, Instance, InstanceId, MessageId, Name, RowId,
};
use knarr_testkit::clock::beginning;
use knarr_testkit::memory::{Claimed, InstanceRow, Rows};
use serde_json::Value;

use crate::ids::{id, raw};

pub(crate) const SCAN: &str = "url-scan";
pub(crate) const SUBMIT: &str = "Knarr.UrlScan:SubmitUrl";

/// One saga, whose messages must hold a `url`.
pub(crate) struct Scans;

impl Sagas for Scans {
    fn endpoint(&self, saga: &Name) -> Option<Name> {
        (&**saga == SCAN).then(|| saga.clone())
    }

    fn subscriptions(&self, _: &Name) -> Vec<Subscription> {
        let urn = format!("urn:message:{SUBMIT}");
        vec![Subscription { urn, exchange: SUBMIT.to_owned() }]
    }

    fn check(&self, _: &Name, envelope: &Envelope) -> Result<(), String> {
        let message: Value = serde_json::from_str(envelope.message.get()).expect("JSON");
        match message["url"].is_string() {
            true => Ok(()),
            false => Err(format!("{SUBMIT}: the member `url` is missing")),
        }
    }

    fn purge_steps(&self, _: &Name, _: InstanceId, _: u32) -> Vec<Statement> {
        Vec::new()
    }
}

pub(crate) fn sender() -> Sender {
    Sender { address: "loopback://localhost/url-scan".to_owned(), host: Host::default() }
}

pub(crate) fn endpoint(state: EndpointState) -> EndpointRow {
    EndpointRow {
        name: SCAN.into(),
        state,
        epoch: 1,
        guard_version: 0,
        holder: None,
        stop: None,
        watched_until: None,
        restored_at: None,
    }
}

/// A run in state Scanning with one timer.
pub(crate) fn add_run(rows: &mut Rows, n: u128) -> InstanceId {
    let instance = Instance {
        saga: SCAN.into(),
        id: InstanceId(id(n)),
        run: 1,
        state: "Scanning".to_owned(),
        version: 3,
        definition_version: 1,
        data: raw(r#"{"url":"http://a.test/"}"#),
        book: Book::default(),
        incident: None,
    };
    let timer = Timer {
        id: RowId(id(n + 1000)),
        endpoint: SCAN.into(),
        saga: SCAN.into(),
        instance: instance.id,
        run: 1,
        name: "Deadline".to_owned(),
        due_at: beginning() + TimeDelta::minutes(30),
        attempt: 0,
        claims: 0,
        context: Context::default(),
    };
    let key = (instance.saga.clone(), instance.id);
    rows.timer.insert(timer.id, Claimed { row: timer, by: None });
    rows.instance.insert(key, InstanceRow { instance, updated_at: beginning() });
    InstanceId(id(n))
}

/// A start message that was set aside, and blocks its copies.
pub(crate) fn add_held(rows: &mut Rows, n: u128, class: Class, body: &'static [u8]) {
    let row = Quarantined {
        id: id(n),
        endpoint: SCAN.into(),
        saga: SCAN.into(),
        message_id: MessageId(id(n + 1000)),
        digest: Digest([1; 16]),
        class,
        reason: "both services failed".to_owned(),
        errors: vec!["both services failed".to_owned()],
        instance: None,
        run: None,
        state: None,
        attempts: 3,
        message_types: vec![format!("urn:message:{SUBMIT}")],
        content_type: Some("application/json".to_owned()),
        headers: Headers::new(),
        body: bytes::Bytes::from_static(body),
        size: body.len() as u64,
        exchange: SUBMIT.to_owned(),
        routing_key: String::new(),
        fingerprint: Some("ab".repeat(32)),
        definition_version: 1,
        at: beginning() + TimeDelta::seconds(i64::try_from(n).expect("small")),
        status: Status::Held,
        incident: None,
        copies: 7,
        released_as: None,
        edits: Vec::new(),
    };
    let block = Block {
        quarantined: row.id,
        endpoint: SCAN.into(),
        by: BlockBy::Fingerprint,
        value: "ab".repeat(32),
        incident: None,
        definition_version: 1,
        lets: None,
    };
    rows.block.insert(row.id, block);
    rows.quarantine.insert(row.id, row);
}
