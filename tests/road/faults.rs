//! Whoever waits is told: faults as MassTransit writes them, and copies for tools that look there.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::{Class, Envelope, HeaderValue};
use knarr_saga::definition::Definition;
use knarr_saga::prelude::*;
use knarr_saga::{definition, definition_with};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::kit::{
    Act, Begin, Go, Never, Recorded, Road, Sent, Shrug, anna, errand, errand_with, fails, id,
};

const LONG: Duration = Duration::from_secs(10);
const RESPONSE: &str = "rabbitmq://localhost/asker?temporary=true";

/// What the recorded consumer was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Shop.Contracts")]
#[serde(rename_all = "camelCase")]
struct FailPlease {
    correlation_id: Uuid,
    why: String,
    kind: String,
}

#[derive(Clone, Copy, Debug, States)]
enum Wish {
    Granted,
}

/// Does as the recorded consumer: it fails with the text that it is asked for.
#[derive(Clone, Serialize, Deserialize)]
struct Fail;

impl Machine for Fail {
    type State = Wish;

    fn define(m: &mut Table<Self>) {
        m.retry(RetryPolicy::none());
        let wish = |e: &FailPlease, _: &mut Effects<Self>| -> Result<Fail, String> {
            Err(format!("as you wish: {}", e.why))
        };
        m.initially::<FailPlease>().create(wish).go_to(Wish::Granted);
        m.during([Wish::Granted]).after("end").finish();
    }
}

/// Members of every fault that are the sender's own: ids, times, and how it names itself and what
/// went wrong.
const OWN: [&str; 11] = [
    "body.messageId",
    "body.sourceAddress",
    "body.sentTime",
    "body.host.*",
    "body.message.faultId",
    "body.message.timestamp",
    "body.message.exceptions.0.exceptionType",
    "body.message.exceptions.0.stackTrace",
    "body.message.exceptions.0.source",
    "body.message.exceptions.0.data",
    "body.message.host.*",
];

/// The recorded message of a step fails here too; what leaves, and what MassTransit sent.
async fn replayed(step: &str, mirror: bool) -> (Road, Vec<Sent>, Recorded) {
    let saga = definition::<Fail>();
    let road = Road::with(saga).settings(|s| s.mirror_errors = mirror).start();
    road.post_recorded(&Recorded::read(&format!("{step}.01")));
    road.pass_and_settle(LONG).await;
    let mut sent = road.broker().sent();
    sent.retain(|sent| !sent.outgoing.exchange.starts_with("Knarr:"));
    (road, sent, Recorded::read(&format!("{step}.02")))
}

fn body(sent: &Sent) -> Value {
    serde_json::from_slice(&sent.outgoing.body).expect("an envelope")
}

