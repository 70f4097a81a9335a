//! Bounds of histograms, as others are to see them.

use core::ops::RangeInclusive;

/// Bounds whose counts are exact, whatever `PARTS` is: 2^`exponent` - 1, as a bound is the last
/// value that counts.
///
/// Async-signal-safe.
///
/// ```
#[cfg_attr(feature = "prometheus-client", doc = "use rseq::prometheus::powers_of_two;")]
#[cfg_attr(not(feature = "prometheus-client"), doc = "use rseq::opentelemetry::powers_of_two;")]
///
/// assert!(powers_of_two(8..=10).eq([255, 511, 1023]));
/// assert!(powers_of_two(20..=40).step_by(2).eq((10..=20).map(|exponent| 4_u64.pow(exponent) -
/// 1)));
/// ```
///
/// # Panics
/// If an exponent is above 64, when the iterator comes to it.
pub fn powers_of_two(exponents: RangeInclusive<u32>) -> impl Iterator<Item = u64> {
    exponents.map(|exponent| {
        assert!(exponent <= 64, "values have 64 bits, so 2^{exponent} is no bound");
        u64::MAX.checked_shr(64 - exponent).unwrap_or(0)
    })
}

/// Bounds that ascend, each as it is shown where so many values are 1. Of those that look the same
/// there the largest is shown: no scrape may have a bound twice.
pub(super) fn shown(bounds: &[u64], per_unit: f64) -> impl Iterator<Item = (f64, u64)> {
    let shown = move |bound: &u64| *bound as f64 / per_unit;
    bounds.chunk_by(move |one, next| shown(one) == shown(next)).map(move |alike| {
        let largest = alike.last().expect("a chunk isn't empty");
        (shown(largest), *largest)
    })
}
