//! Counters and histograms in the SDK of OpenTelemetry: what it keeps in memory, and what its OTLP
//! exporter sends.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::future::ready;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{
    Aggregation, InMemoryMetricExporter, InMemoryMetricExporterBuilder, Instrument, PeriodicReader, SdkMeterProvider,
    Stream, Temporality,
};
use proptest::prelude::*;
use prost::Message;
use rseq::opentelemetry::{Family, WithHistograms, assemble, histogram, powers_of_two, sums};
use rseq::{Counter, Histogram};
use support::in_child;

// The SDK's memory.

/// A provider, and what it exports.
struct Memory {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// A metric's points, each its attributes as text, and its value.
type Points = BTreeMap<String, f64>;

impl Memory {
    fn new(temporality: Temporality) -> Self {
        Self::with_view(temporality, |_| None)
    }

    fn with_view(
        temporality: Temporality,
        view: impl Fn(&Instrument) -> Option<Stream> + Send + Sync + 'static,
    ) -> Self {
        let exporter = InMemoryMetricExporterBuilder::new().with_temporality(temporality).build();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).with_view(view).build(), exporter }
    }

    fn meter(&self) -> Meter {
        self.provider.meter("test")
    }

    fn collect<R>(&self, read: impl FnOnce(&ResourceMetrics) -> R) -> Option<R> {
        self.exporter.reset();
        self.provider.force_flush().expect("it exports");
        self.exporter.get_finished_metrics().expect("nobody panicked").first().map(read)
    }

    /// By metric.
    fn read(&self) -> BTreeMap<String, Points> {
        self.collect(|exported| {
            let metrics = exported.scope_metrics().flat_map(|scope| scope.metrics());
            metrics.map(|metric| (metric.name().to_owned(), points(metric.data()))).collect()
        })
        .unwrap_or_default()
    }

    /// Of the only metric, with the only point.
    fn only(&self) -> f64 {
        let metrics = self.read();
        let points = metrics.into_values().next().expect("one metric");
        assert_eq!(points.len(), 1, "{points:?}");
        points.into_values().next().expect("one point")
    }

    /// As OTLP has it, with histograms.
    fn otlp(&self) -> ExportMetricsServiceRequest {
        let mut request = self.collect(|exported| ExportMetricsServiceRequest::from(exported)).expect("something");
        assemble(&mut request);
        request
    }
}

fn points(data: &AggregatedMetrics) -> Points {
    fn of<'a, T: 'a>(points: impl Iterator<Item = (Vec<&'a KeyValue>, T)>, number: impl Fn(T) -> f64) -> Points {
        points.map(|(attributes, value)| (text(attributes), number(value))).collect()
    }
    macro_rules! points {
        ($points:expr) => {
            $points.map(|point| (point.attributes().collect(), point.value()))
        };
    }
    match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => of(points!(sum.data_points()), |value| value as f64),
        AggregatedMetrics::I64(MetricData::Sum(sum)) => of(points!(sum.data_points()), |value| value as f64),
        AggregatedMetrics::I64(MetricData::Gauge(gauge)) => of(points!(gauge.data_points()), |value| value as f64),
        AggregatedMetrics::F64(MetricData::Sum(sum)) => of(points!(sum.data_points()), |value| value),
        other => panic!("{other:?}"),
    }
}

fn text(attributes: Vec<&KeyValue>) -> String {
    let mut written: Vec<String> =
        attributes.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect();
    written.sort();
    written.join(",")
}

fn route(route: &'static str) -> [KeyValue; 1] {
    [KeyValue::new("route", route)]
}

fn expected<const N: usize>(points: [(&str, f64); N]) -> Points {
    points.into_iter().map(|(attributes, value)| (attributes.to_owned(), value)).collect()
}

#[test]
fn a_counter_shows_what_all_threads_added() {
    static HITS: Counter = Counter::new();
    let memory = Memory::new(Temporality::Cumulative);
    memory.meter().u64_observable_counter("hits").with_description("Hits").with_callback(sums(&HITS)).build();
    assert_eq!(memory.only(), 0.0, "it is shown before anybody counts");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| HITS.inc()));
        }
    });
    assert_eq!(memory.only(), 4000.0);
    let is_right = memory.collect(|exported| {
        let metric = exported.scope_metrics().flat_map(|scope| scope.metrics()).next().expect("one");
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { panic!("{metric:?}") };
        sum.is_monotonic() && sum.temporality() == Temporality::Cumulative && metric.description() == "Hits"
    });
    assert_eq!(is_right, Some(true));
}

