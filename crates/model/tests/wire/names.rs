//! Names of types and endpoints are formed as MassTransit forms them.

use knarr_model::names::{EndpointStyle, check_entity_name, endpoint_name};
use knarr_model::{Message, TypeName};
use serde::{Deserialize, Serialize};

use crate::recorded::json;

/// Types whose URN an attribute replaces: their name alone does not tell it.
const URN_BY_ATTRIBUTE: [&str; 1] = ["Shop.Contracts.StockCounted"];

#[test]
fn mt_277_type_names_give_the_recorded_urns_and_exchanges() {
    let names = json("names.json");
    let types = names["types"].as_array().expect("types");
    for recorded in types {
        let text = |member: &str| recorded[member].as_str().expect("text").to_owned();
        let name = TypeName::parse(&text("type")).expect("a type's name");
        assert_eq!(name.exchange(), text("exchange"));
        assert_eq!(check_entity_name(&name.exchange()), Ok(()));
        if URN_BY_ATTRIBUTE.contains(&text("type").as_str()) {
            assert_ne!(name.urn(), text("urn"));
            continue;
        }
        assert_eq!(name.urn(), text("urn"));
        assert_eq!(recorded["message_types"][0], name.urn());
        let read = TypeName::parse(&name.urn()).expect("a URN");
        assert_eq!(read, name, "a URN is read as the type it was formed from");
    }
    assert!(types.len() >= 14);
}

#[test]
fn endpoint_names_are_the_recorded_ones_in_all_three_styles() {
    let names = json("names.json");
    let endpoints = names["endpoint_names_after_the_suffix_is_stripped"].as_array().expect("names");
    for recorded in endpoints {
        let name = recorded["name"].as_str().expect("a name");
        for (style, member) in [
            (EndpointStyle::Kebab, "kebab"),
            (EndpointStyle::Snake, "snake"),
            (EndpointStyle::Pascal, "default"),
        ] {
            assert_eq!(recorded[member], endpoint_name(name, style), "{name} as {member}");
        }
    }
    assert!(endpoints.len() >= 9);
}

#[test]
fn mt_313_bad_names_are_refused_with_a_reason() {
    for name in ["", "NoNamespace", "A:", ":B", "Ns:Name[[A:B]", "Ns:Name[[A:B]]x"] {
        let error = TypeName::parse(name).expect_err(name).to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
    let deep = format!("A:B{}A:B{}", "[[A:B".repeat(100_000), "]]".repeat(100_000));
    assert!(TypeName::parse(&deep).is_err());
    for name in ["", "a b", "a/b", "a#b", &"x".repeat(256)] {
        assert!(check_entity_name(name).is_err(), "{name}");
    }
    for name in ["Shop.Contracts:Order-Inner", "order_state", "æble-pris", &"x".repeat(255)] {
        assert_eq!(check_entity_name(name), Ok(()));
    }
}

#[derive(Serialize, Deserialize)]
struct OrderSubmitted {}

impl Message for OrderSubmitted {
    fn type_name() -> TypeName {
        TypeName::new("Shop.Contracts", "OrderSubmitted")
    }
}

#[test]
fn a_message_type_knows_its_urn_and_exchange() {
    assert_eq!(OrderSubmitted::urn(), "urn:message:Shop.Contracts:OrderSubmitted");
    assert_eq!(OrderSubmitted::exchange(), "Shop.Contracts:OrderSubmitted");
    let fault = TypeName::new("MassTransit", "Fault").with_args(vec![OrderSubmitted::type_name()]);
    assert_eq!(fault.exchange(), "MassTransit:Fault--Shop.Contracts:OrderSubmitted--");
}

#[test]
fn row_077_a_name_with_line_breaks_is_no_type() {
    for text in ["A\r\nB:C", "urn:message:A:B\n", "A.B[[C.D\u{7}]]", "A:\u{0}"] {
        let bad = TypeName::parse(text).expect_err("nothing can be sent to it");
        assert!(bad.to_string().contains("control characters"), "{bad}");
    }
    assert!(TypeName::parse("Größe:Straße").is_ok());
}
