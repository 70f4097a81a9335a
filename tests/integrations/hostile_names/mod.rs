//! Metrics of any name, label and value make scrapes that the text formats allow.

mod strict;

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;

use metrics::{
    Key, Label, Level, Metadata, Recorder, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram, with_local_recorder,
};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rseq::metrics::{LeftOut, PerCpuRecorder, PrometheusCollector, Reason};

/// The scrape in both formats, each as the strict reader takes it, and what was left out.
fn scrapes(uses: impl FnOnce(&PerCpuRecorder)) -> ([String; 2], Vec<LeftOut>) {
    let recorder = Arc::new(PerCpuRecorder::new());
    with_local_recorder(&*recorder, || uses(&recorder));
    let collector = PrometheusCollector::new(recorder).with_bounds([0.25, 1.0, f64::NAN, -1.0, f64::INFINITY]);
    let left_out = collector.left_out();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let (mut prometheus, mut open_metrics) = (String::new(), String::new());
    prometheus_text::encode(&mut prometheus, &registry).expect("a string takes everything");
    text::encode(&mut open_metrics, &registry).expect("a string takes everything");
    let texts = [prometheus, open_metrics];
    for text in &texts {
        let shown = strict::read(text);
        let gauge = shown.iter().find(|family| family.name == "rseq_metrics_left_out");
        assert_eq!(gauge.map_or(0.0, |gauge| gauge.samples[0].value), left_out.len() as f64, "{text}");
    }
    (texts, left_out)
}

