//! Counters and histograms against what a sorted list of the values says, and while many threads
//! use them.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use proptest::prelude::*;
use rseq::{Bucket, Counter, Histogram, PerCpu, Snapshot};
use rseq_explore::Ran;
use support::explored::Explored;
use support::{
    Count, Disturbance, Steps, forced_portable, in_processes, mode, restartable, slowness, with_own_registration,
};

/// Values of every magnitude, and the ends of octaves.
fn value() -> impl Strategy<Value = u64> {
    let of_a_width = (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
    let beside_a_power = (0..64_u32, -1..=1_i64).prop_map(|(shift, by)| (1_u64 << shift).wrapping_add_signed(by));
    prop_oneof![8 => of_a_width, 2 => beside_a_power, 1 => Just(0), 1 => Just(u64::MAX), 4 => 0..200_u64]
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(value(), 0..200)
}

fn per_mille() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..=1000, 8)
}

fn snapshot<const PARTS: usize>(values: &[u64]) -> Snapshot {
    let histogram = Histogram::<PARTS>::new();
    values.iter().for_each(|value| histogram.record(*value));
    assert_eq!(histogram.count(), values.len() as u64);
    histogram.snapshot()
}

/// The bucket of a value.
fn bucket<const PARTS: usize>(value: u64) -> Bucket {
    let seen = snapshot::<PARTS>(&[value]);
    let buckets: Vec<_> = seen.buckets().collect();
    assert_eq!(buckets, [(seen.min().expect("there is a value"), 1)]);
    buckets[0].0
}

/// No wider than a part of its smallest value, or of one value.
fn is_narrow(bucket: Bucket, parts: u64) -> bool {
    bucket.last() - bucket.first() < (bucket.first() / parts).max(1)
}

/// A list of all values says what a snapshot says.
fn agrees<const PARTS: usize>(mut values: Vec<u64>, per_mille: &[usize], up_to: u64) -> Result<(), TestCaseError> {
    let seen = snapshot::<PARTS>(&values);
    values.sort_unstable();
    prop_assert_eq!(seen.count(), values.len() as u64);
    let mut rest = &values[..];
    for (bucket, count) in seen.buckets() {
        prop_assert!(is_narrow(bucket, PARTS as u64), "{} of {} parts", bucket, PARTS);
        let (inside, behind) = rest.split_at(usize::try_from(count)?);
        prop_assert!(inside.iter().all(|value| bucket.contains(*value)), "{:?} in {}", inside, bucket);
        prop_assert!(behind.iter().all(|value| *value > bucket.last()), "{:?} behind {}", behind, bucket);
        prop_assert!(inside.iter().all(|value| value.abs_diff(bucket.middle()) * 2 * PARTS as u64 <= bucket.first()));
        rest = behind;
    }
    prop_assert!(rest.is_empty());

    let contains = |bucket: Option<Bucket>, value: Option<&u64>| match (bucket, value) {
        (Some(bucket), Some(value)) => bucket.contains(*value),
        (bucket, value) => bucket.is_none() && value.is_none(),
    };
    prop_assert!(contains(seen.min(), values.first()) && contains(seen.max(), values.last()));
    for per_mille in per_mille.iter().copied().chain([0, 500, 1000]) {
        let (quantile, rank) = (per_mille as f64 / 1000.0, (per_mille * values.len()).div_ceil(1000).max(1));
        prop_assert!(contains(seen.quantile(quantile), values.get(rank - 1)), "{} of {:?}", quantile, values);
    }
    prop_assert_eq!(seen.quantile(1.0), seen.max());

    let below = |limit: u64| values.iter().filter(|value| **value <= limit).count() as u64;
    let ends = values.iter().map(|value| bucket::<PARTS>(*value).last());
    prop_assert_eq!(seen.count_up_to(up_to), ends.filter(|last| *last <= up_to).count() as u64);
    let last = bucket::<PARTS>(up_to).last();
    prop_assert_eq!(seen.count_up_to(last), below(last), "exact at the end of a bucket");

    let sum: f64 = values.iter().map(|value| *value as f64).sum();
    let wrong = (seen.sum() - sum).abs();
    // And what the sums of floating point numbers lose.
    prop_assert!(wrong <= sum / (2.0 * PARTS as f64) + sum * 1e-12, "{} for {}", seen.sum(), sum);
    for value in &values {
        let of_one = snapshot::<PARTS>(&[*value]).sum();
        prop_assert!(
            (of_one - *value as f64).abs() <= *value as f64 * (0.5 / PARTS as f64 + 1e-12),
            "{of_one} for {value}"
        );
    }
    let mean = (!values.is_empty()).then(|| seen.sum() / values.len() as f64);
    prop_assert_eq!(seen.mean(), mean);
    Ok(())
}

