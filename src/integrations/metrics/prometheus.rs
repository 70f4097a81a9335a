//! All metrics of a recorder, for a registry of `prometheus-client`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use ::metrics::Key;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Kind, PerCpuRecorder, Reading, Value, whole};
use crate::prometheus::{encode, powers_of_two};

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
/// Names are those of the metrics, with `_` for characters that Prometheus has none of. Counters
/// end in `_total`, which is added where it isn't there. Metrics whose names differ in such
/// characters alone are shown as one family, so their labels must differ.
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
        let mut readings = self.recorder.read();
        readings.sort_by_cached_key(family);
        for readings in readings.chunk_by(|one, other| family(one) == family(other)) {
            let (name, kind) = family(&readings[0]);
            let mut family = encoder.encode_descriptor(&name, help(&readings[0]), None, kind.into())?;
            for reading in readings {
                self.encode_value(&reading.value, &mut family.encode_family(&labels(&reading.key))?)?;
            }
        }
        Ok(())
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
            Kind::Histogram => Self::Histogram,
        }
    }
}

/// Which metrics are shown together: by this name, to which the encoder adds `_total`.
fn family(reading: &Reading) -> (String, Kind) {
    let kind = reading.value.kind();
    let name = reading.key.name();
    let name = if kind == Kind::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    (identifier(name, |character| character == ':'), kind)
}

/// Its description, or else the name that it has in the program.
fn help(reading: &Reading) -> &str {
    reading.description.as_ref().map_or(reading.key.name(), |description| &description.text)
}

fn labels(key: &Key) -> Vec<(String, &str)> {
    key.labels().map(|label| (identifier(label.key(), |_| false), label.value())).collect()
}

/// The name with `_` for what may not be in it.
fn identifier(name: &str, also: impl Fn(char) -> bool) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '_' || also(character);
    let begins = name.starts_with(|first: char| !first.is_ascii_digit());
    let prefix = (!begins).then_some('_');
    prefix.into_iter().chain(name.chars().map(|character| if allowed(character) { character } else { '_' })).collect()
}
