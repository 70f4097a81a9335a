//! Counters and histograms in a registry of `prometheus-client`.

use std::sync::Arc;
use std::thread;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};
use proptest::prelude::*;
use rseq::prometheus::{WithBounds, powers_of_two};
use rseq::{Counter, Histogram};

/// A scrape of this metric alone, without the lines about it.
fn scrape(metric: impl Metric) -> Vec<String> {
    let mut registry = Registry::default();
    registry.register("it", "It", metric);
    lines(&registry)
}

fn lines(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, registry).expect("a string takes everything");
    text.lines().filter(|line| !line.starts_with('#')).map(String::from).collect()
}

fn histogram<const PARTS: usize>(values: impl IntoIterator<Item = u64>) -> Arc<Histogram<PARTS>> {
    let histogram = Histogram::new();
    values.into_iter().for_each(|value| histogram.record(value));
    Arc::new(histogram)
}

#[test]
fn a_counter_shows_its_sum() {
    static SHARED: Counter = Counter::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| SHARED.inc()));
        }
    });
    assert_eq!(scrape(&SHARED), ["it_total 4000"]);

    let owned = Counter::new();
    owned.add(u64::MAX);
    assert_eq!(scrape(owned), ["it_total 18446744073709551615"]);
}

#[test]
fn counters_have_labels_in_a_family() {
    let requests = Family::<[(&str, &str); 1], Counter>::default();
    requests.get_or_create(&[("route", "/")]).add(3);
    assert_eq!(scrape(requests), [r#"it_total{route="/"} 3"#]);
}

#[test]
fn powers_of_two_are_exact() {
    assert_eq!(powers_of_two(0..=64).collect::<Vec<_>>()[..3], [0, 1, 3]);
    assert_eq!(powers_of_two(63..=64).collect::<Vec<_>>(), [u64::MAX / 2, u64::MAX]);
    // On both sides of every bound there is a value.
    let values: Vec<u64> = (0..64).flat_map(|exponent| [(1 << exponent) - 1, 1 << exponent]).collect();
    let exact = |bound| values.iter().filter(|value| **value <= bound).count();
    let seen = scrape(WithBounds::new(histogram::<1>(values.iter().copied()), powers_of_two(0..=52)));
    for (line, bound) in seen.iter().zip(powers_of_two(0..=52)) {
        let count = line.split_whitespace().last().unwrap();
        assert_eq!(count, exact(bound).to_string(), "{bound}: {line}");
    }
}

#[test]
fn bounds_are_sorted_and_single_and_count_from_below() {
    let seen = scrape(WithBounds::new(histogram::<32>([1, 2, 2, 50, 70]), [63, 2, 63, 1]));
    assert_eq!(
        seen,
        [
            r#"it_bucket{le="1"} 1"#,
            r#"it_bucket{le="2"} 3"#,
            r#"it_bucket{le="63"} 4"#,
            r#"it_bucket{le="+Inf"} 5"#,
            "it_sum 125.0",
            "it_count 5"
        ]
    );
}

/// A scrape as it is in both text formats: no bound twice, each above the one before, and no count
/// below it.
fn is_valid(histogram: &Arc<Histogram>, bounds: &[u64], per_unit: u64) -> Result<(), TestCaseError> {
    let mut registry = Registry::default();
    registry.register("it", "It", WithBounds::new(Arc::clone(histogram), bounds.iter().copied()).per_unit(per_unit));
    let mut open_metrics = String::new();
    text::encode(&mut open_metrics, &registry).unwrap();
    for seen in [lines(&registry), open_metrics.lines().map(String::from).collect()] {
        let buckets = seen.iter().filter_map(|line| line.strip_prefix("it_bucket{le=\"")?.split_once("\"} "));
        let buckets: Vec<(&str, u64)> = buckets.map(|(le, count)| (le, count.parse().unwrap())).collect();
        let number = |le: &str| if le == "+Inf" { f64::INFINITY } else { le.parse::<f64>().unwrap() };
        for pair in buckets.windows(2) {
            prop_assert!(number(pair[0].0) < number(pair[1].0) && pair[0].1 <= pair[1].1, "{:?}", buckets);
        }
        prop_assert_eq!(buckets.last(), Some(&("+Inf", histogram.count())));
        let count = format!("it_count {}", histogram.count());
        prop_assert!(seen.contains(&count), "{} in {:?}", count, seen);
    }
    Ok(())
}

/// Bounds that lie close together, anywhere.
fn bounds() -> impl Strategy<Value = Vec<u64>> {
    let near = (any::<u64>(), 0..64_u32, 0..3000_u64);
    prop::collection::vec(near.prop_map(|(at, shift, by)| [at >> shift, (at >> shift).saturating_add(by)]), 0..6)
        .prop_map(|pairs| pairs.into_iter().flatten().chain([u64::MAX, u64::MAX - 1]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn no_bound_is_printed_twice(
        bounds in bounds(), per_unit in prop_oneof![Just(1), Just(1_000_000_000), 1..u64::MAX],
    ) {
        let values = bounds.iter().flat_map(|bound| [*bound, bound.saturating_add(1)]);
        is_valid(&histogram(values), &bounds, per_unit)?;
    }
}

/// Of these the largest counts: every value is at most what is printed.
#[test]
fn of_bounds_that_print_alike_the_largest_counts() {
    let seen = scrape(WithBounds::new(histogram::<32>([5, u64::MAX]), [u64::MAX - 1, u64::MAX, 10]));
    let expected =
        [r#"it_bucket{le="10"} 1"#, r#"it_bucket{le="1.8446744073709552e+19"} 2"#, r#"it_bucket{le="+Inf"} 2"#];
    assert_eq!(seen[..3], expected);
}

/// A bound in the middle of a bucket doesn't count it.
#[test]
fn other_bounds_are_wrong_by_less_than_a_part() {
    let seen = scrape(WithBounds::new(histogram::<32>([967, 991, 1000]), [1000]));
    assert_eq!(seen[0], r#"it_bucket{le="1000"} 2"#);
}

#[test]
fn nanoseconds_are_shown_as_seconds() {
    let millisecond = (1 << 20) - 1;
    let seen = scrape(WithBounds::new(histogram::<32>([60; 10]), [millisecond]).per_unit(1_000_000_000));
    assert_eq!(seen, [r#"it_bucket{le="0.001048575"} 10"#, r#"it_bucket{le="+Inf"} 10"#, "it_sum 6e-7", "it_count 10"]);
}

#[test]
#[should_panic = "a unit of nothing"]
fn a_unit_is_something() {
    _ = WithBounds::new(histogram::<32>([]), []).per_unit(0);
}

#[test]
fn the_sum_is_as_near_as_is_said() {
    let values: Vec<u64> = (0..1000).map(|number| number * number * 977).collect();
    let exact: u64 = values.iter().sum();
    let seen = scrape(WithBounds::new(histogram::<32>(values), []));
    let sum: f64 = seen[1].strip_prefix("it_sum ").unwrap().parse().unwrap();
    assert!((sum / exact as f64 - 1.0).abs() <= 1.0 / 64.0, "{sum} for {exact}");
}

/// The other text format wants the bound of infinity from the metric.
#[test]
fn open_metrics_have_all_buckets_too() {
    let mut registry = Registry::default();
    registry.register("it", "It", WithBounds::new(histogram::<32>([3, 900]), [7]));
    let mut seen = String::new();
    text::encode(&mut seen, &registry).unwrap();
    for line in [r#"it_bucket{le="7.0"} 1"#, r#"it_bucket{le="+Inf"} 2"#, "it_count 2", "it_sum 906.0"] {
        assert!(seen.lines().any(|other| other == line), "{line} in\n{seen}");
    }
}

#[test]
fn an_empty_histogram_is_shown() {
    let seen = scrape(WithBounds::new(Box::new(Histogram::<8>::new()), [1]));
    assert_eq!(seen, [r#"it_bucket{le="1"} 0"#, r#"it_bucket{le="+Inf"} 0"#, "it_sum 0.0", "it_count 0"]);
}
