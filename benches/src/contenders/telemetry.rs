//! Metrics of OpenTelemetry: those of its SDK beside counters and histograms that it reads.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality};
use rseq::opentelemetry::{Family, histogram, sums};
use rseq::{Counter, Histogram};

use super::others::Others;
use crate::measuring::{Contender, contender};

/// Sends nothing to anybody.
struct Nobody;

impl PushMetricExporter for Nobody {
    async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// A meter whose metrics are collected, if for nobody.
fn meter() -> Meter {
    let exponential = |instrument: &Instrument| {
        let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
        let stream = Stream::builder().with_aggregation(aggregation).build();
        (instrument.name() == "exponential").then(|| stream.expect("it is a view"))
    };
    let reader = PeriodicReader::builder(Nobody).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).with_view(exponential).build();
    let meter = provider.meter("bench");
    // It would end when this is dropped.
    std::mem::forget(provider);
    meter
}

/// As many as services use.
fn attributes() -> [KeyValue; 3] {
    [KeyValue::new("method", "GET"), KeyValue::new("route", "/"), KeyValue::new("status", 200)]
}

/// Additions to one counter over and over.
pub fn counters(_: &Others) -> Vec<Contender> {
    static COUNTER: Counter = Counter::new();
    static FAMILY: Family<Counter> = Family::new();
    let meter = meter();
    meter.u64_observable_counter("counter").with_callback(sums(&COUNTER)).build();
    meter.u64_observable_counter("family").with_callback(sums(&FAMILY)).build();
    let theirs = meter.u64_counter("theirs").build();
    let (plain, bound) = (theirs.clone(), theirs.bind(&attributes()));
    vec![
        contender("Counter, read by the SDK", |_| COUNTER.inc()),
        contender("Family::get with three attributes", |_| FAMILY.get(&attributes()).inc()),
        contender("SDK 0.33, bound (experimental)", move |_| bound.add(1)),
        contender("SDK 0.33, without attributes", move |_| plain.add(1, &[])),
        contender("SDK 0.33, three attributes", move |_| theirs.add(1, &attributes())),
    ]
}

/// Values of several octaves to one histogram.
pub fn histograms(_: &Others) -> Vec<Contender> {
    static HISTOGRAM: Histogram = Histogram::new();
    let value = |number: usize| number as u64 * 97;
    let meter = meter();
    histogram(&meter, "histogram", &HISTOGRAM).build();
    let theirs = meter.u64_histogram("theirs").build();
    let exponential = meter.u64_histogram("exponential").build();
    let (plain, bound) = (theirs.clone(), theirs.bind(&attributes()));
    vec![
        contender("Histogram, read by the SDK", move |number| HISTOGRAM.record(value(number))),
        contender("SDK 0.33, bound (experimental)", move |number| bound.record(value(number))),
        contender("SDK 0.33, without attributes", move |number| plain.record(value(number), &[])),
        contender("SDK 0.33, three attributes", move |number| theirs.record(value(number), &attributes())),
        contender("SDK 0.33, exponential, without attributes", move |number| exponential.record(value(number), &[])),
    ]
}
