//! [`Counter`] and [`Histogram`] as metrics of the crate [`prometheus_client`]: they are
//! registered, or encoded by a collector, as its own are.
//!
//! ```
//! use prometheus_client::encoding::prometheus_text::encode;
//! use prometheus_client::registry::Registry;
//! use rseq::prometheus::{WithBounds, powers_of_two};
//! use rseq::{Counter, Histogram};
//!
//! static REQUESTS: Counter = Counter::new();
//! static SIZES: Histogram = Histogram::new();
//!
//! let mut registry = Registry::default();
//! registry.register("requests", "Requests so far", &REQUESTS);
//! let sizes = WithBounds::new(&SIZES, powers_of_two(9..=10));
//! registry.register("size_bytes", "Bytes of a request", sizes);
//!
//! REQUESTS.inc();
//! SIZES.record(600);
//!
//! let mut text = String::new();
//! encode(&mut text, &registry)?;
//! assert_eq!(
//!     text,
//!     r#"# HELP requests_total Requests so far.
//! ## TYPE requests_total counter
//! requests_total 1
//! ## HELP size_bytes Bytes of a request.
//! ## TYPE size_bytes histogram
//! size_bytes_bucket{le="511"} 0
//! size_bytes_bucket{le="1023"} 1
//! size_bytes_bucket{le="+Inf"} 1
//! size_bytes_sum 599.0
//! size_bytes_count 1
//! "#
//! );
//! # Ok::<(), std::fmt::Error>(())
//! ```
//!
//! Each counter and histogram is read once for a scrape, slot by slot. So counts never fall from
//! one scrape to the next, but those of different metrics aren't of one moment.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

pub use super::bounds::powers_of_two;
use super::bounds::shown;
use crate::{Counter, Histogram, Snapshot};

impl TypedMetric for Counter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.sum(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// For counters that others add to while the registry has them, such as a `static`.
impl TypedMetric for &Counter {
    const TYPE: MetricType = Counter::TYPE;
}

impl EncodeMetric for &Counter {
    fn encode(&self, encoder: MetricEncoder) -> fmt::Result {
        (**self).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Counter::TYPE
    }
}

/// A histogram as Prometheus is to see it: how many values are up to each of some bounds.
///
/// `H` leads to the histogram: `&'static Histogram`, `Arc<Histogram>`, `Box<Histogram>`.
///
/// - *`le`* counts the values in buckets that lie at or below the bound
///   ([`Snapshot::count_up_to`]). That is exact where the bound is the last value of its bucket:
///   below 2 × `PARTS`, and for [`powers_of_two`]. Elsewhere it leaves out values that are less
///   than 1/`PARTS` below the bound, as if the bound were that much smaller.
/// - *`_count`* is exact.
/// - *`_sum`* takes each value for the middle of its bucket ([`Snapshot::sum`]): it is wrong by at
///   most 1/(2 × `PARTS`).
#[derive(Clone, Debug)]
pub struct WithBounds<H> {
    histogram: H,
    bounds: Vec<u64>,
    per_unit: f64,
}

impl<H> WithBounds<H> {
    /// With these bounds, in any order, in the unit of the histogram. There is one of infinity
    /// always. Of bounds that are the same when they are printed (as `f64`, which tells numbers
    /// above 2^53 apart by their leading bits alone), the largest is shown.
    ///
    /// Not async-signal-safe: it allocates.
    #[must_use]
    pub fn new(histogram: H, bounds: impl IntoIterator<Item = u64>) -> Self {
        let mut bounds: Vec<u64> = bounds.into_iter().collect();
        bounds.sort_unstable();
        bounds.dedup();
        Self { histogram, bounds, per_unit: 1.0 }
    }

    /// Shows so many of the histogram's unit as 1: bounds and `_sum` are divided by it. Prometheus
    /// wants seconds, so it is 10^9 for nanoseconds:
    ///
    /// ```
    /// use rseq::Histogram;
    /// use rseq::prometheus::WithBounds;
    ///
    /// static LATENCY: Histogram = Histogram::new();
    /// let milliseconds = [1, 10, 100].map(|bound| bound * 1_000_000);
    /// let seconds = WithBounds::new(&LATENCY, milliseconds).per_unit(1_000_000_000);
    /// ```
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn per_unit(self, values: u64) -> Self {
        assert!(values > 0, "a unit of nothing");
        Self { per_unit: values as f64, ..self }
    }
}

impl<H> TypedMetric for WithBounds<H> {
    const TYPE: MetricType = MetricType::Histogram;
}

impl<H: Deref<Target = Histogram<PARTS>>, const PARTS: usize> EncodeMetric for WithBounds<H> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encode(&self.histogram.snapshot(), &self.bounds, self.per_unit, &mut encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// The counts of a snapshot, by bounds that ascend.
pub(super) fn encode(seen: &Snapshot, bounds: &[u64], per_unit: f64, encoder: &mut MetricEncoder) -> fmt::Result {
    let mut below = 0;
    let mut buckets = Vec::with_capacity(bounds.len() + 1);
    for (shown, bound) in shown(bounds, per_unit) {
        let up_to = seen.count_up_to(bound);
        buckets.push((shown, up_to - below));
        below = up_to;
    }
    buckets.push((f64::INFINITY, seen.count() - below));
    encoder.encode_histogram::<NoLabelSet>(seen.sum() / per_unit, seen.count(), &buckets, None)
}