#[tokio::test(start_paused = true)]
async fn b1_pe_081_a_published_fault_is_member_by_member_what_masstransit_publishes() {
    let (road, sent, theirs) = replayed("fault-published", false).await;
    let own = [&OWN[..], &["body.destinationAddress", "properties.message_id"]].concat();
    theirs.must_equal(&sent[0], &own, &[]);
    assert_eq!(sent.len(), 1, "once");
    let ours = body(&sent[0]);
    assert_eq!(ours["sourceAddress"], "rabbitmq://here/fail");
    let to = "rabbitmq://here/MassTransit:Fault--Shop.Contracts:FailPlease--";
    assert_eq!(ours["destinationAddress"], to);
    let exception = &ours["message"]["exceptions"][0];
    assert_eq!(
        (&exception["exceptionType"], &exception["stackTrace"]),
        (&"Knarr.Exhausted".into(), &"".into())
    );
    assert_eq!(exception["data"]["class"], "exhausted");
    assert!(sent[0].outgoing.sequence.is_none(), "it belongs to no run");
    assert_eq!(road.quarantine().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn b1_a_fault_goes_to_the_address_for_faults_as_masstransit_sends_it() {
    let (_, sent, theirs) = replayed("fault-to-address", false).await;
    let own = [&OWN[..], &["body.destinationAddress", "properties.message_id"]].concat();
    theirs.must_equal(&sent[0], &own, &[]);
    assert_eq!(body(&sent[0])["destinationAddress"], "rabbitmq://here/fault-box");
}

#[tokio::test(start_paused = true)]
async fn b1_mt_146_a_requester_gets_its_fault_as_masstransit_sends_it() {
    let (_, sent, theirs) = replayed("request-fault", false).await;
    // What is left of the request's time is told anew by .NET; here it ends when the request does.
    let left = ["body.expirationTime", "properties.expiration", "properties.message_id"];
    theirs.must_equal(&sent[0], &[&OWN[..], &left].concat(), &[]);
    let request = Recorded::read("request-fault.01");
    let ends = |body: &Value| body["expirationTime"].as_str().map(|text| text[..23].to_owned());
    assert_eq!(ends(&body(&sent[0])), ends(&request.body));
}

#[tokio::test(start_paused = true)]
async fn b20_a_mirrored_message_is_what_masstransit_moves_to_its_error_queue() {
    for step in ["fault-published", "fault-to-address", "request-fault"] {
        let (mut road, sent, _) = replayed(step, true).await;
        let theirs = Recorded::read(&format!("{step}.03"));
        let ours = sent.iter().find(|sent| sent.outgoing.exchange == theirs.exchange);
        let ours = ours.expect("it is mirrored");
        theirs.must_equal(
            ours,
            &[
                "headers.MT-Host-MachineName.*",
                "headers.MT-Host-ProcessName.*",
                "headers.MT-Host-ProcessId.*",
                "headers.MT-Host-Assembly.*",
                "headers.MT-Host-AssemblyVersion.*",
                "headers.MT-Host-FrameworkVersion.*",
                "headers.MT-Host-OperatingSystemVersion.*",
                "headers.MT-Fault-ExceptionType.*",
                "headers.MT-Fault-InputAddress.*",
                "headers.MT-Fault-Timestamp.*",
                "headers.MT-Fault-StackTrace.*",
                "headers.MT-Fault-ConsumerType.*",
            ],
            &["headers.Knarr-Quarantine-Id", "headers.MT-Host-MassTransitVersion"],
        );
        let row = road.quarantine().remove(0);
        let named = ours.outgoing.headers.text("Knarr-Quarantine-Id");
        assert_eq!(named, Some(row.id.to_string()));
        let kind = ours.outgoing.headers.text("MT-Fault-ExceptionType");
        assert_eq!(kind.as_deref(), Some("Knarr.Exhausted"), "as in the fault");
        moved_back(&mut road, ours, row.id).await;
    }
}

/// A copy that is moved back restarts nothing: it is counted on its row.
async fn moved_back(road: &mut Road, copy: &Sent, row: Uuid) {
    let (sent, decided) = (road.broker().sent().len(), road.journal().len());
    for _ in 0..3 {
        road.shovel(copy);
    }
    road.pass_and_settle(LONG).await;
    assert_eq!((road.broker().sent().len(), road.journal().len()), (sent, decided));
    assert_eq!(road.counters(0).returned_mirrors.get(), 3);
    let rows = road.quarantine();
    assert_eq!((rows.len(), rows[0].id, rows[0].copies), (1, row, 3));
}

#[tokio::test(start_paused = true)]
async fn b20_a_mirrored_raw_message_is_known_by_its_amqp_id_when_it_is_moved_back() {
    let mut road = Road::with(errand()).settings(|s| s.mirror_errors = true).start();
    road.post_unreadable(b"{\"half\":", Class::Undecodable);
    road.settle().await;
    let sent = road.broker().sent();
    let copy = sent.iter().find(|sent| sent.outgoing.exchange == "errand_error").expect("mirrored");
    let row = road.quarantine().remove(0);
    assert_eq!(copy.outgoing.id, row.message_id);
    assert_eq!(copy.outgoing.headers.text("Who").as_deref(), Some("a stranger"));
    moved_back(&mut road, copy, row.id).await;
}

#[tokio::test(start_paused = true)]
async fn mt_141_an_endpoint_may_publish_no_faults_and_still_answers_who_asks() {
    let mut road = Road::with(errand()).settings(|s| s.publish_faults = false).start();
    road.begin(1, vec![fails("unheard")]);
    road.post_unreadable(b"no", Class::Undecodable);
    let asked = asking(&mut road, Begin { correlation_id: id(2), script: vec![fails("heard")] });
    road.post(&asked);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.quarantine().len(), 3);
    let faults = faults(&road);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0]["message"]["faultedMessageId"], asked.message_id.to_string());
}