/// To take two together is to have recorded both, and what is left of both without the first is the
/// second.
fn adds_up<const PARTS: usize>(first: &[u64], second: &[u64]) -> Result<(), TestCaseError> {
    let both = snapshot::<PARTS>(&[first, second].concat());
    let mut merged = snapshot::<PARTS>(first);
    merged.merge(&snapshot::<PARTS>(second))?;
    prop_assert_eq!(&merged, &both);
    prop_assert_eq!(both.since(&snapshot::<PARTS>(first))?, snapshot::<PARTS>(second));
    prop_assert_eq!(both.since(&both)?, Snapshot::empty(PARTS));
    prop_assert_eq!(both.since(&Snapshot::empty(PARTS))?, both);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn it_says_what_a_sorted_list_says(values in values(), per_mille in per_mille(), up_to in value()) {
        agrees::<1>(values.clone(), &per_mille, up_to)?;
        agrees::<2>(values.clone(), &per_mille, up_to)?;
        agrees::<32>(values, &per_mille, up_to)?;
    }

    #[test]
    fn snapshots_add_up(first in values(), second in values()) {
        adds_up::<1>(&first, &second)?;
        adds_up::<32>(&first, &second)?;
        let (mut one, other) = (snapshot::<2>(&first), snapshot::<32>(&second));
        prop_assert!(one.merge(&other).is_err() && one.since(&other).is_err());
        prop_assert_eq!(one, snapshot::<2>(&first), "and nothing has changed");
    }
}

proptest! {
    // A snapshot of it is half a megabyte.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3) })]

    #[test]
    fn so_does_the_finest(mut values in values(), per_mille in per_mille(), up_to in value()) {
        values.truncate(40);
        agrees::<1024>(values.clone(), &per_mille, up_to)?;
        adds_up::<1024>(&values[..values.len() / 2], &values)?;
    }
}

/// Every number that begins a bucket: each below twice the parts, and from there on the parts of
/// each octave.
fn firsts(parts: u64) -> Vec<u64> {
    let divided = (1..=63 - parts.ilog2()).flat_map(|octave| (parts..2 * parts).map(move |part| part << octave));
    (0..2 * parts).chain(divided).collect()
}

/// From 0 to the largest number every value is in one bucket.
fn buckets_tile<const PARTS: usize>() {
    let firsts = firsts(PARTS as u64);
    let lasts = firsts[1..].iter().map(|first| first - 1).chain([u64::MAX]);
    let seen = snapshot::<PARTS>(&firsts.iter().copied().chain(lasts.clone()).collect::<Vec<_>>());
    let expected = firsts.iter().copied().zip(lasts);
    assert!(seen.buckets().map(|(bucket, _)| (bucket.first(), bucket.last())).eq(expected), "{PARTS} parts");
    assert!(seen.buckets().all(|(bucket, count)| count == 2 && is_narrow(bucket, PARTS as u64)), "{PARTS} parts");
}