/// Additions between two collections, nothing twice, and 0 where there was nothing.
#[test]
fn delta_is_what_came_since() {
    let (counter, sizes) = (Arc::new(Counter::new()), Arc::new(Histogram::<32>::new()));
    let memory = Memory::new(Temporality::Delta);
    memory.meter().u64_observable_counter("it").with_callback(sums(Arc::clone(&counter))).build();
    histogram(&memory.meter(), "size", Arc::clone(&sizes)).with_bounds([7]).build();
    for added in [5, 0, 7, 1] {
        counter.add(added);
        sizes.record_many(7, added);
        sizes.record(20);
        let metrics = memory.read();
        assert_eq!(metrics["it"], expected([("", added as f64)]));
        assert_eq!(metrics["size.bucket"], expected([("le=+Inf", added as f64 + 1.0), ("le=7", added as f64)]));
        assert_eq!(metrics["size.sum"], expected([("", added as f64 * 7.0 + 20.0)]));
    }
}

#[test]
fn several_counters_have_attributes() {
    static FOUND: Counter = Counter::new();
    static MISSED: Counter = Counter::new();
    let memory = Memory::new(Temporality::Cumulative);
    let both = vec![(&FOUND, [KeyValue::new("found", true)]), (&MISSED, [KeyValue::new("found", false)])];
    memory.meter().u64_observable_counter("lookups").with_callback(sums(both)).build();
    let third = (Arc::new(Counter::new()), [KeyValue::new("found", "unknown")]);
    memory.meter().u64_observable_counter("lookups").with_callback(sums(third)).build();
    FOUND.add(3);
    let points = expected([("found=true", 3.0), ("found=false", 0.0), ("found=unknown", 0.0)]);
    assert_eq!(memory.read()["lookups"], points);
}

/// The largest that OTLP has is shown of what is larger, and not 0, which would be a restart.
#[test]
fn counters_end_where_numbers_do() {
    let shown = |added: u64| {
        let counter = Arc::new(Counter::new());
        counter.add(added);
        let memory = Memory::new(Temporality::Cumulative);
        let meter = memory.meter();
        meter.u64_observable_counter("u64").with_callback(sums(Arc::clone(&counter))).build();
        meter.i64_observable_up_down_counter("i64").with_callback(sums(Arc::clone(&counter))).build();
        meter.i64_observable_gauge("gauge").with_callback(sums(Arc::clone(&counter))).build();
        meter.f64_observable_counter("f64").with_callback(sums(counter)).build();
        let metrics = memory.otlp().resource_metrics.remove(0).scope_metrics.remove(0).metrics;
        let value = |metric: &Metric| match metric.data.as_ref().expect("it has some") {
            Data::Sum(sum) => sum.data_points[0].value.expect("there is one"),
            Data::Gauge(gauge) => gauge.data_points[0].value.expect("there is one"),
            other => panic!("{other:?}"),
        };
        metrics.iter().map(value).collect::<Vec<_>>()
    };
    use number_data_point::Value::{AsDouble, AsInt};
    assert_eq!(shown(7), [AsInt(7), AsInt(7), AsInt(7), AsDouble(7.0)]);
    let most = i64::MAX as u64;
    assert_eq!(shown(most), [AsInt(i64::MAX), AsInt(i64::MAX), AsInt(i64::MAX), AsDouble(most as f64)]);
    let more = AsDouble(2_f64.powi(63));
    assert_eq!(shown(most + 1), [AsInt(i64::MAX), AsInt(i64::MIN), AsInt(i64::MIN), more]);
    assert_eq!(shown(4_u64.wrapping_neg())[..3], [AsInt(i64::MAX), AsInt(-4), AsInt(-4)]);
}

// Families.