#[tokio::test(start_paused = true)]
async fn mt_142_a_fault_is_also_the_fault_of_each_base_type() {
    let mut road = Road::with(errand()).start();
    let mut begin =
        road.envelope(&Begin { correlation_id: id(1), script: vec![fails("by nature")] });
    begin.message_types.push("urn:message:Road:Anything".to_owned());
    road.post(&begin);
    road.pass_and_settle(LONG).await;
    let sent = road.broker().sent();
    let of = "MassTransit:Fault--Road:Begin--";
    let fault = sent.iter().find(|sent| sent.outgoing.exchange == of).expect("it is published");
    let said = body(fault);
    let types = ["Fault[[Road:Begin]]", "Fault[[Road:Anything]]", "Fault"];
    let urns = types.map(|name| format!("urn:message:MassTransit:{name}"));
    assert_eq!(said["messageType"], serde_json::json!(urns));
    assert_eq!(said["message"]["faultMessageTypes"], serde_json::json!(begin.message_types));
    let bases = ["MassTransit:Fault--Road:Anything--", "MassTransit:Fault"];
    let bases = bases.map(str::to_owned).to_vec();
    let to = knarr_model::work::Addressing::Publish { bases };
    assert_eq!(fault.outgoing.addressing, to, "subscribers of a base's fault get it");
}

#[tokio::test(start_paused = true)]
async fn b1_a_fault_tells_how_often_its_message_was_tried_again() {
    let mut road = Road::with(errand()).start();
    let script = vec![fails("always")];
    let mut begin = road.envelope(&Begin { correlation_id: id(1), script });
    begin.headers.set("MT-Redelivery-Count", HeaderValue::I32(2));
    road.post(&begin);
    road.pass_and_settle(LONG).await;
    let sent = road.broker().sent();
    let fault = sent.iter().find(|sent| sent.outgoing.exchange.starts_with("MassTransit:Fault"));
    let fault = fault.expect("it is published");
    for (name, count) in [("MT-Fault-RetryCount", 2), ("MT-Fault-RedeliveryCount", 2)] {
        assert_eq!(fault.outgoing.headers.get(name), Some(&HeaderValue::I32(count)), "{name}");
        assert_eq!(body(fault)["headers"][name], count);
    }
}

/// A message whose sender waits for an answer.
fn asking<M: Message>(road: &mut Road, message: M) -> Envelope {
    let mut asked = road.envelope(&message);
    asked.request_id = Some(Uuid::from_u128(7));
    asked.response_address = Some(RESPONSE.to_owned());
    asked
}

/// The faults that left, as envelopes.
fn faults(road: &Road) -> Vec<Value> {
    let bodies = road.broker().sent().iter().map(body).collect::<Vec<_>>();
    let is_fault = |body: &Value| {
        let first = body["messageType"][0].as_str().unwrap_or_default();
        first.starts_with("urn:message:MassTransit:")
    };
    bodies.into_iter().filter(is_fault).collect()
}