#[test]
fn buckets_have_no_gaps_and_no_overlaps() {
    buckets_tile::<1>();
    buckets_tile::<2>();
    buckets_tile::<8>();
    buckets_tile::<32>();
    buckets_tile::<1024>();
}

/// Of more values than a floating point number counts exactly.
#[test]
fn the_largest_of_very_many() {
    let mut seen = snapshot::<32>(&[1]);
    (0..53).for_each(|_| seen.merge(&seen.clone()).expect("of the same parts"));
    seen.merge(&snapshot::<32>(&[1000])).expect("of the same parts");
    assert_eq!(seen.count(), (1 << 53) + 1);
    assert_eq!(seen.quantile(1.0), seen.max());
    assert_eq!(seen.quantile(0.5), seen.min());
}

/// A quantile means the number that it is written as, however near an `f64` comes to it.
#[test]
fn quantiles_are_decimal_numbers() {
    let seen = snapshot::<1024>(&(1..=1000).collect::<Vec<_>>());
    let rank = |quantile: f64| seen.quantile(quantile).expect("there are values").first();
    assert!((1..=100_u32).all(|percent| rank(f64::from(percent) / 100.0) == u64::from(percent) * 10));
    assert!((1..=1000_u32).all(|per_mille| rank(f64::from(per_mille) / 1000.0) == u64::from(per_mille)));
    let next = |quantile: f64| f64::from_bits(quantile.to_bits() + 1);
    assert_eq!([0.28, next(0.28), 0.9999, 1e-9, f64::MIN_POSITIVE, 5e-324].map(rank), [280, 281, 1000, 1, 1, 1]);
    let below_one = f64::from_bits(1_f64.to_bits() - 1);
    assert_eq!([below_one, -0.0, 2.0 / 3.0, 0.001, next(0.001)].map(rank), [1000, 1, 667, 1, 2]);
}

/// Counts beyond 2^64, as few as fit into a bucket: what a histogram, its snapshot and its largest
/// value say of them.
fn agrees_on_large_counts(recorded: &[(u64, u64)]) -> Result<(), TestCaseError> {
    let histogram: Histogram = Histogram::new();
    let mut by_bucket = BTreeMap::<u64, u64>::new();
    for (value, times) in recorded {
        // On whatever CPUs they run.
        thread::scope(|scope| scope.spawn(|| histogram.record_many(*value, *times)).join()).expect("it records");
        let count = by_bucket.entry(bucket::<32>(*value).first()).or_default();
        *count = count.wrapping_add(*times);
    }
    by_bucket.retain(|_, count| *count > 0);
    let seen = histogram.snapshot();
    prop_assert!(
        seen.buckets().map(|(bucket, count)| (bucket.first(), count)).eq(by_bucket.iter().map(|(&f, &c)| (f, c)))
    );
    prop_assert_eq!(seen.count(), by_bucket.values().fold(0, |sum: u64, count| sum.saturating_add(*count)));
    prop_assert_eq!(histogram.count(), seen.count());
    prop_assert_eq!(seen.quantile(1.0), seen.max());
    prop_assert_eq!(seen.quantile(0.0), seen.min());
    // The value in the middle, by counts of so many digits that none is lost.
    let total: u128 = by_bucket.values().map(|count| u128::from(*count)).sum();
    let mut up_to = 0;
    let middle = by_bucket.iter().find(|(_, count)| {
        up_to += u128::from(**count);
        up_to >= total.div_ceil(2).max(1)
    });
    prop_assert_eq!(seen.quantile(0.5).map(Bucket::first), middle.map(|(first, _)| *first));
    Ok(())
}

