//! Requests within a span: they carry its trace context, and are told as spans of their own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use knarr_http::{Auth, Client, Secret};
use knarr_model::TraceParent;
use knarr_model::ports::Spans;
use knarr_model::trace::{Span, SpanKind, Told};
use knarr_model::within::{Scope, within};
use tokio::sync::mpsc;

use crate::server::{Server, answer, client, request};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Tells its spans to the test.
struct Taker(mpsc::Sender<Span>);

impl Spans for Taker {
    fn begin(&self, parent: Option<TraceParent>) -> TraceParent {
        let parent = parent.expect("requests have one");
        TraceParent { span: parent.span.saturating_add(1), ..parent }
    }

    fn end(&self, span: Span) {
        self.0.try_send(span).expect("there is room");
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
}

/// A server that hands the test what it is asked.
async fn listening(status: &'static str) -> (Server, mpsc::Receiver<String>) {
    let (asked, from) = mpsc::channel(4);
    let server = Server::start(move |mut stream| {
        let asked = asked.clone();
        async move {
            let text = request(&mut stream).await;
            let _ = asked.send(text).await;
            let answer = answer(status, "", "{}");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    })
    .await;
    (server, from)
}

fn scope(spans: Option<Arc<dyn Spans>>) -> Option<Arc<Scope>> {
    let place = PARENT.parse().expect("valid");
    Some(Arc::new(Scope { place, state: Some("vendor=1".to_owned()), spans }))
}

async fn get(client: &Client, url: String, scope: Option<Arc<Scope>>) {
    let key = Auth::Query { name: "key".to_owned(), key: Secret::new("hunter2") };
    let sent = async { client.get(url).auth(&key).send().await };
    let _any = within(scope, sent.boxed()).await;
}

fn header(request: &str, name: &str) -> Option<String> {
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
    request.lines().find_map(of)
}

fn text(span: &Span, name: &str) -> String {
    match span.get(name) {
        Some(Told::Text(text)) => text.clone(),
        Some(Told::Number(number)) => number.to_string(),
        None => String::new(),
    }
}

#[tokio::test]
async fn a_request_within_a_span_carries_its_own_and_is_told() {
    let (server, mut asked) = listening("200 OK").await;
    let (told, mut spans) = mpsc::channel(4);
    get(&client(), server.url("/a?b=c"), scope(Some(Arc::new(Taker(told))))).await;
    let asked = asked.recv().await.expect("it was asked");
    let own = PARENT.replace("3331", "3332");
    assert_eq!(header(&asked, "traceparent").as_deref(), Some(own.as_str()), "{asked}");
    assert_eq!(header(&asked, "tracestate").as_deref(), Some("vendor=1"));
    let span = spans.recv().await.expect("a span");
    assert_eq!((span.name.as_str(), span.kind), ("GET", SpanKind::Client));
    assert_eq!(span.place.to_string(), own);
    assert_eq!(span.parent.map(|parent| parent.to_string()).as_deref(), Some(PARENT));
    assert_eq!(text(&span, "url.full"), server.url("/a"));
    assert_eq!(text(&span, "http.response.status_code"), "200");
    assert_eq!(text(&span, "server.port"), server.address.port().to_string());
    assert_eq!(span.error, None);
    assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
}

#[tokio::test]
async fn a_request_that_fails_is_a_span_with_an_error() {
    let (server, _asked) = listening("503 Busy").await;
    let (told, mut spans) = mpsc::channel(4);
    let spans_to: Arc<dyn Spans> = Arc::new(Taker(told));
    get(&client(), server.url("/"), scope(Some(spans_to.clone()))).await;
    let span = spans.recv().await.expect("a span");
    assert_eq!((text(&span, "error.type").as_str(), span.error.is_some()), ("503", true));
    drop(server);
    get(&client(), "http://10.0.0.1/".to_owned(), scope(Some(spans_to.clone()))).await;
    assert!(spans.try_recv().is_err(), "what is refused here is no request");
    let nobody = Server::answering("").await;
    get(&client(), nobody.url("/"), scope(Some(spans_to))).await;
    let span = spans.recv().await.expect("a span");
    assert_eq!(text(&span, "error.type"), "broken");
    assert!(span.error.is_some_and(|why| !why.contains("hunter2")));
}

#[tokio::test]
async fn without_anybody_who_takes_spans_the_context_is_handed_on_and_without_a_span_there_is_none()
{
    let (server, mut asked) = listening("200 OK").await;
    get(&client(), server.url("/"), scope(None)).await;
    let first = asked.recv().await.expect("it was asked");
    assert_eq!(header(&first, "traceparent").as_deref(), Some(PARENT));
    get(&client(), server.url("/"), None).await;
    let second = asked.recv().await.expect("it was asked");
    assert_eq!(header(&second, "traceparent"), None, "{second}");
}
