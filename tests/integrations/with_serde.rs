//! Snapshots and counters, there and back by serde.

use std::io::{self, Read};

use proptest::prelude::*;
use rseq::{Counter, Histogram, Snapshot};

fn snapshot<const PARTS: usize>(values: &[u64]) -> Snapshot {
    let histogram = Histogram::<PARTS>::new();
    values.iter().for_each(|value| histogram.record(*value));
    histogram.snapshot()
}

fn read(json: &str) -> Result<Snapshot, serde_json::Error> {
    serde_json::from_str(json)
}

fn write(snapshot: &Snapshot) -> String {
    serde_json::to_string(snapshot).expect("a snapshot can be written")
}

#[test]
fn the_format_stays() {
    let seen = snapshot::<32>(&[10, 40_000, 40_001, u64::MAX]);
    let json = r#"{"parts":32,"buckets":[[10,1],[39936,2],[18158513697557839872,1]]}"#;
    assert_eq!(write(&seen), json);
    assert_eq!(read(json).unwrap(), seen);
    assert_eq!(write(&Snapshot::empty(4)), r#"{"parts":4,"buckets":[]}"#);
}

#[test]
fn the_order_of_the_fields_is_free() {
    assert_eq!(read(r#"{"buckets":[[3,1]],"parts":8}"#).unwrap(), snapshot::<8>(&[3]));
}

#[test]
fn a_counter_is_its_sum() {
    let counter = Counter::new();
    counter.add(1 << 60);
    counter.inc();
    assert_eq!(serde_json::to_string(&counter).unwrap(), "1152921504606846977");
}

/// Each with a piece of the message that tells it from the others.
#[test]
fn what_no_histogram_held_is_an_error() {
    for (json, message) in [
        (r#"{"parts":0,"buckets":[]}"#, "power of two from 1 to 1024, not 0"),
        (r#"{"parts":3,"buckets":[]}"#, "not 3"),
        (r#"{"parts":2048,"buckets":[]}"#, "not 2048"),
        (r#"{"parts":-1,"buckets":[]}"#, "-1"),
        (r#"{"parts":32,"buckets":[[65,1]]}"#, "no bucket begins with 65"),
        (r#"{"parts":32,"buckets":[[18446744073709551615,1]]}"#, "no bucket begins with 18446744073709551615"),
        (r#"{"parts":32,"buckets":[[18446744073709551616,1]]}"#, "u64"),
        (r#"{"parts":32,"buckets":[[1,-1]]}"#, "-1"),
        (r#"{"parts":32,"buckets":[[1,0.5]]}"#, "0.5"),
        (r#"{"parts":32,"buckets":[[1,1],[1,1]]}"#, "the bucket of 1 is there twice"),
        (r#"{"parts":32,"buckets":[[2,1],[1,1]]}"#, "the bucket of 1 is there twice, or after a larger one"),
        (r#"{"parts":32,"buckets":[[7,0]]}"#, "the bucket of 7 has no value"),
        (r#"{"parts":32,"buckets":[[1]]}"#, "length 1"),
        (r#"{"parts":32,"buckets":[[1,1,1]]}"#, "trailing"),
        (r#"{"parts":32}"#, "missing field `buckets`"),
        (r#"{"parts":32,"parts":32,"buckets":[]}"#, "duplicate field `parts`"),
        (r#"{"parts":32,"buckets":[],"unit":"s"}"#, "unknown field `unit`"),
    ] {
        let error = read(json).expect_err(json).to_string();
        assert!(error.contains(message), "{json}: {error}");
    }
}

/// `{"parts":1024,"buckets":[[0,1],[1,1],..`, as long as it is read.
struct Endless {
    ready: Vec<u8>,
    given: usize,
    bucket: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.ready = format!("[{},1],", self.bucket).into_bytes();
            self.bucket += 1;
        }
        let length = buffer.len().min(self.ready.len());
        buffer[..length].copy_from_slice(&self.ready[..length]);
        self.ready.drain(..length);
        self.given += length;
        assert!(self.given < 10_000_000, "it reads on and on");
        Ok(length)
    }
}

#[test]
fn endless_input_is_an_error() {
    let endless = Endless { ready: br#"{"parts":1024,"buckets":["#.to_vec(), given: 0, bucket: 0 };
    let error = serde_json::from_reader::<_, Snapshot>(endless).unwrap_err().to_string();
    assert!(error.contains("invalid length 66561"), "{error}");
}

/// Every snapshot with every bucket there is can be read.
#[test]
fn as_many_buckets_as_there_are_can_be_read() {
    let all = Histogram::<1024>::new();
    for octave in 0..=64 - 11 {
        (0..2048_u64).for_each(|part| all.record(part << octave));
    }
    let seen = all.snapshot();
    assert_eq!(seen.buckets().count(), 2048 + (64 - 11) * 1024);
    assert_eq!(read(&write(&seen)).unwrap(), seen);
}

/// A snapshot that somebody sent may be merged and asked without a panic.
#[test]
fn counts_that_are_too_many_together_stay_the_most_there_is() {
    let mut one = read(r#"{"parts":4,"buckets":[[1,18446744073709551615]]}"#).unwrap();
    let other = read(r#"{"parts":4,"buckets":[[1,1],[2,18446744073709551614]]}"#).unwrap();
    one.merge(&other).unwrap();
    assert_eq!((one.count(), one.count_up_to(2)), (u64::MAX, u64::MAX));
    assert!(one.mean().is_some());

    let half = read(r#"{"parts":4,"buckets":[[1,9223372036854775808]]}"#).unwrap();
    let mut halves = read(r#"{"parts":4,"buckets":[[2,9223372036854775808]]}"#).unwrap();
    halves.merge(&half).unwrap();
    assert!(halves.quantile(1.0).unwrap().contains(2));
}

/// Values of all magnitudes.
fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift), 0..200)
}

/// Counts of every size, and some that bring a sum to 2^64.
fn recorded() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let large = prop_oneof![any::<u64>(), Just(u64::MAX), 1..100_u64];
    prop::collection::vec(
        (any::<u64>(), 0..64_u32, large).prop_map(|(value, shift, times)| (value >> shift, times)),
        0..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn snapshots_with_large_counts_return_merged_ones_too(one in recorded(), other in recorded()) {
        let of = |recorded: &[(u64, u64)]| {
            let histogram: Histogram = Histogram::new();
            recorded.iter().for_each(|(value, times)| histogram.record_many(*value, *times));
            histogram.snapshot()
        };
        let (mut one, other) = (of(&one), of(&other));
        prop_assert_eq!(&read(&write(&one)).unwrap(), &one);
        one.merge(&other).unwrap();
        prop_assert_eq!(&read(&write(&one)).unwrap(), &one);
        prop_assert_eq!(one.quantile(1.0), one.max());
    }

    #[test]
    fn snapshots_return_as_they_were(values in values()) {
        for seen in [snapshot::<1>(&values), snapshot::<32>(&values), snapshot::<1024>(&values)] {
            prop_assert_eq!(read(&write(&seen)).unwrap(), seen);
        }
    }

    /// Whatever is accepted is what would be written.
    #[test]
    fn no_input_panics(parts in 0_usize..70, buckets in prop::collection::vec((0_u64..200, any::<u64>()), 0..6)) {
        let json = serde_json::json!({ "parts": parts, "buckets": buckets });
        if let Ok(seen) = serde_json::from_value::<Snapshot>(json.clone()) {
            prop_assert_eq!(serde_json::to_value(&seen).unwrap(), json);
            prop_assert!(seen.quantile(0.5).is_some() || buckets.is_empty());
        }
    }

    /// Small counts in sorted buckets: most of these are accepted.
    #[test]
    fn sorted_buckets_are_accepted(firsts in prop::collection::btree_set(0_u64..64, 0..20), count in 1_u64..1000) {
        let buckets: Vec<_> = firsts.into_iter().map(|first| (first, count)).collect();
        let json = serde_json::json!({ "parts": 32, "buckets": buckets });
        let seen: Snapshot = serde_json::from_value(json).unwrap();
        prop_assert_eq!(seen.count(), buckets.len() as u64 * count);
    }
}