#[test]
fn a_family_has_a_member_for_each_set_of_attributes() {
    static REQUESTS: Family<Counter> = Family::new();
    let (a, b) = (KeyValue::new("a", 1), KeyValue::new("b", 2));
    REQUESTS.get(&[a.clone(), b.clone()]).add(1);
    REQUESTS.get(&[b.clone(), a.clone()]).add(10);
    // The last one of a key counts.
    REQUESTS.get(&[KeyValue::new("a", "not this"), b.clone(), a.clone()]).add(50);
    REQUESTS.get(&[KeyValue::new("a", "not this"), a.clone(), b.clone()]).add(50);
    REQUESTS.get(&[]).add(1000);
    REQUESTS.get(&[KeyValue::new("a", 1.0), b]).add(10_000);
    assert_eq!((REQUESTS.len(), REQUESTS.is_empty()), (3, false));
    let memory = Memory::new(Temporality::Cumulative);
    memory.meter().u64_observable_counter("requests").with_callback(sums(&REQUESTS)).build();
    let read = |family: &'static Family<Counter>| {
        let mut sums = Vec::new();
        family.each(|counter, attributes| sums.push((attributes.to_vec(), counter.sum())));
        sums.sort_by_key(|(_, sum)| *sum);
        sums
    };
    let members = read(&REQUESTS);
    assert_eq!(members[0], (vec![a, KeyValue::new("b", 2)], 111));
    assert_eq!((members[1].1, members[2].1), (1000, 10_000));
    // To the SDK an integer and a number that is the same when it is printed are two.
    let points = memory.collect(|exported| {
        let metric = exported.scope_metrics().flat_map(|scope| scope.metrics()).next().expect("one");
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { panic!("{metric:?}") };
        let mut values: Vec<u64> = sum.data_points().map(|point| point.value()).collect();
        values.sort_unstable();
        values
    });
    assert_eq!(points, Some(vec![111, 1000, 10_000]));
}

/// Whatever attributes somebody sends: as many series as there may be, and all the rest in one.
#[test]
fn a_family_has_a_limit() {
    for limit in [0, 1, 2, 50] {
        let family = Arc::new(Family::<Counter>::with_limit(limit));
        for number in 0..1000 {
            family.get(&[KeyValue::new("user", number)]).inc();
        }
        assert_eq!(family.len(), limit.max(1));
        let own = limit.saturating_sub(1);
        let (mut of_others, mut of_one) = (0, 0);
        family.each(|counter, attributes| match attributes {
            [attribute] if *attribute == KeyValue::new("otel.metric.overflow", true) => of_others += counter.sum(),
            _ => of_one += counter.sum(),
        });
        assert_eq!((of_one, of_others), (own as u64, 1000 - own as u64));
    }
    assert_eq!(Family::<Counter>::default().get(&[]).sum(), 0);
}

/// Threads that make the same members at the same time get the same, and no member is lost.
#[test]
fn threads_share_members() {
    const THREADS: usize = 4;
    for _ in 0..50 {
        let (family, begin) = (Arc::new(Family::<Counter>::new()), Barrier::new(THREADS));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    (0..200).for_each(|number| family.get(&[KeyValue::new("number", number)]).inc());
                });
            }
        });
        let mut members = 0;
        family.each(|counter, _| {
            assert_eq!(counter.sum(), THREADS as u64);
            members += 1;
        });
        assert_eq!((members, family.len()), (200, 200));
    }
}

/// Each is dropped once, with the family.
#[test]
fn members_are_dropped_with_the_family() {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    #[derive(Default)]
    struct Noted;
    impl Drop for Noted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
    let family = Family::<Noted>::new();
    (0..300).for_each(|number| _ = family.get(&[KeyValue::new("number", number % 100)]));
    assert_eq!(DROPPED.load(Relaxed), 0);
    drop(family);
    assert_eq!(DROPPED.load(Relaxed), 100);
}

/// A child finds no lock taken, whatever another thread was just doing to the family, and goes on
/// from what was there.
#[test]
fn a_forked_child_has_the_family() {
    static FAMILY: Family<Counter> = Family::with_limit(100_000);
    FAMILY.get(&route("/")).add(5);
    let (end, begun) = (AtomicBool::new(false), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            (0..50_000).take_while(|_| !end.load(Relaxed)).for_each(|number| {
                FAMILY.get(&[KeyValue::new("number", number)]).inc();
            });
        });
        begun.wait();
        for child in 0..20 {
            let ended = in_child(|| {
                let family = &FAMILY;
                family.get(&route("/")).inc();
                family.get(&[KeyValue::new("child", child)]).add(7);
                let mut sums = (0, 0);
                family.each(|counter, attributes| match attributes {
                    [attribute] if attribute.key.as_str() == "route" => sums.0 += counter.sum(),
                    [attribute] if attribute.key.as_str() == "child" => sums.1 += counter.sum(),
                    _ => {}
                });
                sums == (6, 7)
            });
            assert_eq!(ended, 0, "child {child}");
        }
        end.store(true, Relaxed);
    });
    assert_eq!(FAMILY.get(&route("/")).sum(), 5, "what a child counts is its own");
}

