//! Spans and metrics as OTLP writes them, in protobuf.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_admin::{Kind, Metric};
use knarr_model::TraceParent;
use knarr_model::trace::{Span, SpanKind, Told};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1 as numbers;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as spans;
use prost::Message;

/// Who sends.
pub(super) struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Origin {
    /// `attributes` describe the process; `version` is ours.
    pub(super) fn new(attributes: Vec<(String, String)>, version: &str) -> Origin {
        let attributes = attributes.into_iter().map(|(name, value)| attribute(&name, value.into()));
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope = InstrumentationScope {
            name: "knarr".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        Origin { resource, scope }
    }
}

/// The body of a request that holds these spans.
pub(super) fn traces(origin: &Origin, of: Vec<Span>) -> Bytes {
    let scope_spans = spans::ScopeSpans {
        scope: Some(origin.scope.clone()),
        spans: of.into_iter().map(span).collect(),
        schema_url: String::new(),
    };
    let resource_spans = spans::ResourceSpans {
        resource: Some(origin.resource.clone()),
        scope_spans: vec![scope_spans],
        schema_url: String::new(),
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
    request.encode_to_vec().into()
}

/// Spans that a collector says it did not want, in an answer that is otherwise a success.
pub(super) fn refused(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    u64::try_from(refused).unwrap_or_default()
}

fn span(span: Span) -> spans::Span {
    let kind = match span.kind {
        SpanKind::Internal => spans::span::SpanKind::Internal,
        SpanKind::Client => spans::span::SpanKind::Client,
        SpanKind::Producer => spans::span::SpanKind::Producer,
        SpanKind::Consumer => spans::span::SpanKind::Consumer,
    };
    let status = span
        .error
        .map(|message| spans::Status { message, code: spans::status::StatusCode::Error.into() });
    let attributes = span.attributes.into_iter().map(|(name, told)| attribute(name, told));
    spans::Span {
        trace_id: trace_id(span.place),
        span_id: span_id(span.place),
        trace_state: span.state.unwrap_or_default(),
        parent_span_id: span.parent.map(span_id).unwrap_or_default(),
        flags: u32::from(span.place.sampled),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes.collect(),
        links: span.links.into_iter().map(link).collect(),
        status,
        ..spans::Span::default()
    }
}

fn link(to: TraceParent) -> spans::span::Link {
    spans::span::Link {
        trace_id: trace_id(to),
        span_id: span_id(to),
        flags: u32::from(to.sampled),
        ..spans::span::Link::default()
    }
}

fn trace_id(place: TraceParent) -> Vec<u8> {
    place.trace.get().to_be_bytes().to_vec()
}

fn span_id(place: TraceParent) -> Vec<u8> {
    place.span.get().to_be_bytes().to_vec()
}

/// The body of a request that holds these numbers; `since` is when totals began to count.
pub(super) fn metrics(
    origin: &Origin,
    of: Vec<Metric>,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Bytes {
    let mut metrics: Vec<numbers::Metric> = Vec::new();
    for metric in of {
        let labels =
            metric.labels.into_iter().map(|(name, value)| attribute(name, Told::Text(value)));
        let point = numbers::NumberDataPoint {
            attributes: labels.collect(),
            start_time_unix_nano: if metric.kind == Kind::Counter { nanos(since) } else { 0 },
            time_unix_nano: nanos(now),
            value: Some(numbers::number_data_point::Value::AsInt(
                i64::try_from(metric.value).unwrap_or(i64::MAX),
            )),
            ..numbers::NumberDataPoint::default()
        };
        match metrics.iter_mut().find(|known| known.name == metric.name) {
            Some(known) => add(known, point),
            None => metrics.push(numbers::Metric {
                name: metric.name,
                description: metric.help,
                data: Some(series(metric.kind, point)),
                ..numbers::Metric::default()
            }),
        }
    }
    let scope_metrics = numbers::ScopeMetrics {
        scope: Some(origin.scope.clone()),
        metrics,
        schema_url: String::new(),
    };
    let resource_metrics = numbers::ResourceMetrics {
        resource: Some(origin.resource.clone()),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] };
    request.encode_to_vec().into()
}

fn series(kind: Kind, point: numbers::NumberDataPoint) -> numbers::metric::Data {
    let data_points = vec![point];
    match kind {
        Kind::Gauge => numbers::metric::Data::Gauge(numbers::Gauge { data_points }),
        Kind::Counter => numbers::metric::Data::Sum(numbers::Sum {
            data_points,
            aggregation_temporality: numbers::AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
    }
}

fn add(metric: &mut numbers::Metric, point: numbers::NumberDataPoint) {
    match &mut metric.data {
        Some(numbers::metric::Data::Gauge(gauge)) => gauge.data_points.push(point),
        Some(numbers::metric::Data::Sum(sum)) => sum.data_points.push(point),
        _ => {}
    }
}

fn attribute(name: &str, told: Told) -> KeyValue {
    let value = match told {
        Told::Text(text) => Value::StringValue(text),
        Told::Number(number) => Value::IntValue(number),
    };
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(at: DateTime<Utc>) -> u64 {
    at.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_collector_that_takes_only_some_is_heard() {
        let answer = |rejected_spans| ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans,
                ..ExportTracePartialSuccess::default()
            }),
        };
        assert_eq!(refused(&answer(3).encode_to_vec()), 3);
        assert_eq!(refused(&answer(-3).encode_to_vec()), 0);
        assert_eq!(refused(b""), 0);
        assert_eq!(refused(b"<html>"), 0);
    }

    #[test]
    fn numbers_of_one_name_stand_together_and_totals_say_since_when() {
        let metric = |name: &str, kind, label: &str| Metric {
            name: name.to_owned(),
            help: "Says what.".to_owned(),
            kind,
            labels: vec![("of", label.to_owned())],
            value: 7,
        };
        let all = vec![
            metric("knarr_a_total", Kind::Counter, "x"),
            metric("knarr_b", Kind::Gauge, "x"),
            metric("knarr_a_total", Kind::Counter, "y"),
        ];
        let origin = Origin::new(vec![("service.name".into(), "t".into())], "1");
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a time");
        let body = metrics(&origin, all, at(1), at(2));
        let sent = ExportMetricsServiceRequest::decode(body).expect("protobuf");
        let sent = &sent.resource_metrics[0].scope_metrics[0].metrics;
        let [total, level] = &sent[..] else { panic!("{sent:?}") };
        let Some(numbers::metric::Data::Sum(sum)) = &total.data else { panic!("{total:?}") };
        assert!(sum.is_monotonic && sum.data_points.len() == 2, "{sum:?}");
        assert_eq!(sum.data_points[0].start_time_unix_nano, 1_000_000_000);
        assert_eq!(sum.data_points[0].time_unix_nano, 2_000_000_000);
        assert!(matches!(&level.data, Some(numbers::metric::Data::Gauge(_))), "{level:?}");
    }
}
