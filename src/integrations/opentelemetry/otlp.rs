//! Counters of buckets become histograms again, in what is sent to a collector.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::iter;
use core::mem::take;
use core::pin::Pin;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, metric::Data, number_data_point::Value,
};
use prost::Message;

use super::histogram::{BOUND, INFINITY};

/// The client of an OTLP exporter, which sends histograms where the SDK has counters of their
/// buckets.
///
/// ```
/// use opentelemetry_otlp::{MetricExporter, WithHttpConfig};
/// use rseq::opentelemetry::WithHistograms;
/// # use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
/// # #[derive(Debug)]
/// # struct Client;
/// # impl HttpClient for Client {
/// #     fn send_bytes<'a, 'f>(
/// #         &'a self,
/// #         _: Request<Bytes>,
/// #     ) -> std::pin::Pin<
/// #         Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>,
/// #     >
/// #     where 'a: 'f {
/// #         Box::pin(async { Ok(Response::new(Bytes::new())) })
/// #     }
/// # }
/// # let client = Client;
///
/// // Whatever client: `reqwest::blocking::Client::new()`, for instance.
/// let client = WithHistograms::new(client);
/// let exporter = MetricExporter::builder().with_http().with_http_client(client).build()?;
/// # Ok::<(), opentelemetry_otlp::ExporterBuildError>(())
/// ```
///
/// It changes requests with metrics as [`assemble`] says, if they are protobuf and not compressed,
/// and hands on all others as they are. So it is for the exporter of metrics, by `http/protobuf`;
/// who uses gRPC calls [`assemble`] in an exporter of their own.
#[derive(Clone, Debug)]
pub struct WithHistograms<C> {
    client: C,
}

impl<C> WithHistograms<C> {
    /// Sends by this client.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new(client: C) -> Self {
        Self { client }
    }
}

impl<C: HttpClient> HttpClient for WithHistograms<C> {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        let is_plain = request.headers().get("content-encoding").is_none();
        let is_protobuf = request.headers().get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
        let request = if is_plain && is_protobuf { request.map(assembled) } else { request };
        self.client.send_bytes(request)
    }
}

/// The body of a request with histograms; as it is if there are none in it.
fn assembled(body: Bytes) -> Bytes {
    let Ok(mut request) = ExportMetricsServiceRequest::decode(body.as_ref()) else { return body };
    if assemble(&mut request) > 0 { Bytes::from(request.encode_to_vec()) } else { body }
}

/// Makes histograms of the counters by which [`histogram`](super::histogram) shows them, and says
/// of how many metrics.
///
/// Not async-signal-safe: it allocates.
///
/// Of each scope, a monotonic sum `{name}.bucket` and one `{name}.sum` become the histogram
/// `{name}`, with a point for each set of attributes that both have, besides `le`. Start, time and
/// temporality are those of the counters, the description and the unit those of the sum. There is
/// neither a smallest nor a largest value in it, and no exemplars. Points that belong to no
/// histogram, such as what the SDK made of too many series, stay what they are.
///
/// The histogram has explicit bounds. An exponential one (whose buckets begin behind a power of
/// two, and not with it) would count values that are powers of two in the wrong bucket.
pub fn assemble(request: &mut ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
    scopes.map(|scope| assemble_scope(&mut scope.metrics)).sum()
}

fn assemble_scope(metrics: &mut Vec<Metric>) -> usize {
    let names: Vec<String> =
        metrics.iter().filter_map(|metric| metric.name.strip_suffix(".bucket").map(String::from)).collect();
    names.iter().filter(|name| assemble_metric(metrics, name).is_some()).count()
}

