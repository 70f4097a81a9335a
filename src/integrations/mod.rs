//! The interfaces of other crates, implemented for the types of this one: each behind the feature of its name.

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "prometheus-client")]
pub mod prometheus;
#[cfg(feature = "serde")]
mod serde;
#[cfg(feature = "tracing")]
pub mod tracing;