#[tokio::test(start_paused = true)]
async fn mt_145_what_cannot_be_read_reaches_no_behaviour_and_is_told_as_a_receive_fault() {
    let mut road = Road::with(errand()).start();
    let unreadable = road.post_unreadable(b"no JSON at all", Class::Undecodable);
    // A member of the wrong type: the envelope says who asks, so that one is told.
    let mut odd = asking(&mut road, Begin { correlation_id: id(1), script: vec![] });
    let raw = serde_json::value::RawValue::from_string(format!(
        "{{\"correlation_id\":\"{}\",\"script\":12.50}}",
        id(1)
    ));
    odd.message = Arc::from(raw.expect("JSON"));
    road.post(&odd);
    road.settle().await;
    assert_eq!(road.state(id(1)), "none");
    assert!(road.watch().times(unreadable).is_empty());
    let faults = faults(&road);
    assert_eq!(faults.len(), 2);
    let told = |urn: &str| {
        let found = faults.iter().find(|fault| fault["messageType"][0] == urn);
        found.unwrap_or_else(|| panic!("no {urn}: {faults:#?}")).clone()
    };
    let received = told("urn:message:MassTransit:ReceiveFault");
    assert_eq!(received["message"]["faultedMessageId"], unreadable.to_string());
    assert_eq!(received["message"]["exceptions"][0]["exceptionType"], "Knarr.Undecodable");
    assert!(received["message"].get("message").is_none());
    let fault = told("urn:message:MassTransit:Fault[[Road:Begin]]");
    assert_eq!(fault["message"]["exceptions"][0]["exceptionType"], "Knarr.BadMessage");
    assert_eq!(fault["destinationAddress"], RESPONSE);
    let sent = road.broker().sent();
    let bodies: Vec<_> = sent.iter().map(|s| String::from_utf8_lossy(&s.outgoing.body)).collect();
    assert!(bodies.iter().any(|body| body.contains("12.50")), "letter by letter: {bodies:#?}");
}

#[tokio::test(start_paused = true)]
async fn b1_b3_who_asks_a_run_that_is_over_is_told_and_who_only_tells_it_is_not() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![Act::Finish]);
    road.begin(2, vec![]);
    road.settle().await;
    let errand = "errand".into();
    road.desk().purge(&anna(), &errand, id(2).into()).await.expect("it is gone");
    for n in [1, 2] {
        let go = Go { correlation_id: id(n), n: 1, script: vec![] };
        let silent = road.send(&go);
        let asked = asking(&mut road, go);
        let asked = road.post(&asked);
        road.settle().await;
        let outcome = if n == 1 { Outcome::Ignored } else { Outcome::Absorbed };
        assert_eq!((road.outcome(silent), road.outcome(asked)), (Some(outcome), Some(outcome)));
        let faults = faults(&road);
        assert_eq!(faults.len(), n as usize, "only who asks is told: {faults:#?}");
        let fault = faults.last().expect("the last one");
        assert_eq!(fault["message"]["faultedMessageId"], asked.to_string());
        let kinds = ["Knarr.AlreadyFinished", "Knarr.Purged"];
        let kind = &fault["message"]["exceptions"][0]["exceptionType"];
        assert_eq!(*kind, kinds[n as usize - 1], "{fault:#}");
        assert_eq!(fault["requestId"], Uuid::from_u128(7).to_string());
    }
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn b1_nobody_is_told_of_what_is_ignored_or_tried_again() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let shrug = asking(&mut road, Shrug { correlation_id: id(1) });
    let shrug = road.post(&shrug);
    let script = vec![crate::kit::fails_first("twice", 2)];
    let go = asking(&mut road, Go { correlation_id: id(1), n: 1, script });
    let go = road.post(&go);
    // The store is away for a while: that is nobody's fault.
    road.door(0).shut(true);
    road.pass(Duration::from_secs(30)).await;
    road.door(0).shut(false);
    road.pass_and_settle(LONG).await;
    let outcomes = (road.outcome(shrug), road.outcome(go));
    assert_eq!(outcomes, (Some(Outcome::Ignored), Some(Outcome::Applied)));
    assert_eq!(faults(&road), Vec::<Value>::new());
    // Unhandled is quarantine: that is told.
    let never = asking(&mut road, Never { correlation_id: id(1) });
    road.post(&never);
    road.settle().await;
    let faults = faults(&road);
    assert_eq!(faults[0]["message"]["exceptions"][0]["exceptionType"], "Knarr.Unhandled");
}

