//! A collector of traces and metrics that plays its part over a real socket: OTLP in protobuf, over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A span as it arrived, ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct SeenSpan {
    /// Its name.
    pub name: String,
    /// `Consumer`, `Producer`, `Client` or `Internal`.
    pub kind: String,
    /// The trace.
    pub trace: String,
    /// Itself.
    pub id: String,
    /// What caused it; empty for the first of a trace.
    pub parent: String,
    /// The vendors' part of its context.
    pub state: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of what it links.
    pub links: Vec<(String, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// When it began and ended, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// What describes who sent it.
    pub resource: BTreeMap<String, String>,
}

impl SeenSpan {
    /// An attribute; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// All that can be read is taken.
    Takes,
    /// Everything is answered with this status.
    Refuses(u16),
    /// Nothing is ever answered.
    Silent,
}

#[derive(Default)]
struct Seen {
    spans: Vec<SeenSpan>,
    /// The last value of each metric.
    metrics: BTreeMap<String, i64>,
    /// Requests, by path.
    requests: Vec<String>,
    /// Header lines of the last request.
    head: String,
    /// Requests that were no OTLP.
    wrong: Vec<String>,
}

/// A collector; it ends with its owner.
pub struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    mood: Arc<Mutex<Mood>>,
    accepting: JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port of this machine.
    pub async fn start(mood: Mood) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, mood) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(mood)));
        let (into, moods) = (seen.clone(), mood.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, into.clone(), moods.clone()));
            }
        });
        Collector { address, seen, mood, accepting }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on requests are answered so.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Every span that was taken.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.seen.lock().spans.clone()
    }

    /// The last value of each metric without labels.
    pub fn metrics(&self) -> BTreeMap<String, i64> {
        self.seen.lock().metrics.clone()
    }

    /// Paths that were asked for, taken or not.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().requests.clone()
    }

    /// The head of the last request.
    pub fn head(&self) -> String {
        self.seen.lock().head.clone()
    }

    /// What came and was no OTLP.
    pub fn wrong(&self) -> Vec<String> {
        self.seen.lock().wrong.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>, mood: Arc<Mutex<Mood>>) {
    let mut read = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut read).await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().requests.push(path.clone());
        let now = *mood.lock();
        let status = match now {
            Mood::Silent => std::future::pending().await,
            Mood::Refuses(status) => status,
            Mood::Takes => take(&mut seen.lock(), &head, &path, &body),
        };
        seen.lock().head = head;
        let answer = format!("HTTP/1.1 {status} As asked\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Takes one request; the status that it is answered with.
fn take(seen: &mut Seen, head: &str, path: &str, body: &[u8]) -> u16 {
    let lower = head.to_ascii_lowercase();
    if !lower.starts_with("post ") || !lower.contains("content-type: application/x-protobuf\r\n") {
        seen.wrong.push(head.to_owned());
        return 415;
    }
    let taken = match path {
        "/v1/traces" => ExportTraceServiceRequest::decode(body).map(|sent| take_spans(seen, sent)),
        "/v1/metrics" => {
            ExportMetricsServiceRequest::decode(body).map(|sent| take_metrics(seen, sent))
        }
        _ => {
            seen.wrong.push(path.to_owned());
            return 404;
        }
    };
    match taken {
        Ok(()) => 200,
        Err(error) => {
            seen.wrong.push(error.to_string());
            400
        }
    }
}

fn take_spans(seen: &mut Seen, sent: ExportTraceServiceRequest) {
    for of_resource in sent.resource_spans {
        let resource = attributes(&of_resource.resource.unwrap_or_default().attributes);
        let scopes = of_resource.scope_spans.into_iter();
        let spans = scopes.flat_map(|of_scope| of_scope.spans);
        seen.spans.extend(spans.map(|span| of(span, &resource)));
    }
}

fn of(span: Span, resource: &BTreeMap<String, String>) -> SeenSpan {
    let kind = SpanKind::try_from(span.kind).unwrap_or_default();
    let links = span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id)));
    SeenSpan {
        name: span.name,
        kind: format!("{kind:?}"),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        attributes: attributes(&span.attributes),
        links: links.collect(),
        error: span.status.filter(|status| status.code == 2).map(|status| status.message),
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
        resource: resource.clone(),
    }
}

fn take_metrics(seen: &mut Seen, sent: ExportMetricsServiceRequest) {
    let resources = sent.resource_metrics.into_iter();
    let scopes = resources.flat_map(|of_resource| of_resource.scope_metrics);
    for metric in scopes.flat_map(|of_scope| of_scope.metrics) {
        let points = match metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points,
            Some(Data::Sum(sum)) if sum.is_monotonic => sum.data_points,
            _ => Vec::new(),
        };
        for point in points {
            seen.metrics.insert(metric.name.clone(), number(&point));
        }
    }
}

fn number(point: &NumberDataPoint) -> i64 {
    match point.value {
        Some(number_data_point::Value::AsInt(number)) => number,
        Some(number_data_point::Value::AsDouble(number)) => number as i64,
        None => 0,
    }
}

fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    of.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The next request: head and body. `None` when the other side is gone.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end + 2]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.trim().parse().ok())?;
            if read.len() >= end + 4 + length {
                let mut body = read.split_off(end + 4);
                *read = body.split_off(length);
                return Some((head, body));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => read.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