/// Counts of every size, and some that bring a sum to 2^64.
fn counts() -> impl Strategy<Value = u64> {
    let of_a_width = (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
    prop_oneof![3 => of_a_width, 1 => Just(u64::MAX), 1 => Just(1 << 63), 1 => u64::MAX - 3..=u64::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn large_counts_are_the_same_everywhere(recorded in prop::collection::vec((value(), counts()), 0..8)) {
        agrees_on_large_counts(&recorded)?;
        // All in one bucket, which wraps.
        let together: Vec<_> = recorded.iter().map(|(_, times)| (7, *times)).collect();
        agrees_on_large_counts(&together)?;
    }
}

#[test]
fn an_empty_histogram_says_nothing() {
    let empty = snapshot::<32>(&[]);
    assert_eq!((empty.count(), empty.sum(), empty.mean(), empty.min(), empty.max()), (0, 0.0, None, None, None));
    assert_eq!((empty.quantile(0.0), empty.quantile(1.0), empty.count_up_to(u64::MAX)), (None, None, 0));
    assert_eq!(empty, Snapshot::empty(32));
}

// Many threads at once.

static RECORDED: Histogram = Histogram::new();
static ADDED: Counter = Counter::new();

/// Values that lie on several pages.
fn some_value() -> u64 {
    static TURN: AtomicU64 = AtomicU64::new(0);
    1 << (TURN.fetch_add(1, Relaxed) % 64)
}

const RECORDING: Count = Count {
    add: |_| RECORDED.record(some_value()),
    leave: || (),
    sum: || {
        let seen = RECORDED.snapshot();
        assert_eq!(seen.count(), RECORDED.count());
        seen.count()
    },
    aborts: || 0,
};

const ADDING: Count = Count { add: |_| ADDED.inc(), leave: || (), sum: || ADDED.sum(), aborts: || 0 };

fn must_be_exact(count: Count, disturbance: Disturbance) {
    support::must_be_exact(count, disturbance, 100_000, false);
}

#[test]
fn recorded_while_preempted() {
    must_be_exact(RECORDING, Disturbance::Preemption);
}

#[test]
fn recorded_while_signalled() {
    must_be_exact(RECORDING, Disturbance::Signals);
}

#[test]
fn recorded_while_moved() {
    must_be_exact(RECORDING, Disturbance::Migration);
}

#[test]
fn added_while_signalled() {
    must_be_exact(ADDING, Disturbance::Signals);
}

#[test]
fn added_while_moved() {
    must_be_exact(ADDING, Disturbance::Migration);
}

/// Whatever instruction they are interrupted at.
#[test]
fn at_every_instruction() {
    support::alone!("at_every_instruction");
    static HISTOGRAM: Histogram<1> = Histogram::new();
    static COUNTER: Counter = Counter::new();
    // The runs of one exploration each begin where the tests before them left off.
    let (recorded, added) = (HISTOGRAM.count(), COUNTER.sum());
    let record = || HISTOGRAM.record(1000);
    let counted = |ran: &Ran<'_, (), ()>| assert_eq!(HISTOGRAM.count() - recorded, ran.total() as u64);
    Explored { name: "record", section: &record, conflict: &record, check: &counted }.must_be_exact();
    let add = || COUNTER.add(1);
    let counted = |ran: &Ran<'_, (), ()>| assert_eq!(COUNTER.sum() - added, ran.total() as u64);
    Explored { name: "add", section: &add, conflict: &add, check: &counted }.must_be_exact();
}

/// The section of a histogram, unarmed, and with something that takes time between its index and
/// the addition.
#[test]
fn recorded_while_moved_without_arm() {
    if slowness() > 1 {
        println!("skipped: where instructions are emulated, two additions at the same time are too seldom");
        return;
    }
    struct Part {
        counts: [AtomicUsize; 64],
    }
    // SAFETY: counts of 0.
    static PARTS: PerCpu<Part> = unsafe { PerCpu::zeroed() };
    fn record(_: u32) {
        let (from, mut to) = ([1_u8; 2000], [0_u8; 2000]);
        let (from, to, index) = (from.as_ptr(), to.as_mut_ptr(), some_value().ilog2() as usize % 2);
        // SAFETY: there are more counts, and so many bytes.
        unsafe {
            rseq::__mutant! {
                [no_arm]
                critical |cpu| { copy(from, to, 2000); }
                commit add(&PARTS[cpu].counts[index], 1)
            }
        }
    }
    let sum = || PARTS.iter().flat_map(|part| &part.counts).map(|count| count.load(Relaxed) as u64).sum();
    support::must_lose(
        Count { add: record, leave: || (), sum, aborts: || 0 },
        Disturbance::Migration,
        20_000,
        restartable(),
    );
}

/// Each of the values that are recorded meanwhile is in a snapshot or not, and never in an earlier
/// one alone.
#[test]
fn snapshots_grow_while_threads_record() {
    const CHANGES: usize = 300;
    static HISTOGRAM: Histogram = Histogram::new();
    let (steps, recorded) = (Steps::default(), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..3 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    HISTOGRAM.record(some_value());
                    recorded.fetch_add(1, Relaxed);
                }
            });
        }
        let (mut before, mut changes) = (HISTOGRAM.snapshot(), 0);
        while changes < CHANGES {
            let now = HISTOGRAM.snapshot();
            let since = now.since(&before).expect("of the same histogram");
            assert_eq!(since.count() + before.count(), now.count(), "a bucket shrank");
            changes += usize::from(since.count() > 0);
            before = now;
        }
    });
    assert_eq!(HISTOGRAM.count(), recorded.into_inner());
}