// Histograms.

fn recorded<const PARTS: usize>(values: impl IntoIterator<Item = u64>) -> Arc<Histogram<PARTS>> {
    let histogram = Histogram::new();
    values.into_iter().for_each(|value| histogram.record(value));
    Arc::new(histogram)
}

#[test]
fn a_histogram_shows_its_buckets_and_its_sum() {
    let memory = Memory::new(Temporality::Cumulative);
    let sizes = recorded::<32>([1, 2, 2, 50, 63, 5000]);
    histogram(&memory.meter(), "size", sizes).with_unit("By").with_bounds([63, 2, 63, 0]).build();
    let metrics = memory.read();
    let buckets = expected([("le=0", 0.0), ("le=2", 3.0), ("le=63", 5.0), ("le=+Inf", 6.0)]);
    assert_eq!(metrics["size.bucket"], buckets);
    let sum = metrics["size.sum"][""];
    assert!((sum / 5118.0 - 1.0).abs() < 1.0 / 64.0, "{sum}");
    let units = memory.collect(|exported| {
        let metrics = exported.scope_metrics().flat_map(|scope| scope.metrics());
        metrics.map(|metric| metric.unit().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(units.expect("something"), ["", "By"]);
}

#[test]
fn bounds_are_powers_of_four_and_shown_in_a_unit() {
    let memory = Memory::new(Temporality::Cumulative);
    histogram(&memory.meter(), "time", recorded::<32>([0, 3, 4])).per_unit(1_000_000_000).build();
    let buckets = &memory.read()["time.bucket"];
    assert_eq!(buckets.len(), 33);
    let first = ["le=0", "le=0.000000003", "le=0.000000015", "le=+Inf"].map(|bound| buckets[bound]);
    assert_eq!(first, [1.0, 2.0, 3.0, 3.0]);
}

#[test]
fn histograms_have_attributes_and_le_is_not_one_of_them() {
    static SIZES: Family<Histogram> = Family::new();
    SIZES.get(&route("/")).record(5);
    SIZES.get(&[KeyValue::new("le", "mine"), KeyValue::new("z", Value::Array(Array::I64(vec![1])))]).record(5);
    let memory = Memory::new(Temporality::Cumulative);
    histogram(&memory.meter(), "size", &SIZES).with_bounds([4]).build();
    let metrics = memory.read();
    let mine = "exported_le=mine";
    let buckets = [
        ("le=+Inf,route=/", 1.0),
        ("le=4,route=/", 0.0),
        (&format!("{mine},le=+Inf,z=[1]"), 1.0),
        (&format!("{mine},le=4,z=[1]"), 0.0),
    ];
    assert_eq!(metrics["size.bucket"], expected(buckets));
    assert_eq!(metrics["size.sum"], expected([("route=/", 5.0), (&format!("{mine},z=[1]"), 5.0)]));
    assert_eq!(assembled(&memory.otlp()).len(), 2);
}

/// A histogram of OTLP.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    attributes: String,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
    start: u64,
    temporality: AggregationTemporality,
}

/// The histograms named `size`.
fn assembled(request: &ExportMetricsServiceRequest) -> Vec<Seen> {
    let mut all = Vec::new();
    for metric in metrics(request).filter(|metric| metric.name == "size") {
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        for point in &histogram.data_points {
            assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            assert!(point.time_unix_nano >= point.start_time_unix_nano && point.start_time_unix_nano > 0);
            all.push(Seen {
                attributes: point.attributes.iter().map(|attribute| format!("{attribute:?}")).collect(),
                bounds: point.explicit_bounds.clone(),
                counts: point.bucket_counts.clone(),
                sum: point.sum.expect("there is one"),
                start: point.start_time_unix_nano,
                temporality: histogram.aggregation_temporality(),
            });
        }
    }
    all
}

fn metrics(request: &ExportMetricsServiceRequest) -> impl Iterator<Item = &Metric> {
    request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics)
}

/// Values of all magnitudes.
fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((any::<u64>(), 12..64_u32).prop_map(|(value, shift)| value >> shift), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// Both count the same values by the same bounds, in both temporalities.
    #[test]
    fn histograms_are_those_of_the_sdk(first in values(), second in values(), cumulative in any::<bool>()) {
        let temporality = if cumulative { Temporality::Cumulative } else { Temporality::Delta };
        let memory = Memory::new(temporality);
        let (ours, bounds) = (Arc::new(Histogram::<32>::new()), || powers_of_two(0..=52).step_by(3));
        histogram(&memory.meter(), "size", Arc::clone(&ours)).with_bounds(bounds()).build();
        let meter = memory.meter();
        let theirs = meter.f64_histogram("theirs").with_boundaries(bounds().map(|bound| bound as f64).collect()).build();
        for values in [first, second] {
            values.iter().for_each(|value| {
                ours.record(*value);
                theirs.record(*value as f64, &[]);
            });
            let request = memory.otlp();
            let seen = assembled(&request).pop().expect("it is shown always");
            let theirs = metrics(&request).find_map(|metric| match &metric.data {
                Some(Data::Histogram(histogram)) if metric.name == "theirs" => Some(histogram),
                _ => None,
            });
            // Theirs isn't shown where it had no value.
            let Some(theirs) = theirs else {
                prop_assert_eq!(seen.counts.iter().sum::<u64>(), 0);
                continue;
            };
            prop_assert_eq!(seen.temporality, theirs.aggregation_temporality());
            let point = &theirs.data_points[0];
            prop_assert_eq!(&seen.bounds, &point.explicit_bounds);
            prop_assert_eq!(&seen.counts, &point.bucket_counts);
            let sum = point.sum.expect("there is one");
            // And what the difference of large sums loses.
            prop_assert!((seen.sum - sum).abs() <= sum / 64.0 + 2_f64.powi(52) * 1e-12 * 60.0, "{} for {sum}", seen.sum);
        }
    }
}

/// Values that readers of these temporalities saw of `size`, `hits` and both counters' sum while
/// threads recorded so many values of 3, and hit as often.
fn seen_while_threads_record(temporalities: &[Temporality]) -> (u64, Vec<Vec<(Seen, u64)>>) {
    let (sizes, hits) = (recorded::<32>([]), Arc::new(Counter::new()));
    let (recorded, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let exporter =
        |temporality: &Temporality| InMemoryMetricExporterBuilder::new().with_temporality(*temporality).build();
    let exporters: Vec<_> = temporalities.iter().map(exporter).collect();
    let reader = |exporter: &InMemoryMetricExporter| {
        PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_millis(1)).build()
    };
    let readers = exporters.iter().map(reader);
    let provider = readers.fold(SdkMeterProvider::builder(), |builder, reader| builder.with_reader(reader)).build();
    let meter = provider.meter("test");
    histogram(&meter, "size", Arc::clone(&sizes)).with_bounds([0, 1, 3]).build();
    meter.u64_observable_counter("hits").with_callback(sums(Arc::clone(&hits))).build();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.load(Relaxed) {
                    sizes.record(3);
                    hits.inc();
                    recorded.fetch_add(1, Relaxed);
                }
            });
        }
        (0..60).for_each(|_| provider.force_flush().expect("it exports"));
        end.store(true, Relaxed);
    });
    provider.force_flush().expect("it exports");
    let read = |exported: &ResourceMetrics| {
        let mut request = ExportMetricsServiceRequest::from(exported);
        let assembled_metrics = assemble(&mut request);
        // The sum that was registered last: without it a reader was too early.
        let Some(Data::Sum(hits)) = &metrics(&request).find(|metric| metric.name == "hits")?.data else { return None };
        let Some(number_data_point::Value::AsInt(hits)) = hits.data_points[0].value else { return None };
        assert_eq!(assembled_metrics, 1, "{request:#?}");
        Some((assembled(&request).pop()?, hits.cast_unsigned()))
    };
    let finished = |exporter: InMemoryMetricExporter| exporter.get_finished_metrics().expect("nobody panicked");
    (
        recorded.into_inner(),
        exporters.into_iter().map(|exporter| finished(exporter).iter().filter_map(read).collect()).collect(),
    )
}

