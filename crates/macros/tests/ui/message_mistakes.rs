use knarr_saga::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Not a namespace")]
struct BadNamespace;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop", nome = "Typo")]
struct BadOption;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop", correlation = "order")]
struct NoField {
    n: u8,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop", bases("NoNamespace"))]
struct BadBase;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop")]
struct BadId {
    correlation_id: String,
}

struct NoMessage;

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop", bases(NoMessage))]
struct BaseIsNone;

fn main() {}