/// Puts the histogram of this name in front of what is left of its counters. `None` if there is
/// none.
fn assemble_metric(metrics: &mut Vec<Metric>, name: &str) -> Option<()> {
    let place = |metrics: &[Metric], suffix: &str| {
        let is_it = |metric: &Metric| metric.name.strip_prefix(name) == Some(suffix) && is_counter(metric);
        metrics.iter().position(is_it)
    };
    let places = [place(metrics, ".bucket")?, place(metrics, ".sum")?];
    let counters = metrics.get_disjoint_mut(places).ok()?;
    let [description, unit] = [&counters[1].description, &counters[1].unit].map(String::clone);
    let [buckets, sums] = counters.map(|metric| match &mut metric.data {
        Some(Data::Sum(sum)) => sum,
        _ => unreachable!("it is a counter"),
    });
    let aggregation_temporality = buckets.aggregation_temporality;
    let data_points = histograms(&mut buckets.data_points, &mut sums.data_points);
    if data_points.is_empty() {
        return None;
    }
    let is_used_up = [buckets.data_points.is_empty(), sums.data_points.is_empty()];
    let mut used_up: Vec<usize> =
        places.into_iter().zip(is_used_up).filter_map(|(place, is)| is.then_some(place)).collect();
    used_up.sort_unstable();
    used_up.into_iter().rev().for_each(|place| drop(metrics.remove(place)));
    let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality }));
    metrics.insert(
        places[0].min(metrics.len()),
        Metric { name: name.into(), description, unit, metadata: Vec::new(), data },
    );
    Some(())
}

fn is_counter(metric: &Metric) -> bool {
    matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic)
}

/// Takes points out of which a histogram can be made, with the attributes of both.
fn histograms(buckets: &mut Vec<NumberDataPoint>, sums: &mut Vec<NumberDataPoint>) -> Vec<HistogramDataPoint> {
    let mut of = BTreeMap::<Vec<u8>, Vec<NumberDataPoint>>::new();
    for bucket in take(buckets) {
        of.entry(identity(&bucket.attributes)).or_default().push(bucket);
    }
    let mut histograms = Vec::new();
    for sum in take(sums) {
        let identity = identity(&sum.attributes);
        match of.get(&identity).and_then(|buckets| histogram(buckets, &sum)) {
            Some(histogram) => {
                of.remove(&identity);
                histograms.push(histogram);
            }
            None => sums.push(sum),
        }
    }
    buckets.extend(of.into_values().flatten());
    histograms
}

/// The bytes that tell attributes from others, whatever the bound among them.
fn identity(attributes: &[KeyValue]) -> Vec<u8> {
    let others = attributes.iter().filter(|attribute| attribute.key != BOUND);
    others.flat_map(KeyValue::encode_length_delimited_to_vec).collect()
}

/// A histogram of how many values are up to each bound. `None` if these aren't such counts.
fn histogram(buckets: &[NumberDataPoint], sum: &NumberDataPoint) -> Option<HistogramDataPoint> {
    let mut up_to = buckets.iter().map(|bucket| Some((bound(bucket)?, count(bucket)?))).collect::<Option<Vec<_>>>()?;
    up_to.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (bounds, counts): (Vec<f64>, Vec<u64>) = up_to.into_iter().unzip();
    let (last, explicit_bounds) = bounds.split_last()?;
    if *last != f64::INFINITY || bounds.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let below = iter::once(0).chain(counts.iter().copied());
    Some(HistogramDataPoint {
        attributes: sum.attributes.clone(),
        start_time_unix_nano: sum.start_time_unix_nano,
        time_unix_nano: sum.time_unix_nano,
        count: *counts.last()?,
        sum: Some(match sum.value? {
            Value::AsDouble(sum) => sum,
            Value::AsInt(sum) => sum as f64,
        }),
        bucket_counts: counts.iter().zip(below).map(|(count, below)| count.saturating_sub(below)).collect(),
        explicit_bounds: explicit_bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

/// The bound up to which this counts.
fn bound(point: &NumberDataPoint) -> Option<f64> {
    let attribute = point.attributes.iter().find(|attribute| attribute.key == BOUND)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(written) if written == INFINITY => Some(f64::INFINITY),
        any_value::Value::StringValue(written) => written.parse().ok().filter(|bound: &f64| bound.is_finite()),
        _ => None,
    }
}

fn count(point: &NumberDataPoint) -> Option<u64> {
    match point.value? {
        Value::AsInt(count) => u64::try_from(count).ok(),
        Value::AsDouble(_) => None,
    }
}
