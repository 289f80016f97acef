//! Which instance a message is for.

use knarr_model::commit::Key;
use knarr_model::{Envelope, InstanceId, MessageId};
use knarr_saga::prelude::*;
use knarr_saga::{InstanceTarget, Verdict, definition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kit::{Bench, envelope, raw};

const A: Uuid = Uuid::from_u128(0xA);
const B: Uuid = Uuid::from_u128(0xB);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Begin {
    order: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test", name = "Ship", bases("Test:OrderEvent"))]
struct ShipOrder {
    service_id: Option<Uuid>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, Message)]
#[message(namespace = "Test")]
struct Conventional {
    command_id: Uuid,
    event_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
}

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(namespace = "Test", correlation = "parcel")]
struct Tracked {
    correlation_id: Uuid,
    parcel: Uuid,
}

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Open,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ShippingSaga;

impl Machine for ShippingSaga {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.correlate_by_key::<Begin>("order", |e| e.order.clone()).reusable();
        m.correlate_maybe::<ShipOrder>(|e| e.service_id);
        m.initially::<Begin>().create(|_, _| ShippingSaga).go_to(Step::Open);
        m.during_any().on::<ShipOrder>().then(track).stay();
        m.during_any().on::<Conventional>().stay();
        m.during_any().on::<Tracked>().finish();
    }
}

fn track(_: &mut ShippingSaga, _: &ShipOrder, out: &mut Effects<ShippingSaga>) {
    out.take_key("parcel", "P-1");
    out.take_key("parcel", "P-1");
}

fn target<E: Message>(message: &E) -> Result<InstanceTarget, String> {
    let correlated = definition::<ShippingSaga>().correlate(&envelope(MessageId(A), message));
    correlated.map(|c| c.target).map_err(|bad| bad.to_string())
}

fn id(id: Uuid) -> Result<InstanceTarget, String> {
    Ok(InstanceTarget::Id(InstanceId(id)))
}

#[test]
fn mt_027_an_id_may_be_any_member_that_is_declared() {
    assert_eq!(target(&ShipOrder { service_id: Some(A) }), id(A));
    let error = target(&ShipOrder { service_id: None }).expect_err("no id");
    assert!(error.starts_with("Test:Ship: it names no instance of "), "{error}");
    assert!(error.ends_with("the id declared for it is absent or zero"), "{error}");
}

#[test]
fn mt_023_mt_025_mt_026_ids_by_convention_are_tried_in_their_order() {
    let mut message = Conventional { command_id: A, ..Conventional::default() };
    assert_eq!(target(&message), id(A));
    message.event_id = Some(B);
    assert_eq!(target(&message), id(B));
    message.correlation_id = Some(A);
    assert_eq!(target(&message), id(A));
    message.correlation_id = Some(Uuid::nil());
    assert_eq!(target(&message), id(B), "the zero id counts as absent");
    assert!(target(&Conventional::default()).is_err());
    assert_eq!(target(&Tracked { correlation_id: A, parcel: B }), id(B), "a declared member wins");
}

#[test]
fn mt_030_mt_031_a_start_by_key_takes_its_key_and_a_row_may_take_more() {
    let key = Key { name: "order".to_owned(), value: "A-1".to_owned() };
    let begin = Begin { order: "A-1".to_owned() };
    assert_eq!(target(&begin), Ok(InstanceTarget::Key(key)));
    let error = target(&Begin { order: String::new() }).expect_err("no key");
    assert!(error.ends_with("its key `order` is empty"), "{error}");

    let mut bench = Bench::of::<ShippingSaga>();
    bench.send(&begin);
    let keys = |bench: &Bench| bench.stored().expect("stored").book.keys;
    assert_eq!(keys(&bench), [("order".to_owned(), "A-1".to_owned())]);
    bench.reload();
    assert_eq!(bench.send(&ShipOrder { service_id: Some(A) }).verdict, Verdict::Applied);
    assert_eq!(keys(&bench)[1..], [("parcel".to_owned(), "P-1".to_owned())]);
    assert!(bench.definition.key_is_reusable("order"));
    assert!(!bench.definition.key_is_reusable("parcel"));
}

#[test]
fn types_are_matched_in_any_case_and_the_most_derived_known_one_wins() {
    let mut envelope = envelope(MessageId(A), &ShipOrder { service_id: Some(B) });
    envelope.message_types =
        vec!["urn:message:Test:ShipByAir".to_owned(), "URN:message:test:SHIP".to_owned()];
    let definition = definition::<ShippingSaga>();
    let correlated = definition.correlate(&envelope).expect("known");
    assert_eq!((correlated.event.as_str(), correlated.starts), ("Test:Ship", false));
    assert_eq!(correlated.urn, "urn:message:Test:Ship");
    let begin = Envelope::new(MessageId(A), Begin::urn(), raw(&Begin { order: "x".to_owned() }));
    assert!(definition.correlate(&begin).expect("known").starts);
    assert_eq!(&**definition.name(), "shipping", "kebab case, without a closing Saga");
}

#[test]
fn pe_123_a_key_of_zeros_is_a_key_and_a_missing_one_is_named_with_saga_and_message() {
    for zeros in ["0", "000", "00000000-0000-0000-0000-000000000000", "\0"] {
        let key = Key { name: "order".to_owned(), value: zeros.to_owned() };
        assert_eq!(target(&Begin { order: zeros.to_owned() }), Ok(InstanceTarget::Key(key)));
    }
    let error = target(&Begin { order: String::new() }).expect_err("no key");
    assert_eq!(error, "Test:Begin: it names no instance of shipping: its key `order` is empty");
    let error = target(&Conventional::default()).expect_err("no id");
    let member = "its correlation_id (or event_id, command_id) is absent or zero";
    assert_eq!(error, format!("Test:Conventional: it names no instance of shipping: {member}"));
    for (body, member) in [("{}", "missing field `order`"), (r#"{"order":null}"#, "`order`")] {
        let body = serde_json::value::RawValue::from_string(body.to_owned()).expect("JSON");
        let envelope = Envelope::new(MessageId(A), Begin::urn(), body.into());
        let error = definition::<ShippingSaga>().correlate(&envelope).expect_err("no key");
        let text = error.to_string();
        assert!(text.starts_with("Test:Begin: ") && text.contains(member), "{text}");
    }
}