#[tokio::test(start_paused = true)]
async fn mt_295_b1_a_failed_run_is_told_to_who_began_it_and_to_who_it_failed_on() {
    let mut road = Road::with(contained()).start();
    let begin = asking(&mut road, Begin { correlation_id: id(1), script: vec![] });
    road.post(&begin);
    road.settle().await;
    let mut go =
        road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![fails("hopeless")] });
    go.fault_address = Some("exchange:fault-box".to_owned());
    road.post(&go);
    road.pass_and_settle(LONG).await;
    let faults = faults(&road);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    for (fault, (of, to, retries)) in faults
        .iter()
        .zip([(&begin, RESPONSE, Value::Null), (&go, "rabbitmq://here/fault-box", 2.into())])
    {
        assert_eq!(fault["message"]["faultedMessageId"], of.message_id.to_string());
        assert_eq!(fault["destinationAddress"], to);
        assert_eq!(fault["headers"]["MT-Fault-RetryCount"], retries);
        assert_eq!(fault["message"]["exceptions"][0]["message"], "hopeless");
    }
    // What is released is told of no more than once: by then somebody knows.
    let row = road.quarantine().remove(0);
    let desk = road.desk();
    desk.resume(&anna(), &"errand".into(), false).await.expect("it is open");
    desk.release(&anna(), &[row.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    assert_eq!(self::faults(&road).len(), 2);
}

fn contained() -> Arc<dyn Definition> {
    errand_with::<0>(|m| {
        m.on_failure(OnFailure::Contain);
    })
}

/// A failure whose text is very long, very deep, or not to be written at all.
#[derive(Debug)]
enum Awful {
    Long,
    Deep(u32),
    Mute,
}

impl std::fmt::Display for Awful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Awful::Long => f.write_str(&"ä".repeat(5 << 20)),
            Awful::Deep(depth) => write!(f, "depth {depth}"),
            Awful::Mute => Err(std::fmt::Error),
        }
    }
}

impl std::error::Error for Awful {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        static DEPTHS: [Awful; 2] = [Awful::Deep(1), Awful::Deep(0)];
        match self {
            // A chain that never ends.
            Awful::Deep(depth) => Some(if *depth == 0 { &DEPTHS[0] } else { &DEPTHS[1] }),
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pe_065_mt_147_an_error_that_cannot_be_told_is_told_within_bounds() {
    let saga = definition_with::<Fail>(|m| {
        m.retry(RetryPolicy::none());
        let awful = |e: &FailPlease, _: &mut Effects<Fail>| -> Result<Fail, Awful> {
            Err(match e.why.as_str() {
                "long" => Awful::Long,
                "deep" => Awful::Deep(100),
                _ => Awful::Mute,
            })
        };
        m.initially::<FailPlease>().create(awful).go_to(Wish::Granted);
        m.during([Wish::Granted]).after("end").finish();
    });
    let mut road = Road::with(saga).start();
    for (n, why) in ["long", "deep", "mute"].into_iter().enumerate() {
        let (why, kind) = (why.to_owned(), "plain".to_owned());
        road.send(&FailPlease { correlation_id: id(n as u128), why, kind });
    }
    road.pass_and_settle(LONG).await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let (class, errors) = (row.class, row.errors.len());
        assert_eq!(class, Class::Exhausted, "{}", row.reason);
        assert!((1..=64).contains(&errors), "{errors} causes");
        assert!(!row.reason.is_empty());
        assert!(row.errors.iter().all(|text| text.len() <= 4096));
    }
    assert_eq!(faults(&road).len(), 3);
    assert!(road.broker().sent().iter().all(|sent| sent.outgoing.body.len() < 300_000));
}
