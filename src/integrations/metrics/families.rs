//! The metrics of a recorder as families that Prometheus' text formats can have, and those that
//! they can't.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use ::metrics::Key;
use prometheus_client::metrics::MetricType;

use super::{Kind, Reading, Value};

/// Labels as they are shown, in the order of their names.
pub type Labels = Vec<(String, String)>;

/// Metrics of one name and kind, which differ in their labels.
pub struct Family {
    /// The name, to which the encoder adds `_total`.
    pub name: String,
    pub kind: Kind,
    /// The description, or else the name that the first metric has in the program.
    pub help: String,
    pub series: Vec<(Labels, Value)>,
}

/// A metric that Prometheus isn't shown: see [`PrometheusCollector`](super::PrometheusCollector).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// The name and labels of the metric.
    pub key: Key,
    /// The cause.
    pub reason: Reason,
}

/// Why a metric isn't shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// A name of its family is another family's: that of a gauge that is called as a counter is,
    /// say.
    Name,
    /// Two of its labels have the same name, as it is shown, or one has a name that the format
    /// needs for itself: `le` of histograms.
    Labels,
    /// Another metric of its family has the same labels, as they are shown.
    Series,
}

/// The families that are shown, by name, and the metrics that aren't. No other family has one of
/// these names.
pub fn sort(readings: Vec<Reading>, others: &[&str]) -> (Vec<Family>, Vec<LeftOut>) {
    let mut names: BTreeSet<String> = others.iter().map(|name| String::from(*name)).collect();
    let (mut families, mut left_out) = (Vec::new(), Vec::new());
    let mut by_name: BTreeMap<(Kind, String), Vec<Reading>> = BTreeMap::new();
    for reading in readings {
        by_name.entry(kind_and_name(&reading)).or_default().push(reading);
    }
    for ((kind, name), readings) in by_name {
        let wanted = names_of(kind, &name);
        if wanted.iter().any(|name| names.contains(name)) {
            left_out.extend(readings.into_iter().map(|reading| LeftOut { key: reading.key, reason: Reason::Name }));
            continue;
        }
        let (help, series) = (help(&readings[0]), series(readings, &mut left_out));
        if !series.is_empty() {
            names.extend(wanted);
            families.push(Family { name, kind, help, series });
        }
    }
    families.sort_by(|one, other| one.name.cmp(&other.name));
    (families, left_out)
}

/// The metrics of a family whose labels nobody else has.
fn series(readings: Vec<Reading>, left_out: &mut Vec<LeftOut>) -> Vec<(Labels, Value)> {
    let mut seen = BTreeSet::new();
    let mut series = Vec::new();
    for Reading { key, value, .. } in readings {
        match labels(&key, value.kind()) {
            None => left_out.push(LeftOut { key, reason: Reason::Labels }),
            Some(labels) if !seen.insert(labels.clone()) => left_out.push(LeftOut { key, reason: Reason::Series }),
            Some(labels) => series.push((labels, value)),
        }
    }
    series
}

/// Metrics of the same kind and name are shown together.
fn kind_and_name(reading: &Reading) -> (Kind, String) {
    let kind = reading.value.kind();
    let name = reading.key.name();
    let name = if kind == Kind::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    (kind, identifier(name, |character| character == ':'))
}

/// All names of a family and of its samples, in either text format.
fn names_of(kind: Kind, name: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Kind::Counter => &["", "_total"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["", "_bucket", "_sum", "_count"],
    };
    suffixes.iter().map(|suffix| String::from(name) + suffix).collect()
}

/// On one line: the encoder of OpenMetrics writes it as it is.
fn help(reading: &Reading) -> String {
    let text = reading.description.as_ref().map_or(reading.key.name(), |description| &description.text);
    text.replace(['\n', '\r'], " ")
}

/// The labels that say something, unless two are one. (To Prometheus, no value is no label.)
fn labels(key: &Key, kind: Kind) -> Option<Labels> {
    let said = key.labels().filter(|label| !label.value().is_empty());
    let mut labels: Labels = said.map(|label| (label_name(label.key()), label.value().into())).collect();
    labels.sort();
    let are_distinct = labels.windows(2).all(|pair| pair[0].0 != pair[1].0);
    let is_bound = |(name, _): &(String, String)| kind == Kind::Histogram && name == "le";
    (are_distinct && !labels.iter().any(is_bound)).then_some(labels)
}

/// Names that begin with two underscores are Prometheus' own.
fn label_name(name: &str) -> String {
    let name = identifier(name, |_| false);
    let rest = name.trim_start_matches('_');
    if name.starts_with("__") { String::from("_") + rest } else { name }
}

/// The name with `_` for what may not be in it.
fn identifier(name: &str, also: impl Fn(char) -> bool) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '_' || also(character);
    let begins = name.starts_with(|first: char| !first.is_ascii_digit());
    let prefix = (!begins).then_some('_');
    prefix.into_iter().chain(name.chars().map(|character| if allowed(character) { character } else { '_' })).collect()
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