/// The buckets and the sum of a point are of one moment, and the differences add up to all.
#[test]
fn histograms_are_of_one_moment_while_threads_record() {
    for temporality in [Temporality::Delta, Temporality::Cumulative] {
        let (recorded, seen) = seen_while_threads_record(&[temporality]);
        let [seen] = seen.try_into().expect("of one reader");
        assert!(seen.iter().all(|(seen, _)| seen.sum == 3.0 * seen.counts[2] as f64), "{seen:?}");
        let counts = || seen.iter().map(|(seen, hits)| [seen.counts[2], *hits]);
        let total = match temporality {
            Temporality::Delta => counts().fold([0; 2], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]),
            _ => counts().next_back().expect("some"),
        };
        assert_eq!(total, [recorded; 2]);
    }
}

/// Where readers collect at the same time, each sees all, and nothing falls.
#[test]
fn several_readers_lose_nothing() {
    let (recorded, seen) = seen_while_threads_record(&[Temporality::Delta, Temporality::Cumulative]);
    let counts = |reader: usize| seen[reader].iter().map(|(seen, hits)| [seen.counts[2], *hits]).collect::<Vec<_>>();
    println!("{} and {} collections", seen[0].len(), seen[1].len());
    let total = counts(0).iter().fold([0; 2], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]);
    assert_eq!((total, counts(1).last()), ([recorded; 2], Some(&[recorded; 2])));
    assert!(counts(1).windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
}

