//! The recorder for the macros of `metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::registry::Registry;
use rseq::Snapshot;
use rseq::metrics::{PerCpuRecorder, PrometheusCollector, Value};

/// The readings after some uses of the macros: each metric as it is written with its labels.
fn read(uses: impl FnOnce()) -> Vec<(String, Value)> {
    let recorder = PerCpuRecorder::new();
    with_local_recorder(&recorder, uses);
    recorder.read().into_iter().map(|reading| (reading.key.to_string(), reading.value)).collect()
}

/// The only one.
fn only(uses: impl FnOnce()) -> Value {
    let [(_, value)] = read(uses).try_into().expect("one metric");
    value
}

fn only_histogram(uses: impl FnOnce()) -> (Snapshot, f64) {
    match only(uses) {
        Value::Histogram { seen, per_unit } => (seen, per_unit),
        other => panic!("{other:?} is no histogram"),
    }
}

/// Prometheus's view after some uses of the macros.
fn scrape(collector: impl FnOnce(PrometheusCollector) -> PrometheusCollector, uses: impl FnOnce()) -> String {
    let recorder = Arc::new(PerCpuRecorder::new());
    with_local_recorder(&recorder, uses);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector(PrometheusCollector::new(recorder))));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

#[test]
fn increments_of_all_threads_are_counted() {
    let recorder = PerCpuRecorder::new();
    let count = || with_local_recorder(&recorder, || (0..10_000).for_each(|_| counter!("hits").increment(3)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(count);
        }
    });
    assert_eq!(recorder.read()[0].value, Value::Counter(120_000));
}

#[test]
fn metrics_are_told_apart_and_come_in_order() {
    let seen = read(|| {
        gauge!("a").set(0.5);
        counter!("b", "route" => "/z").increment(1);
        counter!("b", "route" => "/a").increment(2);
        counter!("a").increment(3);
        counter!("a").increment(4);
    });
    let expected = [
        ("Key(a)", Value::Counter(7)),
        ("Key(b, [route = /a])", Value::Counter(2)),
        ("Key(b, [route = /z])", Value::Counter(1)),
        ("Key(a)", Value::Gauge(0.5)),
    ];
    assert_eq!(seen, expected.map(|(key, value)| (key.to_string(), value)));
}

#[test]
fn absolute_raises_and_never_lowers() {
    let after = |uses: &dyn Fn(metrics::Counter)| only(|| uses(counter!("it")));
    assert_eq!(after(&|it| it.absolute(100)), Value::Counter(100));
    assert_eq!(after(&|it| [100, 50].iter().for_each(|value| it.absolute(*value))), Value::Counter(100));
    let mixed = |it: metrics::Counter| {
        it.increment(5);
        it.absolute(100);
        it.increment(1);
        it.absolute(3);
    };
    assert_eq!(after(&mixed), Value::Counter(101));
}

/// Nobody adds what is missing a second time.
/// Children raise a counter that another thread was raising when they were made.
#[test]
#[cfg(target_os = "linux")]
fn absolute_waits_for_nobody_that_a_child_lacks() {
    let recorder = PerCpuRecorder::new();
    let counter = with_local_recorder(&recorder, || counter!("it"));
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| !end.load(Relaxed)).for_each(|value| counter.absolute(value)));
        let raise = || {
            counter.absolute(u64::MAX);
            true
        };
        let children: Vec<i32> = (0..100).map(|_| support::in_child(raise)).take_while(|&code| code == 0).collect();
        end.store(true, Relaxed);
        assert_eq!(children.len(), 100, "a child failed, or waited");
    });
}

#[test]
fn absolute_of_several_threads_is_the_largest() {
    for _ in 0..200 {
        let recorder = PerCpuRecorder::new();
        let it = with_local_recorder(&recorder, || counter!("it"));
        thread::scope(|scope| {
            for thread in 1..=3 {
                let it = it.clone();
                scope.spawn(move || (0..=100 * thread).for_each(|value| it.absolute(value)));
            }
        });
        assert_eq!(recorder.read()[0].value, Value::Counter(300));
    }
}

#[test]
fn gauges_go_up_and_down() {
    let value = only(|| {
        gauge!("it").set(2.5);
        gauge!("it").increment(1.0);
        gauge!("it").decrement(4);
    });
    assert_eq!(value, Value::Gauge(-0.5));
}

#[test]
fn durations_are_nanoseconds() {
    let (seen, per_unit) = only_histogram(|| histogram!("it").record(Duration::from_nanos(1234)));
    assert!(seen.max().unwrap().contains(1234), "{seen:?}");
    assert_eq!(per_unit, 1e9);
}

#[test]
fn described_units_are_kept() {
    let two = |unit| {
        only_histogram(|| {
            describe_histogram!("it", unit, "It");
            histogram!("it").record(2.0);
        })
    };
    for (unit, whole) in [
        (Unit::Seconds, 2_000_000_000),
        (Unit::Milliseconds, 2_000_000),
        (Unit::Microseconds, 2000),
        (Unit::Nanoseconds, 2),
        (Unit::Percent, 2_000_000_000),
        (Unit::Bytes, 2),
        (Unit::Count, 2),
    ] {
        let (seen, per_unit) = two(unit);
        assert!(seen.max().unwrap().contains(whole), "{unit:?}: {seen:?}");
        assert_eq!(per_unit * 2.0, whole as f64, "{unit:?}");
    }
}

