//! A real .NET requester: what fails here for good it sees as its own exception, with our words.

use std::time::Duration;

use knarr::App;
use knarr::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dotnet::{Peer, peer};
use crate::serving::Serving;
use crate::wire::Wire;
use crate::world::{World, until};

/// What the .NET service asks with.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Shop.Contracts", correlation = "order_id")]
#[serde(rename_all = "camelCase")]
struct CheckOrder {
    order_id: Uuid,
}

/// What it is answered with.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Shop.Contracts", correlation = "order_id")]
#[serde(rename_all = "camelCase")]
struct OrderStatus {
    order_id: Uuid,
    state: String,
}

#[derive(Clone, Copy, Debug, States)]
enum Ledger {
    Open,
}

/// Knows nothing of orders that begin with 1, is done at once with those that begin with 2, and
/// fails when it is asked a second time about any other.
#[derive(Clone, Serialize, Deserialize)]
struct OrderDesk;

fn first_digit(order: Uuid) -> u8 {
    order.as_bytes()[0] >> 4
}

impl Machine for OrderDesk {
    type State = Ledger;

    fn define(m: &mut Table<Self>) {
        m.retry(RetryPolicy::fixed(2, Duration::from_millis(50)));
        let look = |e: &CheckOrder, out: &mut Effects<Self>| {
            if first_digit(e.order_id) == 1 {
                return Err(format!("nobody knows order {}", e.order_id));
            }
            out.respond(OrderStatus { order_id: e.order_id, state: "open".to_owned() });
            Ok(OrderDesk)
        };
        m.initially::<CheckOrder>().create(look).branch(
            [To(Ledger::Open), Finish],
            |_, e: &CheckOrder, _: &mut Effects<Self>| match first_digit(e.order_id) {
                2 => Finish,
                _ => To(Ledger::Open),
            },
        );
        let again = |_: &mut Self, e: &CheckOrder, _: &mut Effects<Self>| -> Result<(), String> {
            Err(format!("the ledger of {} is closed", e.order_id))
        };
        m.during([Ledger::Open]).on::<CheckOrder>().then(again).stay();
        m.during([Ledger::Open]).after("end").finish();
    }
}

/// A request of the .NET service, and how it ends: with an answer, or with its exception. It goes
/// to the exchange: for a `queue:` address .NET would declare a classic queue.
async fn request(dotnet: &mut Peer, order: Uuid, ends: &str) -> Value {
    let message = json!({ "orderId": order });
    let asked = json!({
        "id": order, "do": "request", "to": "exchange:order-desk", "timeout": 60,
        "type": "Shop.Contracts:CheckOrder", "message": message,
    });
    dotnet.say(asked).await;
    dotnet.next(ends).await
}

/// The member of a fault as .NET has it, whatever the case of its names.
fn member<'a>(of: &'a Value, name: &str) -> &'a Value {
    let members = of.as_object().unwrap_or_else(|| panic!("no object: {of:#}"));
    let found = members.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {of:#}")).1
}

fn check(event: &Value, kind: &str, text: &str) {
    let fault = &event["fault"];
    let types = member(fault, "faultMessageTypes");
    assert_eq!(*types, json!(["urn:message:Shop.Contracts:CheckOrder"]), "{event:#}");
    assert!(member(fault, "faultedMessageId").is_string(), "{event:#}");
    let exception = &member(fault, "exceptions")[0];
    assert_eq!(*member(exception, "exceptionType"), kind, "{event:#}");
    let told = member(exception, "message").as_str().expect("text");
    assert!(told.contains(text), "{told}");
    println!("{kind}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_mt_349_live_a_masstransit_requester_sees_its_fault_exception_with_our_words() {
    let Some(path) = peer() else {
        println!("SKIPPED: no MassTransit peer here; name it in KNARR_MASSTRANSIT");
        return;
    };
    let world = World::new().await;
    let app = App::new("order-desk")
        .saga::<OrderDesk>()
        .alone()
        .set("KNARR_BROKER", &world.broker)
        .set("KNARR_STORE", &world.store)
        .set("KNARR_DATA_DIR", world.folder().to_str().expect("text"))
        .set("KNARR_LISTEN", "127.0.0.1:0");
    let server = app.start().await.expect("it starts");
    server.ready().await;
    let mut dotnet = Peer::start(path, &world).await;
    let order = |first: u8| {
        let mut bytes = *Uuid::new_v4().as_bytes();
        bytes[0] = first << 4;
        Uuid::from_bytes(bytes)
    };
    // A start message beyond its budget; the queue flows on.
    let unknown = order(1);
    let event = request(&mut dotnet, unknown, "fault").await;
    check(&event, "Knarr.Exhausted", &format!("nobody knows order {unknown}"));
    // The same again is a copy of it, and is told so.
    let event = request(&mut dotnet, unknown, "fault").await;
    check(&event, "Knarr.Failed", "a copy of it is set aside");
    // A run that is over.
    let done = order(2);
    request(&mut dotnet, done, "done").await;
    let event = request(&mut dotnet, done, "fault").await;
    check(&event, "Knarr.AlreadyFinished", "has finished");
    // A run that fails on the second request is contained; whoever asked is told in the same commit.
    let open = order(3);
    request(&mut dotnet, open, "done").await;
    let event = request(&mut dotnet, open, "fault").await;
    check(&event, "Knarr.Exhausted", &format!("the ledger of {open} is closed"));
    dotnet.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b20_live_masstransit_consumes_the_fault_of_a_contained_run_and_a_copy_lies_in_error() {
    let Some(path) = peer() else {
        println!("SKIPPED: no MassTransit peer here; name it in KNARR_MASSTRANSIT");
        return;
    };
    let world = World::new().await;
    let serving = Serving::ready(&world, &[("KNARR_MIRROR_ERRORS", "true")]).await;
    let wire = Wire::open(&world).await;
    wire.tap("errors", "url-scan_error").await;
    let mut dotnet = Peer::start(path, &world).await;
    let scan = Uuid::now_v7();
    let message = json!({ "scanId": scan, "url": "http://refused.test/both" });
    let submit = json!({ "do": "publish", "type": "Knarr.UrlScan:SubmitUrl", "message": message });
    dotnet.say(submit).await;
    // Another of its consumers takes every fault, whatever it is of.
    let urn = "urn:message:MassTransit:Fault[[Knarr.UrlScan:SubmitUrl]]";
    let mut event = dotnet.next("consumed").await;
    while event["as"] != urn {
        assert_eq!(event["as"], "urn:message:MassTransit:Fault", "{event:#}");
        event = dotnet.next("consumed").await;
    }
    let fault = &event["message"];
    let exception = &member(fault, "exceptions")[0];
    assert_eq!(*member(exception, "exceptionType"), "Knarr.Failed", "{event:#}");
    let text = member(exception, "message").as_str().expect("text");
    assert!(text.contains("VirusTotal") && text.contains("Safe Browsing"), "{text}");
    let of = member(member(fault, "message"), "scanId");
    assert_eq!(*of, json!(scan), "the message stands in it: {event:#}");
    // Teams with tools on `_error` find a copy there.
    let copies = until("there is a copy", async || {
        let copies = wire.take_all("errors").await;
        if copies.is_empty() { Err("none yet".to_owned()) } else { Ok(copies) }
    })
    .await;
    let copy: Value = serde_json::from_slice(&copies[0]).expect("an envelope");
    assert_eq!((copies.len(), &copy["message"]), (1, &message));
    wire.close().await;
    dotnet.stop().await;
    assert!(serving.stop().await.success());
}
