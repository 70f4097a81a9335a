//! How snapshots and counters are stored and sent.
//!
//! A snapshot is its parts and its buckets that have values, each as its first value and the count:
//! `{"parts":32,"buckets":[[10,1],[39936,2]]}`. First values have at most eleven bits that aren't 0
//! at the end, so they survive formats whose numbers are `f64`s.

use alloc::vec::Vec;
use core::fmt;

use ::serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use ::serde::ser::{Serialize, Serializer};

use crate::histogram::MOST_BUCKETS;
use crate::{Counter, Snapshot};

/// A snapshot's form outside of the process.
#[derive(::serde::Serialize, ::serde::Deserialize)]
#[serde(rename = "Snapshot", deny_unknown_fields)]
struct Format {
    parts: usize,
    buckets: Buckets,
}

/// First values and counts.
#[derive(::serde::Serialize)]
struct Buckets(Vec<(u64, u64)>);

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets = self.buckets().map(|(bucket, count)| (bucket.first(), count)).collect();
        Format { parts: self.parts(), buckets: Buckets(buckets) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Format { parts, buckets } = Format::deserialize(deserializer)?;
        Self::of_buckets(parts, &buckets.0).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AtMost)
    }
}

/// Takes no more buckets than there can be, whatever the input says or holds.
struct AtMost;

impl<'de> Visitor<'de> for AtMost {
    type Value = Buckets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MOST_BUCKETS} buckets, each its first value and its count")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Buckets, A::Error> {
        let mut buckets = Vec::new();
        while let Some(bucket) = sequence.next_element()? {
            if buckets.len() == MOST_BUCKETS {
                return Err(A::Error::invalid_length(MOST_BUCKETS + 1, &self));
            }
            buckets.push(bucket);
        }
        Ok(Buckets(buckets))
    }
}

/// A counter is its [`sum`](Counter::sum).
impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.sum())
    }
}
