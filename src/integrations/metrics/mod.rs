//! A recorder for the macros of the crate [`metrics`](::metrics), whose counters are [`Counter`]s
//! and whose histograms are [`Histogram`]s.
//!
//! ```
//! use std::sync::Arc;
//!
//! use metrics::{counter, describe_histogram, histogram, Unit};
//! use rseq::metrics::{PerCpuRecorder, Value};
//!
//! let recorder = Arc::new(PerCpuRecorder::new());
//! metrics::set_global_recorder(recorder.clone())?;
//!
//! counter!("requests", "route" => "/").increment(1);
//! describe_histogram!("size", Unit::Bytes, "Bytes of a request");
//! histogram!("size").record(600.0);
//!
//! let [requests, size] = recorder.read().try_into().unwrap();
//! assert_eq!((requests.key.name(), requests.value), ("requests", Value::Counter(1)));
//! let Value::Histogram { seen, per_unit } = size.value else { panic!("a histogram") };
//! assert!(seen.quantile(0.5).unwrap().contains(600) && per_unit == 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A macro looks its metric up each time, under a lock. The handle that it returns can be kept:
//! then an increment is the addition alone, on the CPU's own part.
//!
//! With the feature `prometheus-client` a [`PrometheusCollector`] hands all of them to a registry
//! of that crate.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::metrics::atomics::AtomicU64;
use ::metrics::{CounterFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ::metrics_util::registry::{Registry, Storage};

use crate::{Counter, Histogram, Snapshot};

#[cfg(feature = "prometheus-client")]
mod families;
#[cfg(feature = "prometheus-client")]
mod prometheus;
#[cfg(feature = "prometheus-client")]
pub use self::families::{LeftOut, Reason};
#[cfg(feature = "prometheus-client")]
pub use self::prometheus::PrometheusCollector;

/// Records to a [`Counter`] or [`Histogram`] for each metric and its labels. Gauges are atomics, as
/// they are one value for all CPUs.
///
/// # Counters
///
/// `increment` is [`Counter::add`]. `absolute` adds what is missing to that value, so the counter
/// never falls, whoever says what first; increments at the same time are kept. It sums up the CPUs'
/// parts, and takes no lock: a child of `fork` can't find one taken by a thread that it doesn't
/// have.
///
/// # Histograms
///
/// [`Histogram`] counts whole numbers, so values are multiplied first, and rounded. The factor is
/// that of the unit that the histogram was *described* with, before it was first used:
///
/// | described as | factor | smallest difference | largest value |
/// |---|---|---|---|
/// | nothing, percent | 10^9 | 10^-9 | 1.8 × 10^10 |
/// | seconds, milliseconds, microseconds, nanoseconds | to nanoseconds | 1 ns | 584 years |
/// | any other unit | 1 | 1 | 1.8 × 10^19 |
///
/// A `Duration` is recorded as seconds, which needs no description. Negative values are counted as
/// 0, those above the largest as the largest, and [counted](Self::capped). NaN isn't counted.
///
/// # Memory
///
/// Each counter and each histogram is one per CPU, for every set of labels: see [`Counter`] and
/// [`Histogram`]. They are kept until the recorder is dropped.
///
/// # Panics
///
/// Handles panic if they are used for the first time and there is no memory, as [`Counter::inc`].
pub struct PerCpuRecorder {
    registry: Registry<Key, Slots>,
}

impl PerCpuRecorder {
    /// Without metrics.
    ///
    /// Not async-signal-safe: it allocates.
    #[must_use]
    pub fn new() -> Self {
        Self { registry: Registry::new(Slots::default()) }
    }

    /// All metrics that have been used, counters first, then gauges, then histograms, each by name
    /// and labels.
    ///
    /// Each is read by itself, so they aren't of one moment.
    ///
    /// Not async-signal-safe: it allocates.
    #[must_use]
    pub fn read(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.registry.visit_counters(|key, counter| {
            readings.push(self.reading(key, Value::Counter(counter.sum())));
        });
        self.registry.visit_gauges(|key, gauge| {
            readings.push(self.reading(key, Value::Gauge(f64::from_bits(gauge.load(Acquire)))));
        });
        self.registry.visit_histograms(|key, histogram| {
            let Scaled { values, per_unit, .. } = &**histogram;
            readings.push(self.reading(key, Value::Histogram { seen: values.snapshot(), per_unit: *per_unit }));
        });
        readings.sort_by(|one, other| (one.value.kind(), &one.key).cmp(&(other.value.kind(), &other.key)));
        readings
    }

    /// How many values were above the largest of their histogram, and were counted as that: a sign
    /// of a histogram that should be described with its unit.
    ///
    /// ```
    /// use rseq::metrics::PerCpuRecorder;
    ///
    /// let recorder = PerCpuRecorder::new();
    /// metrics::with_local_recorder(&recorder, || metrics::histogram!("bytes").record(1e12));
    /// assert_eq!(recorder.capped(), 1);
    /// ```
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn capped(&self) -> u64 {
        self.registry.storage().capped.sum()
    }

    fn reading(&self, key: &Key, value: Value) -> Reading {
        let description = self.registry.storage().description(value.kind(), key);
        Reading { key: key.clone(), description, value }
    }
}

impl Default for PerCpuRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PerCpuRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read()).finish()
    }
}

