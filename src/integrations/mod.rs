//! The interfaces of other crates, implemented for the types of this one: each behind the feature
//! of its name.

#[cfg(any(feature = "opentelemetry", feature = "prometheus-client"))]
mod bounds;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
#[cfg(feature = "prometheus-client")]
pub mod prometheus;
#[cfg(feature = "serde")]
mod serde;
#[cfg(feature = "tracing")]
pub mod tracing;
