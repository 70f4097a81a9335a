//! [`Counter`] and [`Histogram`] for the SDK of OpenTelemetry, which reads them when it collects:
//! by observable instruments of its API, the crate [`opentelemetry`](::opentelemetry).
//!
//! ```
//! use opentelemetry::KeyValue;
//! use opentelemetry::metrics::MeterProvider;
//! use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
//! use rseq::opentelemetry::{Family, histogram, powers_of_two, sums};
//! use rseq::{Counter, Histogram};
//!
//! static STARTS: Counter = Counter::new();
//! static REQUESTS: Family<Counter> = Family::new();
//! static SIZES: Histogram = Histogram::new();
//!
//! let exporter = InMemoryMetricExporter::default();
//! let reader = PeriodicReader::builder(exporter.clone()).build();
//! let provider = SdkMeterProvider::builder().with_reader(reader).build();
//! let meter = provider.meter("service");
//!
//! // Registered sums stay until the provider is dropped.
//! meter.u64_observable_counter("starts").with_callback(sums(&STARTS)).build();
//! meter.u64_observable_counter("requests").with_callback(sums(&REQUESTS)).build();
//! histogram(&meter, "size", &SIZES).with_unit("By").with_bounds(powers_of_two(9..=10)).build();
//!
//! STARTS.inc();
//! // A member is to be kept: then an addition is one on the CPU's own part.
//! let home = REQUESTS.get(&[KeyValue::new("route", "/")]);
//! home.inc();
//! SIZES.record(600);
//!
//! provider.force_flush()?;
//! let exported = exporter.get_finished_metrics()?;
//! let metrics = exported[0].scope_metrics().flat_map(|scope| scope.metrics());
//! let names: Vec<&str> = metrics.map(|metric| metric.name()).collect();
//! assert_eq!(names, ["starts", "requests", "size.bucket", "size.sum"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An instrument reads a [`Series`]: a counter or histogram without attributes, one with some, or a
//! [`Family`] of them.
//!
//! # Histograms
//!
//! OpenTelemetry has no observable histogram, and its SDK takes none that is finished: see
//! [`histogram`] for what is done instead, and
#![cfg_attr(feature = "opentelemetry-otlp", doc = "[`WithHistograms`]")]
#![cfg_attr(not(feature = "opentelemetry-otlp"), doc = "`WithHistograms` (feature `opentelemetry-otlp`)")]
//! for how they reach a collector as histograms.
//!
//! # When it is read
//!
//! Each counter and histogram is read once for a collection, slot by slot, by the thread that
//! collects. So counts never fall from one collection to the next, but those of different metrics
//! aren't of one moment. Cumulative or delta is the reader's choice (`Temporality`); the SDK
//! subtracts what it read before.
//!
//! A child of `fork` has counters and families as they were, which take no locks. The SDK's threads
//! aren't there, and its locks may be taken for good: a child that is to report makes a provider of
//! its own, and registers what it has there.

mod family;
mod histogram;
#[cfg(feature = "opentelemetry-otlp")]
mod otlp;

use alloc::sync::Arc;
use core::ops::Deref;
use std::sync::{Mutex, PoisonError};

use ::opentelemetry::KeyValue;
use ::opentelemetry::metrics::AsyncInstrument;

pub use self::family::Family;
pub use self::histogram::{HistogramBuilder, histogram};
#[cfg(feature = "opentelemetry-otlp")]
pub use self::otlp::{WithHistograms, assemble};
pub use super::bounds::powers_of_two;
use crate::Counter;
#[cfg(doc)]
use crate::Histogram;

/// Metrics of one name, each with attributes: what an instrument reads.
///
/// | | |
/// |---|---|
/// | `&'static M`, `Arc<M>` | one without attributes |
/// | `(&'static M, [KeyValue; N])`, `(Arc<M>, [KeyValue; N])` | one with these |
/// | `&'static Family<M>`, `Arc<Family<M>>` | those of a [`Family`] |
/// | `Vec<S>` | all of these |
///
/// Others may implement it for what they have. Attributes must differ among the series of a name,
/// or the SDK shows one of them.
pub trait Series<M>: Send + Sync + 'static {
    /// Calls `visit` for each of them.
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue]));
}

impl<M: Send + Sync> Series<M> for &'static M {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        visit(self, &[]);
    }
}

impl<M: Send + Sync + 'static> Series<M> for Arc<M> {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        visit(self, &[]);
    }
}

impl<M, P: Deref<Target = M> + Send + Sync + 'static, const N: usize> Series<M> for (P, [KeyValue; N]) {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        visit(&self.0, &self.1);
    }
}

impl<M: Send + Sync> Series<M> for &'static Family<M> {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        Family::each(self, visit);
    }
}

impl<M: Send + Sync + 'static> Series<M> for Arc<Family<M>> {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        Family::each(self, visit);
    }
}

impl<M, S: Series<M>> Series<M> for alloc::vec::Vec<S> {
    fn each(&self, visit: &mut dyn FnMut(&M, &[KeyValue])) {
        self.iter().for_each(|series| series.each(visit));
    }
}

/// The numbers that instruments show.
pub trait Number: sealed::Sealed {
    #[doc(hidden)]
    fn of(sum: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
}

/// For counters: `i64::MAX` if it is more, which OTLP has no integer for. (`opentelemetry-proto`
/// 0.33 would send 0: `src/transform/metrics.rs`, `From<u64>`.)
impl Number for u64 {
    fn of(sum: u64) -> Self {
        sum.min(i64::MAX.cast_unsigned())
    }
}

/// For instruments whose values may fall: a counter to which somebody adds `number.wrapping_neg()`
/// has counted down.
impl Number for i64 {
    fn of(sum: u64) -> Self {
        sum.cast_signed()
    }
}

/// The nearest that there is.
impl Number for f64 {
    fn of(sum: u64) -> Self {
        sum as Self
    }
}

/// The callback of an observable instrument that shows the [`sum`](Counter::sum)s of these
/// counters.
///
/// Not async-signal-safe: what takes it allocates.
///
/// ```
/// use opentelemetry::{KeyValue, global};
/// use rseq::Counter;
/// use rseq::opentelemetry::sums;
///
/// static HITS: Counter = Counter::new();
/// static MISSES: Counter = Counter::new();
/// static OPEN: Counter = Counter::new();
///
/// let meter = global::meter("cache");
/// let found = |found: bool| [KeyValue::new("found", found)];
/// let lookups = vec![(&HITS, found(true)), (&MISSES, found(false))];
/// meter.u64_observable_counter("lookups").with_callback(sums(lookups)).build();
/// // It goes up and down.
/// meter.i64_observable_up_down_counter("open").with_callback(sums(&OPEN)).build();
/// OPEN.inc();
/// OPEN.add(1_u64.wrapping_neg());
/// ```
///
/// Shown by an instrument of `u64`, a counter isn't to wrap at 2^64: what falls is no counter to
/// the SDK.
pub fn sums<T: Number>(counters: impl Series<Counter>) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    // The SDK hands what one of its readers sees to all, which mustn't be something old behind
    // something new.
    let one_at_a_time = Mutex::new(());
    move |instrument| {
        let _one = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        counters.each(&mut |counter, attributes| instrument.observe(T::of(counter.sum()), attributes));
    }
}
