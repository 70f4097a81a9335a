//! The metrics, as Prometheus would see them.

use std::collections::BTreeMap;

use prometheus_parse::{HistogramCount, Sample, Value};

use crate::Totals;

/// The samples of a scrape; at first, none.
#[derive(Default)]
pub struct Scrape {
    samples: Vec<Sample>,
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        Self { samples: prometheus_parse::Scrape::parse(lines).expect("lines of text").samples }
    }

    /// Requests by route and status.
    pub fn requests(&self) -> Totals {
        let requests = self.samples.iter().filter(|sample| sample.metric == "http_requests_total");
        requests
            .map(|sample| ((label(sample, "route"), number(label(sample, "status"))), whole(&sample.value)))
            .collect()
    }

    /// `_count` of a route's latency.
    pub fn count(&self, route: &str) -> u64 {
        whole(self.value("http_request_duration_seconds_count", route))
    }

    /// `_sum` of a route's latency, in seconds.
    pub fn sum(&self, route: &str) -> f64 {
        float(self.value("http_request_duration_seconds_sum", route))
    }

    /// How many requests of a route took at most so many seconds, to the next bound below.
    pub fn up_to(&self, route: &str, seconds: f64) -> u64 {
        let below = self.buckets(route).iter().rfind(|bucket| bucket.less_than <= seconds);
        below.map_or(0, |bucket| bucket.count as u64)
    }

    /// A route's latency is a histogram: its counts ascend, the last is `_count`, and `_sum` lies
    /// between the bounds.
    #[track_caller]
    pub fn assert_histogram(&self, route: &str) {
        let buckets = self.buckets(route);
        assert!(
            buckets.len() > 10 && buckets.is_sorted_by(|one, other| one.less_than < other.less_than),
            "{buckets:?}"
        );
        assert!(buckets.is_sorted_by_key(|bucket| bucket.count), "{buckets:?}");
        let last = buckets.last().expect("there are some");
        assert_eq!((last.less_than, last.count as u64), (f64::INFINITY, self.count(route)), "{buckets:?}");
        let mean = self.sum(route) / self.count(route) as f64;
        let median = buckets.iter().find(|bucket| bucket.count * 2.0 >= last.count).expect("the last is one");
        // A request takes no time at all on no machine; half of them take less than their median's
        // bound.
        assert!(mean > 0.0 && median.less_than > 0.0 && mean.is_finite(), "{mean}, {buckets:?}");
    }

    /// Nothing that was counted before is missing, or less now.
    #[track_caller]
    pub fn assert_not_above(&self, later: &Self) {
        let later = later.counts();
        for (series, count) in self.counts() {
            let now = later.get(&series).copied();
            assert!(now >= Some(count), "{series} fell from {count} to {now:?}");
        }
    }

    /// Every series that may only rise.
    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            let series = format!("{}{{{}}}", sample.metric, sample.labels);
            match &sample.value {
                Value::Histogram(buckets) => counts.extend(
                    buckets.iter().map(|bucket| (format!("{series} {}", bucket.less_than), bucket.count as u64)),
                ),
                Value::Gauge(_) | Value::Summary(_) => panic!("there is no such metric: {series}"),
                value => _ = counts.insert(series, float(value) as u64),
            }
        }
        counts
    }

    fn buckets(&self, route: &str) -> &[HistogramCount] {
        match self.value("http_request_duration_seconds", route) {
            Value::Histogram(buckets) => buckets,
            other => panic!("{other:?} is no histogram"),
        }
    }

    #[track_caller]
    fn value(&self, metric: &str, route: &str) -> &Value {
        let wanted = |sample: &&Sample| sample.metric == metric && sample.labels.get("route") == Some(route);
        &self.samples.iter().find(wanted).unwrap_or_else(|| panic!("no {metric} of {route}")).value
    }
}

/// The label's value, which is kept: tests are short.
fn label(sample: &Sample, name: &str) -> &'static str {
    let value = sample.labels.get(name).unwrap_or_else(|| panic!("{sample:?} has no {name}"));
    Box::leak(value.to_owned().into_boxed_str())
}

fn number(text: &str) -> u16 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// Counts here are far below 2^53.
fn whole(value: &Value) -> u64 {
    let value = float(value);
    assert_eq!(value.fract(), 0.0, "a count is whole");
    value as u64
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Counter(value) | Value::Untyped(value) => *value,
        other => panic!("{other:?} is no number"),
    }
}