// Views and limits.

/// A metric that is dropped isn't shown, and the rest is.
#[test]
fn instruments_may_be_dropped() {
    let dropped = |name: &'static str| {
        let view = move |instrument: &Instrument| {
            let stream = Stream::builder().with_aggregation(Aggregation::Drop);
            (instrument.name() == name).then(|| stream.build().expect("it is a view"))
        };
        let memory = Memory::with_view(Temporality::Cumulative, view);
        let counter = Arc::new(Counter::new());
        memory.meter().u64_observable_counter("it").with_callback(sums(counter)).build();
        histogram(&memory.meter(), "size", recorded::<32>([3, 4])).with_bounds([3]).build();
        let names: Vec<String> = memory.read().into_keys().collect();
        (names, assembled(&memory.otlp()).len())
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(dropped("none"), (names(&["it", "size.bucket", "size.sum"]), 1));
    assert_eq!(dropped("it"), (names(&["size.bucket", "size.sum"]), 1));
    assert_eq!(dropped("size.bucket"), (names(&["it", "size.sum"]), 0));
    assert_eq!(dropped("size.sum"), (names(&["it", "size.bucket"]), 0));
}

/// An instrument that the SDK has no room for is no histogram, and does the others no harm.
#[test]
fn what_exceeds_the_sdks_limit_is_left_as_it_is() {
    static SIZES: Family<Histogram> = Family::new();
    (0..10).for_each(|number| SIZES.get(&[KeyValue::new("number", number)]).record(number.unsigned_abs()));
    let limited = |instrument: &Instrument| {
        let stream = Stream::builder().with_cardinality_limit(10);
        (instrument.name() == "size.bucket").then(|| stream.build().expect("it is a view"))
    };
    let memory = Memory::with_view(Temporality::Cumulative, limited);
    histogram(&memory.meter(), "size", &SIZES).with_bounds([4]).build();
    let request = memory.otlp();
    let seen = assembled(&request);
    assert!((1..=5).contains(&seen.len()), "{seen:?}");
    let left = |name: &str| {
        let metric = metrics(&request).find(|metric| metric.name == name).expect("some are left");
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        sum.data_points.len()
    };
    assert_eq!(left("size.sum"), 10 - seen.len());
    assert_eq!(left("size.bucket") + 2 * seen.len(), 11, "those of others are in one more");
}

/// The provider lets go of what it read.
#[test]
fn a_dropped_provider_reads_no_more() {
    let (counter, sizes) = (Arc::new(Counter::new()), recorded::<32>([1]));
    let memory = Memory::new(Temporality::Cumulative);
    // The SDK's answer is no more than a name.
    memory.meter().u64_observable_counter("it").with_callback(sums(Arc::clone(&counter))).build();
    histogram(&memory.meter(), "size", Arc::clone(&sizes)).build();
    counter.inc();
    assert_eq!(memory.read()["it"], expected([("", 1.0)]));
    assert_eq!((Arc::strong_count(&counter), Arc::strong_count(&sizes)), (2, 2));
    memory.provider.shutdown().expect("it ends");
    drop(memory);
    assert_eq!((Arc::strong_count(&counter), Arc::strong_count(&sizes)), (1, 1));
}

/// Names that the SDK refuses, or several of the same.
#[test]
fn whatever_names() {
    let memory = Memory::new(Temporality::Cumulative);
    for name in ["", "1st", "with space", "ä", "size", "size", &"n".repeat(300)] {
        histogram(&memory.meter(), name.to_owned(), recorded::<32>([1])).with_bounds([1]).build();
    }
    let names: Vec<String> = memory.read().into_keys().collect();
    assert_eq!(names, ["size.bucket", "size.sum"]);
    assert_eq!(assembled(&memory.otlp()).len(), 1);
}

