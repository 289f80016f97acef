//! Everything that the derives accept, and what comes out.

use knarr_saga::{Call, Message, States, Timer, TypeName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop.Contracts")]
struct IOrderEvent {
    correlation_id: Uuid,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop.Orders", name = "Orders+Submitted")]
#[message(bases(IOrderEvent, "Shop.Contracts:IEvent"), correlation = "order")]
struct Submitted {
    correlation_id: Uuid,
    order: Option<Uuid>,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop")]
struct Conventional {
    command_id: Uuid,
    event_id: Option<Uuid>,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop")]
enum Either {
    Left,
    Right { n: u8 },
}

#[derive(Serialize, Deserialize, Message)]
#[serde(bound = "T: Message")]
#[message(namespace = "MassTransit")]
struct Fault<T> {
    message: T,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop")]
struct Tuple(u8);

#[derive(Clone, Copy, Debug, PartialEq, States)]
enum Step {
    Open,
    r#Closed,
}

#[derive(Serialize, Deserialize, Call)]
#[call(output = Vec<u8>, name = "fetch-it")]
struct Fetch;

#[derive(Serialize, Deserialize, Call)]
#[call(output = ())]
struct Forget {
    id: Uuid,
}

#[derive(Timer)]
struct Deadline;

#[derive(Timer)]
enum Due {
    Soon,
    Late,
}

#[test]
fn behaviours_17_a_message_lists_its_bases_nearest_first() {
    assert_eq!(Submitted::urn(), "urn:message:Shop.Orders:Orders+Submitted");
    assert_eq!(Submitted::exchange(), "Shop.Orders:Orders-Submitted");
    let bases: Vec<String> = Submitted::base_types().iter().map(TypeName::urn).collect();
    let expected = ["urn:message:Shop.Contracts:IOrderEvent", "urn:message:Shop.Contracts:IEvent"];
    assert_eq!(bases, expected);
    assert_eq!(Fault::<Tuple>::exchange(), "MassTransit:Fault--Shop:Tuple--");
}

#[test]
fn behaviours_4_ids_by_convention_and_by_declaration() {
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let submitted = Submitted { correlation_id: one, order: Some(two) };
    assert_eq!(submitted.conventional_id(), Some(two));
    let submitted = Submitted { correlation_id: one, order: None };
    assert_eq!(submitted.conventional_id(), None, "the declared member counts alone");

    let mut conventional = Conventional { command_id: one, event_id: Some(two) };
    assert_eq!(conventional.conventional_id(), Some(two));
    conventional.event_id = None;
    assert_eq!(conventional.conventional_id(), Some(one));

    let known = [Conventional::HAS_ID, Submitted::HAS_ID, Either::HAS_ID, Tuple::HAS_ID];
    assert_eq!(known, [true, true, false, false]);
    for either in [Either::Left, Either::Right { n: 1 }] {
        assert_eq!(either.conventional_id(), None);
    }
}

#[test]
fn states_know_their_names_and_places() {
    assert_eq!(Step::NAMES, ["Open", "Closed"]);
    assert_eq!(Step::ALL, [Step::Open, Step::Closed]);
    assert_eq!(Step::from_name("Closed"), Some(Step::Closed));
    assert_eq!(Step::from_name("Final"), None);
    assert_eq!((Step::Closed.name(), Step::Closed.number()), ("Closed", 1));
}

#[test]
fn calls_and_timers_are_named() {
    assert_eq!((Fetch::name(), Forget::name()), ("fetch-it", "Forget"));
    let names = [Deadline.name(), Due::Soon.name(), Due::Late.name()];
    assert_eq!(names, ["Deadline", "Soon", "Late"]);
}