/// The values would mean something else from then on.
#[test]
fn a_unit_that_is_described_later_changes_nothing() {
    let (seen, per_unit) = only_histogram(|| {
        histogram!("it").record(1.0);
        describe_histogram!("it", Unit::Bytes, "It");
        histogram!("it").record(1.0);
    });
    assert_eq!((seen.buckets().count(), seen.count(), per_unit), (1, 2, 1e9));
}

#[test]
fn values_without_a_bucket_have_a_rule() {
    let bytes = |values: &[f64]| {
        only_histogram(|| {
            describe_histogram!("it", Unit::Bytes, "It");
            values.iter().for_each(|value| histogram!("it").record(*value));
        })
    };
    let counted = |values: &[f64]| {
        let (seen, _) = bytes(values);
        seen.buckets().map(|(bucket, count)| (bucket.first(), bucket.last(), count)).collect::<Vec<_>>()
    };
    assert_eq!(counted(&[-1.0, f64::NEG_INFINITY, -0.0, 0.4]), [(0, 0, 4)]);
    assert_eq!(counted(&[0.5, 1.49]), [(1, 1, 2)]);
    assert_eq!(counted(&[1e20, f64::INFINITY, f64::MAX]), [(63 << 58, u64::MAX, 3)]);
    assert_eq!(counted(&[f64::NAN]), []);
}

#[test]
fn many_values_at_once_are_counted() {
    let (seen, _) = only_histogram(|| histogram!("it").record_many(1e-9, usize::MAX / 2));
    assert_eq!(seen.count_up_to(1), u64::MAX / 2);
}

#[test]
fn descriptions_are_read() {
    let recorder = PerCpuRecorder::new();
    with_local_recorder(&recorder, || {
        describe_counter!("it", Unit::Count, "All of it");
        counter!("it").increment(1);
        gauge!("it").set(1);
    });
    let [counter, gauge] = recorder.read().try_into().expect("two metrics");
    let description = counter.description.expect("it was described");
    assert_eq!((description.unit, &*description.text), (Some(Unit::Count), "All of it"));
    assert_eq!(gauge.description, None);
}

#[test]
fn prometheus_sees_all_of_it() {
    let uses = || {
        describe_counter!("http.requests", "Requests\nso far");
        counter!("http.requests", "route" => "/a\"b").increment(1);
        counter!("http_requests", "route" => "/").increment(2);
        counter!("bytes_total").increment(7);
        gauge!("1st", "a.b" => "c").set(-1.5);
        describe_histogram!("latency", Unit::Milliseconds, "Time");
        [1.0, 1.0, 5.0].iter().for_each(|value| histogram!("latency").record(*value));
    };
    let expected = r#"# HELP _1st 1st
# TYPE _1st gauge
_1st{a_b="c"} -1.5
# HELP bytes_total bytes_total
# TYPE bytes_total counter
bytes_total 7
# HELP http_requests_total Requests so far
# TYPE http_requests_total counter
http_requests_total{route="/a\"b"} 1
http_requests_total{route="/"} 2
# HELP latency Time
# TYPE latency histogram
latency_bucket{le="0.5"} 0
latency_bucket{le="2"} 2
latency_bucket{le="+Inf"} 3
latency_sum 7.061501
latency_count 3
"#;
    assert_eq!(scrape(|collector| collector.with_bounds([2.0, 0.5, 2.0]), uses), expected);
}

/// Without bounds of the user's, each count is exact.
#[test]
fn bounds_are_powers_of_four() {
    let text =
        scrape(|collector| collector, || (0..5).for_each(|value| histogram!("it").record(f64::from(value) * 1e-9)));
    let buckets: Vec<&str> = text.lines().filter(|line| line.starts_with("it_bucket")).collect();
    assert_eq!(buckets.len(), 33);
    let first = [r#"it_bucket{le="0"} 1"#, r#"it_bucket{le="3e-09"} 4"#, r#"it_bucket{le="1.5e-08"} 5"#];
    assert_eq!(buckets[..3], first);
    assert!(text.ends_with("it_count 5\n"), "{text}");
}

/// Bounds that no value is up to are left out, and those that are the same after rounding are one.
#[test]
fn bounds_that_are_none_are_left_out() {
    let buckets = |bounds: &[f64]| {
        let text = scrape(
            |collector| collector.with_bounds(bounds.iter().copied()),
            || {
                describe_histogram!("it", Unit::Bytes, "It");
                [0.2, 1.0, 2.0, 1e300].iter().for_each(|value| histogram!("it").record(*value));
            },
        );
        text.lines().filter_map(|line| line.strip_prefix("it_bucket").map(String::from)).collect::<Vec<_>>()
    };
    assert_eq!(buckets(&[f64::NAN, -0.6, f64::NEG_INFINITY, f64::INFINITY]), [r#"{le="+Inf"} 4"#]);
    let all = r#"{le="1.8446744073709552e+19"} 4"#;
    let expected = [r#"{le="0"} 1"#, r#"{le="1"} 2"#, r#"{le="2"} 3"#, all, r#"{le="+Inf"} 4"#];
    assert_eq!(buckets(&[0.3, -0.0, 0.5, 1.0, 1.5, 1e30, f64::MAX]), expected);
}
