//! Histograms by instruments that there are: counters.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::opentelemetry::KeyValue;
use ::opentelemetry::metrics::{AsyncInstrument, Meter};

use super::super::bounds::{powers_of_two, shown};
use super::{Number, Series};
use crate::{Histogram, Snapshot};

/// The key of a bound.
pub(super) const BOUND: &str = "le";
/// The bound of the last bucket.
pub(super) const INFINITY: &str = "+Inf";

/// Registers histograms, all of this name.
///
/// Not async-signal-safe: it allocates.
///
/// OpenTelemetry has no observable histogram, and the Rust SDK (0.33) takes none that others have
/// counted: its data has no public constructor (`metrics/data/mod.rs`: all fields are
/// `pub(crate)`), readers collect from its own pipeline alone (`metrics/reader.rs`:
/// `register_pipeline`; there is no `MetricProducer`, as the specification has it), and a
/// synchronous histogram takes one value at a time. So each is shown by two observable counters:
///
/// | instrument | |
/// |---|---|
/// | `{name}.bucket` | how many values are up to a bound, which is the attribute `le`; up to `+Inf` are all |
/// | `{name}.sum` | their sum, with [`Snapshot::sum`]'s precision |
///
/// Both are of one moment, unless several readers of a provider collect at the same time: the SDK
/// mixes what these see. They are what Prometheus makes of a histogram, so its functions
/// (`histogram_quantile`) know what to do with them; for collectors they become a histogram again:
/// see
#[cfg_attr(feature = "opentelemetry-otlp", doc = "[`WithHistograms`](super::WithHistograms).")]
#[cfg_attr(not(feature = "opentelemetry-otlp"), doc = "`WithHistograms` (feature `opentelemetry-otlp`).")]
/// An attribute `le` of the histogram's own is shown as `exported_le`.
///
/// How exact the counts are is as of `rseq::prometheus::WithBounds`: exact where a bound is the
/// last value of its bucket, as all of [`powers_of_two`] are.
///
/// The SDK shows at most 2000 series of an instrument, unless a view says otherwise
/// (`Stream::builder().with_cardinality_limit`): here each bound of each histogram is one.
///
/// ```
/// use opentelemetry::{KeyValue, global};
/// use rseq::Histogram;
/// use rseq::opentelemetry::{Family, histogram};
///
/// static LATENCY: Family<Histogram> = Family::with_limit(50);
///
/// let milliseconds = [1, 10, 100].map(|bound| bound * 1_000_000);
/// histogram(&global::meter("service"), "latency", &LATENCY)
///     .with_description("Time from request to response")
///     .with_unit("s")
///     .with_bounds(milliseconds)
///     .per_unit(1_000_000_000)
///     .build();
/// LATENCY.get(&[KeyValue::new("route", "/")]).record(250_000);
/// ```
pub fn histogram<'m, const PARTS: usize>(
    meter: &'m Meter,
    name: impl Into<Cow<'static, str>>,
    series: impl Series<Histogram<PARTS>>,
) -> HistogramBuilder<'m> {
    let each = move |visit: &mut Visit<'_>| {
        series.each(&mut |histogram, attributes| visit(histogram.snapshot(), attributes));
    };
    HistogramBuilder {
        meter,
        name: name.into(),
        description: Cow::Borrowed(""),
        unit: Cow::Borrowed(""),
        bounds: None,
        per_unit: 1.0,
        each: Box::new(each),
    }
}

type Visit<'v> = dyn FnMut(Snapshot, &[KeyValue]) + 'v;
type Each = dyn Fn(&mut Visit<'_>) + Send + Sync;

/// Histograms that are about to be registered: see [`histogram`].
#[must_use = "they are registered by `build`"]
pub struct HistogramBuilder<'m> {
    meter: &'m Meter,
    name: Cow<'static, str>,
    description: Cow<'static, str>,
    unit: Cow<'static, str>,
    bounds: Option<Vec<u64>>,
    per_unit: f64,
    each: Box<Each>,
}