#[test]
fn counters_wrap() {
    let counter = Counter::new();
    assert_eq!(counter.sum(), 0);
    // On whatever CPUs they run.
    for number in [u64::MAX, u64::MAX, 5] {
        thread::scope(|scope| scope.spawn(|| counter.add(number)).join().expect("adds"));
    }
    assert_eq!(counter.sum(), 3);
    (0..10).for_each(|_| counter.inc());
    assert_eq!((counter.sum(), format!("{counter:?}")), (13, "Counter(13)".to_owned()));
}

/// Each addition is taken once, whoever takes, and what nobody took is the sum. No sum is less than
/// nothing.
#[test]
fn counters_are_taken_while_threads_add() {
    let takes = 200_000 / u64::from(slowness());
    let (counter, taking) = (Counter::new(), AtomicU64::new(2));
    let add = || {
        let additions = (1..).take_while(|_| taking.load(Relaxed) > 0).inspect(|_| counter.add(7));
        additions.last().unwrap_or(0) * 7
    };
    // Without a panic, for which the others would wait.
    let take = || {
        let (mut taken, mut most) = (0_u64, 0);
        for _ in 0..takes {
            most = counter.sum().max(most);
            taken = taken.wrapping_add(counter.take());
        }
        taking.fetch_sub(1, Relaxed);
        (taken, most)
    };
    let (added, taken) = thread::scope(|scope| {
        let (adding, taking) = ([scope.spawn(add), scope.spawn(add)], [scope.spawn(take), scope.spawn(take)]);
        let added: u64 = adding.map(|thread| thread.join().expect("adds")).iter().sum();
        (added, taking.map(|thread| thread.join().expect("takes")))
    });
    assert!(taken.iter().all(|(_, most)| *most <= added), "more was taken than there was");
    let taken = taken.iter().fold(0_u64, |sum, (taken, _)| sum.wrapping_add(*taken));
    assert_eq!(taken.wrapping_add(counter.sum()), added);
    assert_eq!((counter.take(), counter.take(), counter.sum()), (added - taken, 0, 0));
    // Over the edge as well.
    counter.add(u64::MAX);
    assert_eq!((counter.take(), counter.sum()), (u64::MAX, 0));
}

/// The tests that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "recorded_while_preempted",
    "recorded_while_signalled",
    "recorded_while_moved",
    "added_while_signalled",
    "counters_are_taken_while_threads_add",
];

#[test]
fn exact_with_own_registration() {
    println!("mode: {:?}", mode());
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn exact_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}