#[test]
#[should_panic = "a unit of nothing"]
fn a_unit_is_something() {
    _ = histogram(&Memory::new(Temporality::Cumulative).meter(), "size", recorded::<32>([])).per_unit(0);
}

/// Metrics of others that are called alike, and requests that aren't metrics.
#[test]
fn what_is_no_histogram_is_left_as_it_is() {
    let memory = Memory::new(Temporality::Cumulative);
    let meter = memory.meter();
    let one = |attributes: &[KeyValue]| {
        let attributes = attributes.to_vec();
        let counter = Arc::new(Counter::new());
        counter.inc();
        move |instrument: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            instrument.observe(counter.sum(), &attributes);
        }
    };
    let sum = |name: &'static str| meter.f64_observable_counter(name).with_callback(|it| it.observe(1.0, &[])).build();
    let le = |bound: &'static str| [KeyValue::new("le", bound)];
    // Without bounds; not a number; without infinity; a bound that is no text; not a counter;
    // alone.
    meter.u64_observable_counter("a.bucket").with_callback(one(&[])).build();
    sum("a.sum");
    meter.u64_observable_counter("b.bucket").with_callback(one(&le("NaN"))).with_callback(one(&le("+Inf"))).build();
    sum("b.sum");
    meter.u64_observable_counter("c.bucket").with_callback(one(&le("1"))).build();
    sum("c.sum");
    meter.u64_observable_counter("d.bucket").with_callback(one(&[KeyValue::new("le", 1)])).build();
    sum("d.sum");
    meter.u64_observable_gauge("e.bucket").with_callback(one(&le("+Inf"))).build();
    sum("e.sum");
    meter.u64_observable_counter("f.bucket").with_callback(one(&le("+Inf"))).build();
    meter.u64_observable_counter(".bucket").with_callback(one(&le("+Inf"))).build();
    let mut request = memory.collect(|exported| ExportMetricsServiceRequest::from(exported)).expect("something");
    let before = request.clone();
    assert_eq!(assemble(&mut request), 0);
    assert_eq!(request, before);
    assert_eq!(assemble(&mut ExportMetricsServiceRequest::default()), 0);
}

// Requests to a collector.

/// Sends a request as it is, and waits for the answer.
#[derive(Debug)]
struct Client(SocketAddr);

impl HttpClient for Client {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
    {
        let send = || -> Result<Response<Bytes>, HttpError> {
            let mut connection = TcpStream::connect(self.0)?;
            let length = request.body().len();
            write!(connection, "POST {} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n", request.uri().path())?;
            connection.write_all(request.body())?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            Ok(Response::new(Bytes::new()))
        };
        Box::pin(ready(send()))
    }
}

/// A collector on this machine.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A request's path and body.
type Received = (String, Vec<u8>);

impl Collector {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it has one");
        let received = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&received);
        // It ends with the process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = BufReader::new(connection.expect("somebody connects"));
                let request = Self::receive(&mut connection);
                requests.lock().expect("nobody panicked").push(request);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                connection.into_inner().write_all(answer).expect("somebody waits");
            }
        });
        Self { address, received }
    }

    fn receive(reader: &mut impl BufRead) -> Received {
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("there is more");
            line.trim_end().to_owned()
        };
        let path = line().split(' ').nth(1).expect("a request begins so").to_owned();
        let mut length = 0;
        loop {
            match line().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().expect("a number"),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("so many bytes");
        (path, body)
    }

    /// The last request.
    fn last(&self) -> ExportMetricsServiceRequest {
        let received = self.received.lock().expect("nobody panicked");
        let (path, body) = received.last().expect("there was a request");
        assert_eq!(path, "/v1/metrics");
        ExportMetricsServiceRequest::decode(body.as_slice()).expect("it is one")
    }
}

/// Sends by this client.
fn provider(collector: &Collector, temporality: Temporality, client: impl HttpClient + 'static) -> SdkMeterProvider {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("http://{}/v1/metrics", collector.address))
        .with_temporality(temporality)
        .build()
        .expect("it is valid");
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "tested")).build();
    SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter).build()).with_resource(resource).build()
}