impl HistogramBuilder<'_> {
    /// Their meaning, for people.
    ///
    /// Not async-signal-safe: it allocates.
    pub fn with_description(self, description: impl Into<Cow<'static, str>>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// The unit of what is shown: see [`HistogramBuilder::per_unit`].
    ///
    /// Not async-signal-safe: it allocates.
    pub fn with_unit(self, unit: impl Into<Cow<'static, str>>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// With these bounds, in any order, in the unit of the histograms, and infinity. Without them
    /// they are the powers of four. Of bounds that are shown as the same `f64` the largest is
    /// shown.
    ///
    /// Not async-signal-safe: it allocates.
    pub fn with_bounds(self, bounds: impl IntoIterator<Item = u64>) -> Self {
        Self { bounds: Some(bounds.into_iter().collect()), ..self }
    }

    /// Shows so many of the histograms' unit as 1: 10^9 for nanoseconds that are shown as seconds.
    ///
    /// Not async-signal-safe: who registers histograms allocates.
    ///
    /// # Panics
    /// If it is 0.
    pub fn per_unit(self, values: u64) -> Self {
        assert!(values > 0, "a unit of nothing");
        Self { per_unit: values as f64, ..self }
    }

    /// Registers them. They are read at each collection until the meter's provider is dropped.
    ///
    /// Not async-signal-safe: it allocates.
    pub fn build(self) {
        let shown = Arc::new(Shown::of(self.bounds, self.per_unit, self.each));
        let buckets = Arc::clone(&shown);
        self.meter
            .u64_observable_counter(alloc::format!("{}.bucket", self.name))
            .with_description(self.description.clone())
            .with_callback(move |instrument| buckets.observe_buckets(instrument))
            .build();
        self.meter
            .f64_observable_counter(alloc::format!("{}.sum", self.name))
            .with_description(self.description)
            .with_unit(self.unit)
            .with_callback(move |instrument| shown.observe_sums(instrument))
            .build();
    }
}

impl fmt::Debug for HistogramBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistogramBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Histograms as both counters show them.
struct Shown {
    /// As they are written, and as numbers.
    bounds: Vec<(String, u64)>,
    per_unit: f64,
    each: Box<Each>,
    /// The sums that belong to the buckets that were shown last, until they are shown. Held while
    /// histograms are read and shown: so the SDK, which hands what one of its readers sees to all
    /// (`register_callback` in `metrics/pipeline.rs`), gets nothing old behind something new.
    sums: Mutex<Option<Sums>>,
}

type Sums = Vec<(Vec<KeyValue>, f64)>;

impl Shown {
    fn of(bounds: Option<Vec<u64>>, per_unit: f64, each: Box<Each>) -> Self {
        let mut bounds = bounds.unwrap_or_else(|| powers_of_two(0..=62).step_by(2).collect());
        bounds.sort_unstable();
        let bounds = shown(&bounds, per_unit).map(|(shown, bound)| (shown.to_string(), bound)).collect();
        Self { bounds, per_unit, each, sums: Mutex::new(None) }
    }

    fn observe_buckets(&self, instrument: &dyn AsyncInstrument<u64>) {
        let mut sums = self.lock();
        *sums = Some(self.read(|seen, attributes| {
            let mut observe = |written: &str, count| {
                attributes.push(KeyValue::new(BOUND, written.to_string()));
                instrument.observe(Number::of(count), attributes);
                attributes.pop();
            };
            self.bounds.iter().for_each(|(written, bound)| observe(written, seen.count_up_to(*bound)));
            observe(INFINITY, seen.count());
        }));
    }

    /// Each collection calls this behind the other. Alone, if a view has dropped the buckets.
    fn observe_sums(&self, instrument: &dyn AsyncInstrument<f64>) {
        let mut sums = self.lock();
        let sums = sums.take().unwrap_or_else(|| self.read(|_, _| {}));
        sums.iter().for_each(|(attributes, sum)| instrument.observe(*sum, attributes));
    }

    /// Reads all histograms, shows each, with attributes of which none is taken for a bound, and
    /// returns the sums.
    fn read(&self, mut show: impl FnMut(&Snapshot, &mut Vec<KeyValue>)) -> Sums {
        let mut sums = Sums::new();
        (self.each)(&mut |seen, attributes| {
            let mut attributes = attributes.iter().cloned().map(without_bound).collect();
            show(&seen, &mut attributes);
            sums.push((attributes, seen.sum() / self.per_unit));
        });
        sums
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sums>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attribute that isn't taken for a bound.
fn without_bound(mut attribute: KeyValue) -> KeyValue {
    if attribute.key.as_str() == BOUND {
        attribute.key = "exported_le".into();
    }
    attribute
}
