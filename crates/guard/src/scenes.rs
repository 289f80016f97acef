//! Scenes for tests: an open endpoint, a run with everything around it.

use std::sync::Arc;

use chrono::DateTime;
use knarr_model::incident::Whole;
use knarr_model::instance::Book;
use knarr_model::ports::guard::Scene;
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::{Class, Digest, Headers, Instance, InstanceId, MessageId};
use serde_json::value::RawValue;
use uuid::Uuid;

pub(crate) fn open() -> EndpointRow {
    EndpointRow {
        name: "scan".into(),
        state: EndpointState::Open,
        epoch: 1,
        guard_version: 0,
        stop: None,
        holder: None,
        watched_until: None,
        restored_at: None,
    }
}

pub(crate) fn bare() -> Scene {
    Scene {
        endpoint: open(),
        whole: None,
        incident: None,
        snapshot: None,
        quarantined: Vec::new(),
        blocks: Vec::new(),
        repeated: None,
        owned: true,
    }
}

pub(crate) fn run() -> Whole {
    let data = RawValue::from_string("{\"secret\":1}".to_owned()).expect("JSON");
    Whole::of(Instance {
        saga: "scan".into(),
        id: InstanceId(Uuid::from_u128(70)),
        run: 1,
        state: "Scanning".to_owned(),
        version: 4,
        definition_version: 1,
        data: Arc::from(data),
        book: Book { applied: 3, produced: 2, ..Book::default() },
        incident: None,
    })
}

pub(crate) fn start() -> Quarantined {
    let body = bytes::Bytes::from_static(b"{\"scanId\":\"x\"}");
    Quarantined {
        id: Uuid::from_u128(80),
        endpoint: "scan".into(),
        saga: "scan".into(),
        message_id: MessageId(Uuid::from_u128(81)),
        digest: Digest([1; 16]),
        class: Class::Failed,
        reason: "no answer".to_owned(),
        errors: vec!["no answer".to_owned()],
        instance: Some(InstanceId(Uuid::from_u128(70))),
        run: Some(1),
        state: Some("Scanning".to_owned()),
        attempts: 1,
        message_types: vec!["urn:message:Knarr.UrlScan:SubmitUrl".to_owned()],
        content_type: Some("application/json".to_owned()),
        headers: Headers::new(),
        size: body.len() as u64,
        body,
        exchange: "Knarr.UrlScan:SubmitUrl".to_owned(),
        routing_key: String::new(),
        fingerprint: Some("ab".repeat(32)),
        definition_version: 1,
        at: DateTime::UNIX_EPOCH,
        status: Status::Held,
        incident: None,
        copies: 0,
        released_as: None,
        edits: Vec::new(),
    }
}
