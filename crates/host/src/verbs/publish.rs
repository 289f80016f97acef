//! `publish`: one message by hand, to the broker, or on the embedded default through the server.

use std::sync::Arc;

use knarr_admin::Draft;
use knarr_model::ports::Clock;
use knarr_model::{HeaderValue, Headers, MessageId};
use serde_json::json;
use serde_json::value::RawValue;

use super::flags::pair;
use super::operate::{Api, Reach};
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::error::Error;
use crate::sender::sender;
use crate::server::publish;
use crate::{compose, out, read};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The type: `Namespace:Name` or its URN
    message_type: String,
    /// The message as a JSON object; `-` reads it from standard input, `@FILE` from a file
    message: String,
    /// A header; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    args.reach.begin_log(&app)?;
    let values = app.values(&args.reach.settings())?;
    let config = Config::of(&values)?;
    let text = text(&args.message)?;
    let message: Box<RawValue> = serde_json::from_str(&text)
        .map_err(|error| Error::Failed(format!("the message is not JSON: {error}")))?;
    let given = args.header.iter().cloned();
    let headers = Headers(given.map(|(name, text)| (name, HeaderValue::Text(text))).collect());
    let draft = Draft::new(&args.message_type, &message, headers)
        .map_err(|bad| Error::Failed(bad.to_string()))?;
    let urn = draft.urn();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = match compose::broker(&config, app.name(), &clock)? {
        Some(broker) => {
            let id = MessageId(clock.new_id());
            let host = sender(app.name(), app.told_version());
            let published = publish(&*broker, draft, id, &*clock, &host).await;
            broker.close().await;
            published?;
            id.to_string()
        }
        None => {
            let headers: serde_json::Map<_, _> =
                args.header.into_iter().map(|(name, text)| (name, text.into())).collect();
            let body = json!({ "type": urn, "message": message, "headers": headers });
            let answer = Api::open(&values)?.post("/api/v1/messages", &body).await?;
            answer["messageId"].as_str().unwrap_or_default().to_owned()
        }
    };
    match args.reach.json {
        true => out::json(&json!({ "messageId": id, "type": urn })),
        false => out::line(&format!("published {id} as {urn}")),
    }
}

/// What the argument names.
fn text(argument: &str) -> Result<String, Error> {
    match argument.strip_prefix('@') {
        Some(path) => read::text(path),
        None if argument == "-" => read::text(argument),
        None => Ok(argument.to_owned()),
    }
}