impl Recorder for PerCpuRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.registry.storage().describe(Kind::Counter, &key, Description { unit, text });
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.registry.storage().describe(Kind::Gauge, &key, Description { unit, text });
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.registry.storage().describe(Kind::Histogram, &key, Description { unit, text });
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Counter {
        self.registry.get_or_create_counter(key, |counter| Arc::clone(counter).into())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Gauge {
        self.registry.get_or_create_gauge(key, |gauge| Arc::clone(gauge).into())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Histogram {
        self.registry.get_or_create_histogram(key, |histogram| Arc::clone(histogram).into())
    }
}

/// A metric at the time it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// Its name and labels.
    pub key: Key,
    /// How all metrics of the name were described last, if they were.
    pub description: Option<Description>,
    /// Its value.
    pub value: Value,
}

/// The description by `describe_counter!` and its like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The unit of the values, if it was said.
    pub unit: Option<Unit>,
    /// The metric's meaning, for people.
    pub text: SharedString,
}

/// The value of a metric.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// All that was added.
    Counter(u64),
    /// The value that was set last, with what was added and subtracted since.
    Gauge(f64),
    /// The values.
    Histogram {
        /// As whole numbers.
        seen: Snapshot,
        /// How many of those are 1 of the values that were recorded: see [`PerCpuRecorder`].
        per_unit: f64,
    },
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram { .. } => Kind::Histogram,
        }
    }
}

/// Metrics of one kind may have the names of those of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Makes what metrics are recorded to.
#[derive(Default)]
struct Slots {
    described: Mutex<HashMap<(Kind, String), Description>>,
    /// Values of all histograms that were above the largest.
    capped: Arc<Counter>,
}

impl Slots {
    fn describe(&self, kind: Kind, name: &KeyName, description: Description) {
        lock(&self.described).insert((kind, name.as_str().to_string()), description);
    }

    fn description(&self, kind: Kind, key: &Key) -> Option<Description> {
        lock(&self.described).get(&(kind, key.name().to_string())).cloned()
    }
}

impl Storage<Key> for Slots {
    type Counter = Arc<Total>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<Scaled>;

    fn counter(&self, _: &Key) -> Arc<Total> {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Arc<AtomicU64> {
        Arc::default()
    }

    fn histogram(&self, key: &Key) -> Arc<Scaled> {
        let unit = self.description(Kind::Histogram, key).and_then(|description| description.unit);
        Arc::new(Scaled { values: Histogram::new(), per_unit: per_unit(unit), capped: self.capped.clone() })
    }
}

/// A counter that can be raised to a value.
#[derive(Default)]
struct Total {
    added: Counter,
    /// The sum of what was missing to values that it was raised to, besides what was added.
    raised: AtomicU64,
}

impl Total {
    fn sum(&self) -> u64 {
        self.added.sum().wrapping_add(self.raised.load(Relaxed))
    }
}

impl CounterFn for Total {
    fn increment(&self, value: u64) {
        self.added.add(value);
    }

    fn absolute(&self, value: u64) {
        // Where another thread raises it meanwhile, this one looks again.
        let missing = |raised: u64| {
            let added = self.added.sum();
            (added.wrapping_add(raised) < value).then(|| value.wrapping_sub(added))
        };
        let _it_is_as_high = self.raised.fetch_update(Relaxed, Relaxed, missing);
    }
}

/// A histogram of whole numbers for values that needn't be whole.
struct Scaled {
    values: Histogram,
    per_unit: f64,
    capped: Arc<Counter>,
}

impl HistogramFn for Scaled {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, times: usize) {
        if value.is_nan() {
            return;
        }
        // The largest isn't an `f64`; the first above it is 2^64.
        if value * self.per_unit >= u64::MAX as f64 {
            self.capped.add(times as u64);
        }
        self.values.record_many(whole(value, self.per_unit), times as u64);
    }
}

/// How many whole numbers are 1 of the unit.
fn per_unit(unit: Option<Unit>) -> f64 {
    match unit {
        None | Some(Unit::Percent | Unit::Seconds) => 1e9,
        Some(Unit::Milliseconds) => 1e6,
        Some(Unit::Microseconds) => 1e3,
        Some(_) => 1.0,
    }
}

/// The nearest whole number that there is.
fn whole(value: f64, per_unit: f64) -> u64 {
    // The conversion saturates.
    (value * per_unit).round() as u64
}

/// The data behind these locks are right after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