#[test]
fn a_collector_receives_counters_and_histograms() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let collector = Collector::new();
        let provider = provider(&collector, temporality, WithHistograms::new(Client(collector.address)));
        let meter = provider.meter("test");
        let (hits, sizes) = (Arc::new(Counter::new()), Arc::new(Family::<Histogram>::new()));
        meter.u64_observable_counter("hits").with_callback(sums((Arc::clone(&hits), route("/")))).build();
        let builder = histogram(&meter, "size", Arc::clone(&sizes)).with_description("Sizes").with_unit("By");
        builder.with_bounds([7, 1]).build();
        let mut starts = Vec::new();
        for round in 1..=2 {
            hits.add(3);
            sizes.get(&route("/")).record_many(5, 2);
            sizes.get(&route("/a")).record(u64::MAX);
            provider.force_flush().expect("it is sent");

            let request = collector.last();
            let resource = request.resource_metrics[0].resource.as_ref().expect("it is sent");
            assert_eq!(resource.attributes[0].key, "service.name");
            let mut names: Vec<_> = metrics(&request).map(|metric| &*metric.name).collect();
            names.sort_unstable();
            assert_eq!(names, ["hits", "size"]);
            let metric = metrics(&request).find(|metric| metric.name == "size").expect("it is there");
            assert_eq!((&*metric.description, &*metric.unit), ("Sizes", "By"));

            let times = if temporality == Temporality::Cumulative { round } else { 1 };
            let mut seen = assembled(&request);
            seen.sort_by(|one, other| other.counts.cmp(&one.counts));
            assert_eq!(seen[0].bounds, [1.0, 7.0]);
            assert_eq!((&seen[0].counts, seen[0].sum), (&vec![0, 2 * times, 0], 10.0 * times as f64));
            assert_eq!(seen[1].counts, [0, 0, times]);
            assert!(seen[0].attributes.contains("route") && !seen[0].attributes.contains("le\""), "{seen:?}");
            let expected = match temporality {
                Temporality::Delta => AggregationTemporality::Delta,
                _ => AggregationTemporality::Cumulative,
            };
            assert_eq!(seen[0].temporality, expected);
            starts.push(seen[0].start);
        }
        assert_eq!(starts[0] == starts[1], temporality == Temporality::Cumulative, "where each begins");
    }
}

/// Without the client's help a collector receives the counters of buckets, and nothing is lost.
#[test]
fn a_collector_receives_buckets_otherwise() {
    let collector = Collector::new();
    let provider = provider(&collector, Temporality::Cumulative, Client(collector.address));
    histogram(&provider.meter("test"), "size", recorded::<32>([3, 9])).with_bounds([3]).build();
    provider.force_flush().expect("it is sent");
    let mut request = collector.last();
    let names: Vec<_> = metrics(&request).map(|metric| metric.name.clone()).collect();
    assert_eq!(names, ["size.bucket", "size.sum"]);
    assert_eq!(assemble(&mut request), 1);
    assert_eq!(assembled(&request)[0].counts, [1, 1]);
}

/// Requests of another kind, or that nobody can look into, are sent as they are.
#[test]
fn other_requests_are_sent_as_they_are() {
    #[derive(Debug)]
    struct Echo;
    impl HttpClient for Echo {
        fn send_bytes<'c, 'f>(
            &'c self,
            request: Request<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
        where
            'c: 'f,
        {
            Box::pin(ready(Ok(Response::new(request.into_body()))))
        }
    }
    let memory = Memory::new(Temporality::Cumulative);
    histogram(&memory.meter(), "size", recorded::<32>([3])).build();
    let request = memory.collect(|exported| ExportMetricsServiceRequest::from(exported)).expect("something");
    let body = Bytes::from(request.encode_to_vec());
    let sent = |body: &Bytes, headers: &[(&str, &str)]| {
        let builder =
            headers.iter().fold(Request::post("http://it/"), |builder, (name, value)| builder.header(*name, *value));
        let request = builder.body(body.clone()).expect("it is valid");
        let client = WithHistograms::new(Echo);
        let mut future = client.send_bytes(request);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(answer) = future.as_mut().poll(&mut context) else { panic!("it is ready") };
        answer.expect("it answers").into_body()
    };
    let protobuf = ("content-type", "application/x-protobuf");
    assert_ne!(sent(&body, &[protobuf]), body);
    assert_eq!(sent(&body, &[]), body);
    assert_eq!(sent(&body, &[("content-type", "application/json")]), body);
    assert_eq!(sent(&body, &[protobuf, ("content-encoding", "gzip")]), body);
    let other = Bytes::from_static(b"\xff\xff no protobuf");
    assert_eq!(sent(&other, &[protobuf]), other);
    assert_eq!(sent(&Bytes::new(), &[protobuf]), Bytes::new());
}