/// The scrape, and the names of what was left out, with the reasons.
fn scrape(uses: impl FnOnce()) -> (String, Vec<(String, Reason)>) {
    let ([text, _], left_out) = scrapes(|_| uses());
    (text, left_out.into_iter().map(|out| (out.key.name().to_owned(), out.reason)).collect())
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn labels_that_are_one_cost_their_metric() {
    let (text, left_out) = scrape(|| {
        counter!("a", "x-y" => "1", "x.y" => "2").increment(1);
        counter!("a", "x-y" => "1").increment(2);
        counter!("a", "x.y" => "1").increment(3);
        histogram!("h", "le" => "mine").record(0.5);
        gauge!("h", "le" => "mine").set(2.0);
    });
    assert_eq!(samples(&text), [r#"a_total{x_y="1"} 2"#, r#"h{le="mine"} 2.0"#, "rseq_metrics_left_out 3"], "{text}");
    let reasons = [("a", Reason::Series), ("a", Reason::Labels), ("h", Reason::Name)];
    assert!(left_out.len() == 3 && reasons.iter().all(|(name, reason)| left_out.contains(&((*name).into(), *reason))));
}

#[test]
fn the_label_of_bounds_costs_the_histogram() {
    let (text, left_out) = scrape(|| histogram!("h", "le" => "mine").record(0.5));
    assert_eq!((samples(&text), left_out), (vec!["rseq_metrics_left_out 1"], vec![("h".into(), Reason::Labels)]));
}

#[test]
fn families_of_one_name_cost_the_later() {
    let (text, left_out) = scrape(|| {
        counter!("requests").increment(1);
        gauge!("requests_total").set(2.0);
        gauge!("requests").set(3.0);
        gauge!("size_sum").set(4.0);
        histogram!("size").record(0.5);
        counter!("size_count").increment(5);
    });
    assert_eq!(
        samples(&text),
        ["requests_total 1", "size_count_total 5", "size_sum 4.0", "rseq_metrics_left_out 3"],
        "{text}"
    );
    let names = ["requests", "requests_total", "size"].map(|name| (name.to_owned(), Reason::Name));
    assert_eq!(left_out, names);
}

/// Two counters, one of which is called as Prometheus calls the other, are one family.
#[test]
fn a_counter_with_its_suffix_is_the_one_without() {
    let (text, left_out) = scrape(|| {
        counter!("requests").increment(1);
        counter!("requests_total").increment(2);
        counter!("requests_total", "route" => "/").increment(3);
    });
    assert_eq!(samples(&text), ["requests_total 1", r#"requests_total{route="/"} 3"#, "rseq_metrics_left_out 1"]);
    assert_eq!(left_out, [("requests_total".into(), Reason::Series)]);
}

#[test]
fn labels_without_a_value_are_none() {
    let (text, left_out) = scrape(|| {
        counter!("a", "x" => "").increment(1);
        counter!("a", "y" => "").increment(2);
    });
    assert_eq!((samples(&text).len(), left_out.len()), (2, 1));
    assert!(text.contains("\na_total 1\n"), "{text}");
}

#[test]
fn names_that_are_none_become_some() {
    let (text, left_out) = scrape(|| {
        counter!("").increment(1);
        counter!("9lives", "1" => "x", "" => "y").increment(2);
        counter!("é.b", "ключ" => "x", "__name__" => "other").increment(3);
        gauge!("rseq_metrics_left_out").set(1.0);
    });
    let expected = [
        "__total 1",
        r#"__b_total{_="x",_name__="other"} 3"#,
        r#"_9lives_total{_="y",_1="x"} 2"#,
        "rseq_metrics_left_out 1",
    ];
    let mut seen = samples(&text);
    seen.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{text}");
    assert_eq!(left_out, [("rseq_metrics_left_out".into(), Reason::Name)]);
}

#[test]
fn values_are_escaped_and_descriptions_are_lines() {
    let value = "q\" b\\ n\n{},= \u{1F980}";
    let ([prometheus, open_metrics], _) = scrapes(|_| {
        describe_counter!("a", "first line\nb_total 7\r\nback\\slash \"quoted\"");
        describe_gauge!("b", "");
        counter!("a", "k" => value).increment(1);
        gauge!("b").set(1.0);
    });
    for text in [prometheus, open_metrics] {
        let families = strict::read(&text);
        assert_eq!(families[0].samples[0].labels, [("k".to_owned(), value.to_owned())]);
        assert_eq!(families.len(), 2, "{text}");
    }
}

#[test]
fn values_beyond_a_histogram_are_told() {
    let ([text, _], _) = scrapes(|recorder| {
        histogram!("bytes").record(1e12);
        histogram!("bytes").record(1.0);
        describe_histogram!("described", metrics::Unit::Bytes, "Bytes");
        histogram!("described").record(1e12);
        assert_eq!(recorder.capped(), 1);
        histogram!("described").record_many(f64::INFINITY, 2);
        histogram!("described").record(f64::NAN);
        assert_eq!(recorder.capped(), 3);
    });
    assert!(text.contains("rseq_metrics_capped_total 3\n"), "{text}");
}

/// A metric of one of three kinds.
#[derive(Clone, Debug)]
struct Hostile {
    kind: u8,
    name: String,
    labels: Vec<(String, String)>,
    help: Option<String>,
    value: f64,
}

impl Hostile {
    fn record(&self, recorder: &PerCpuRecorder) {
        let labels: Vec<Label> =
            self.labels.iter().map(|(name, value)| Label::new(name.clone(), value.clone())).collect();
        let key = Key::from_parts(self.name.clone(), labels);
        let data = Metadata::new("", Level::INFO, None);
        let (name, help) = (self.name.clone().into(), self.help.clone());
        match self.kind {
            0 => {
                help.into_iter().for_each(|help| recorder.describe_counter(Clone::clone(&name), None, help.into()));
                recorder.register_counter(&key, &data).increment(self.value as u64);
            }
            1 => {
                help.into_iter().for_each(|help| recorder.describe_gauge(Clone::clone(&name), None, help.into()));
                recorder.register_gauge(&key, &data).set(self.value);
            }
            _ => {
                help.into_iter().for_each(|help| recorder.describe_histogram(Clone::clone(&name), None, help.into()));
                recorder.register_histogram(&key, &data).record(self.value);
            }
        }
    }
}

/// Names of few characters, so that many are the same once they are shown.
fn hostile() -> impl Strategy<Value = Hostile> {
    let name = prop_oneof![
        "[ab.\\-_0é:]{0,3}(_total|_sum|_count|_bucket)?",
        Just("rseq_metrics_left_out".to_owned()),
        any::<String>(),
    ];
    let label = prop_oneof!["[ab.\\-_0é]{0,3}", Just("le".to_owned()), Just("__name__".to_owned()), any::<String>()];
    let value = prop_oneof!["[xy\"\\\\\n{},=]{0,3}", any::<String>()];
    let labels = prop::collection::vec((label, value), 0..3);
    (0..3_u8, name, labels, prop::option::of(any::<String>()), any::<f64>())
        .prop_map(|(kind, name, labels, help, value)| Hostile { kind, name, labels, help, value })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// The strict reader takes the scrape of any metrics, and each is there or left out.
    #[test]
    fn any_metrics_make_a_scrape(metrics in prop::collection::vec(hostile(), 0..12)) {
        scrapes(|recorder| metrics.iter().for_each(|metric| metric.record(recorder)));
    }
}

/// The same by Prometheus' own reader, whose advice on names is another matter.
#[test]
fn promtool_takes_them() {
    if Command::new("promtool").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no promtool (Debian's package prometheus)");
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..20 {
        let metrics = prop::collection::vec(hostile(), 12).new_tree(&mut runner).expect("there are some").current();
        let ([text, _], _) = scrapes(|recorder| metrics.iter().for_each(|metric| metric.record(recorder)));
        let file = tempfile::NamedTempFile::new().expect("there is room for a file");
        std::fs::write(file.path(), &text).expect("there is room for it");
        let scrape = File::open(file.path()).expect("it was just written");
        let output = Command::new("promtool").args(["check", "metrics"]).stdin(scrape).output().expect("it is there");
        // 3: names are advised against.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{said}\n{text}");
    }
}
