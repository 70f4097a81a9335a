//! The interfaces of other crates, each behind the feature of its name.

mod hostile_names;
mod with_metrics;
mod with_opentelemetry;
mod with_prometheus;
mod with_serde;
mod with_tracing;
