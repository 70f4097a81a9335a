//! All metrics of a recorder, for a registry of `prometheus-client`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::families::{self, LeftOut};
use super::{PerCpuRecorder, Value, whole};
use crate::prometheus::{encode, powers_of_two};

/// The gauge that says how many metrics are left out.
const LEFT_OUT: &str = "rseq_metrics_left_out";

/// The counter of values that were counted as the largest, as it is without `_total`.
const CAPPED: &str = "rseq_metrics_capped";
/// Names that no metric has, whose families are the collector's own.
const OWN: &[&str] = &[LEFT_OUT, CAPPED, "rseq_metrics_capped_total"];

/// Shows all metrics of a [`PerCpuRecorder`] in a registry of [`prometheus_client`].
///
/// ```
/// use std::sync::Arc;
///
/// use prometheus_client::encoding::prometheus_text::encode;
/// use prometheus_client::registry::Registry;
/// use rseq::metrics::{PerCpuRecorder, PrometheusCollector};
///
/// let recorder = Arc::new(PerCpuRecorder::new());
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(PrometheusCollector::new(recorder.clone())));
///
/// metrics::with_local_recorder(&recorder, || metrics::counter!("http.requests").increment(2));
///
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// assert!(text.contains("http_requests_total 2\n"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
///
/// # Names
///
/// Names are those of the metrics, with `_` for characters that Prometheus has none of; labels
/// begin with at most one. Counters end in `_total`, which is added where it isn't there. Labels of
/// no value aren't shown, which is the same to Prometheus. Descriptions are on one line.
///
/// A metric that doesn't fit costs itself, never the scrape. It is left out
///
/// - if its name, or one that is derived of it (`_total`, `_bucket`, `_sum`, `_count`), is that of
///   another family: counters go before gauges, and these before histograms;
/// - if two of its labels have the same name, as they are shown, or a histogram has the label `le`;
/// - if another metric of the same kind and name has the same labels, as they are shown: the first
///   is shown, in the order of [`PerCpuRecorder::read`].
///
/// How many are left out is the gauge `rseq_metrics_left_out`, which is there if any are; which,
/// says [`left_out`](Self::left_out). Of other collectors and metrics of the registry nothing is
/// known here: their names must differ. `rseq_metrics_capped_total` is
/// [`PerCpuRecorder::capped`], if that isn't 0.
#[derive(Clone, Debug)]
pub struct PrometheusCollector {
    recorder: Arc<PerCpuRecorder>,
    bounds: Option<Vec<f64>>,
}

impl PrometheusCollector {
    /// With bounds that suit everything: the powers of four of what histograms count in (see
    /// [`PerCpuRecorder`]), whose counts are exact.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn new(recorder: Arc<PerCpuRecorder>) -> Self {
        Self { recorder, bounds: None }
    }

    /// With these bounds for all histograms, in their own units; how exact those are is said at
    /// [`WithBounds`](crate::prometheus::WithBounds). They are rounded as values are. NaN and
    /// bounds below 0 are left out, as no value is up to them; infinity is there always.
    ///
    /// Not async-signal-safe: it allocates.
    #[must_use]
    pub fn with_bounds(self, bounds: impl IntoIterator<Item = f64>) -> Self {
        Self { bounds: Some(bounds.into_iter().collect()), ..self }
    }

    /// The metrics that Prometheus isn't shown, and why.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use rseq::metrics::{PerCpuRecorder, PrometheusCollector, Reason};
    ///
    /// let recorder = Arc::new(PerCpuRecorder::new());
    /// let collector = PrometheusCollector::new(recorder.clone());
    ///
    /// metrics::with_local_recorder(&recorder, || {
    ///     metrics::counter!("requests").increment(1);
    ///     metrics::gauge!("requests").set(1.0);
    /// });
    /// assert_eq!(collector.left_out()[0].reason, Reason::Name);
    /// ```
    ///
    /// Not async-signal-safe: it allocates.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        families::sort(self.recorder.read(), OWN).1
    }

    /// The bounds as whole numbers.
    fn bounds(&self, per_unit: f64) -> Vec<u64> {
        let Some(bounds) = &self.bounds else {
            return powers_of_two(0..=62).step_by(2).collect();
        };
        let bounds = bounds.iter().filter(|bound| (0.0..f64::INFINITY).contains(*bound));
        let mut bounds: Vec<u64> = bounds.map(|bound| whole(*bound, per_unit)).collect();
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }

    fn encode_value(&self, value: &Value, encoder: &mut MetricEncoder) -> fmt::Result {
        match value {
            Value::Counter(sum) => encoder.encode_counter::<NoLabelSet, _, u64>(sum, None),
            Value::Gauge(value) => encoder.encode_gauge(value),
            Value::Histogram { seen, per_unit } => encode(seen, &self.bounds(*per_unit), *per_unit, encoder),
        }
    }
}

impl Collector for PrometheusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (families, left_out) = families::sort(self.recorder.read(), OWN);
        for family in families {
            let mut shown = encoder.encode_descriptor(&family.name, &family.help, None, family.kind.into())?;
            for (labels, value) in &family.series {
                self.encode_value(value, &mut shown.encode_family(labels)?)?;
            }
        }
        let capped = self.recorder.capped();
        if capped > 0 {
            let help = "Values that were counted as the largest of their histogram, which they are above";
            let mut shown = encoder.encode_descriptor(CAPPED, help, None, MetricType::Counter)?;
            shown.encode_counter::<NoLabelSet, _, u64>(&capped, None)?;
        }
        if !left_out.is_empty() {
            let help = "Metrics that the format has no room for: their names or labels are others' too";
            encoder
                .encode_descriptor(LEFT_OUT, help, None, MetricType::Gauge)?
                .encode_gauge(&(left_out.len() as u64))?;
        }
        Ok(())
    }
}
