//! The metrics, and how Prometheus sees them.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use rseq::prometheus::{WithBounds, powers_of_two};
use rseq::{AllocError, Counter, Histogram};

/// The requests of this process.
pub static METRICS: Metrics = Metrics::new();

/// The kinds of requests that are told apart. Paths that clients make up are all one, so there are
/// never more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Index,
    Hash,
    Slow,
    Metrics,
    Unknown,
}

impl Route {
    const ALL: [Self; 5] = [Self::Index, Self::Hash, Self::Slow, Self::Metrics, Self::Unknown];

    /// The route of a path.
    pub fn of(path: &str) -> Self {
        match path {
            "/" => Self::Index,
            "/hash" => Self::Hash,
            "/slow" => Self::Slow,
            "/metrics" => Self::Metrics,
            _ => Self::Unknown,
        }
    }

    /// Its label.
    fn name(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Hash => "/hash",
            Self::Slow => "/slow",
            Self::Metrics => "/metrics",
            Self::Unknown => "unknown",
        }
    }
}

/// Every status that the routes answer with.
const STATUSES: [StatusCode; 5] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::PAYLOAD_TOO_LARGE,
];

/// Counts by route, each on the CPU that answers.
#[derive(Debug)]
pub struct Metrics {
    routes: [RouteMetrics; Route::ALL.len()],
}

#[derive(Debug)]
struct RouteMetrics {
    /// By the number of the status.
    requests: [Counter; STATUSES.len()],
    /// In nanoseconds.
    latency: Histogram,
}

impl Metrics {
    const fn new() -> Self {
        Self { routes: [const { RouteMetrics::new() }; Route::ALL.len()] }
    }

    /// Takes all memory now.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.routes.iter().try_for_each(RouteMetrics::allocate)
    }

    /// Counts a request that was answered. There is no `.await` here: a section is never left to
    /// wait.
    pub fn count(&self, route: Route, status: StatusCode, took: Duration) {
        let route = &self.routes[route as usize];
        let status = STATUSES.iter().position(|other| *other == status);
        route.requests[status.expect("routes answer with one of `STATUSES`")].inc();
        route.latency.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.routes.iter().flat_map(|route| &route.requests).map(Counter::sum).sum()
    }

    /// All of it in Prometheus' text format.
    pub fn text(&'static self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn by_route(&self) -> impl Iterator<Item = (Route, &RouteMetrics)> {
        Route::ALL.into_iter().zip(&self.routes)
    }
}

impl RouteMetrics {
    const fn new() -> Self {
        Self { requests: [const { Counter::new() }; STATUSES.len()], latency: Histogram::new() }
    }

    fn allocate(&self) -> Result<(), AllocError> {
        self.requests.iter().try_for_each(Counter::allocate)?;
        self.latency.allocate()
    }
}

/// Counters of what never happened are left out.
impl Collector for &'static Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut requests =
            encoder.encode_descriptor("http_requests", "Requests that were answered", None, MetricType::Counter)?;
        for (route, metrics) in self.by_route() {
            for (status, counter) in STATUSES.iter().zip(&metrics.requests).filter(|(_, counter)| counter.sum() > 0) {
                let labels = [("route", route.name()), ("status", status.as_str())];
                counter.encode(requests.encode_family(&labels)?)?;
            }
        }
        let help = "From the head of a request to its answer";
        let mut latency =
            encoder.encode_descriptor("http_request_duration_seconds", help, None, MetricType::Histogram)?;
        for (route, metrics) in self.by_route() {
            // From a microsecond to 17 seconds; these bounds are exact.
            let bounds = powers_of_two(10..=34).step_by(2);
            let seconds = WithBounds::new(&metrics.latency, bounds).per_unit(1_000_000_000);
            seconds.encode(latency.encode_family(&[("route", route.name())])?)?;
        }
        Ok(())
    }
}
