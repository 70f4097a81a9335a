//! The layer that counts events and measures spans.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;
use std::time::Duration;

use rseq::Histogram;
use rseq::tracing::Meter;
use tracing::span::{EnteredSpan, Id};
use tracing::subscriber::with_default;
use tracing::{Level, Span, debug, debug_span, error, info, info_span, trace, trace_span, warn, warn_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread allocates.
struct Counting;

// SAFETY: all is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn meter() -> &'static Meter {
    Box::leak(Box::default())
}

/// A meter that saw this.
fn metered(act: impl FnOnce()) -> &'static Meter {
    let meter = meter();
    with_default(registry().with(meter), act);
    meter
}

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

fn events(meter: &Meter) -> [u64; 5] {
    LEVELS.map(|level| meter.events(level).sum())
}

fn spans(meter: &Meter) -> [u64; 5] {
    LEVELS.map(|level| meter.busy(level).count())
}

/// No value is in a bucket that ends before this.
#[track_caller]
fn assert_at_least(busy: &Histogram, least: Duration) {
    let seen = busy.snapshot();
    let least = u64::try_from(least.as_nanos()).unwrap();
    assert!(seen.min().unwrap().last() >= least, "{seen:?}");
}

const PAUSE: Duration = Duration::from_millis(2);

#[test]
fn events_are_counted_by_level() {
    let meter = metered(|| {
        (0..1).for_each(|_| error!("it"));
        (0..2).for_each(|_| warn!("it"));
        (0..3).for_each(|_| info!("it"));
        (0..4).for_each(|_| debug!("it"));
        (0..5).for_each(|number| trace!(number, "it"));
    });
    assert_eq!(events(meter), [1, 2, 3, 4, 5]);
    assert_eq!(spans(meter), [0; 5]);
}

#[test]
fn events_of_all_threads_are_counted() {
    let meter = meter();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| with_default(registry().with(meter), || (0..10_000).for_each(|_| info!("it"))));
        }
    });
    assert_eq!(meter.events(Level::INFO).sum(), 40_000);
}

#[test]
fn spans_are_measured_by_level() {
    let meter = metered(|| {
        debug_span!("outer").in_scope(|| trace_span!("inner").in_scope(|| thread::sleep(PAUSE)));
        info_span!("short").in_scope(|| {});
        drop(info_span!("never entered"));
    });
    assert_eq!(spans(meter), [0, 0, 1, 1, 1]);
    assert_at_least(meter.busy(Level::DEBUG), PAUSE);
    assert_at_least(meter.busy(Level::TRACE), PAUSE);
}

#[test]
fn each_time_in_a_span_is_one_value() {
    let meter = metered(|| {
        let span = info_span!("polled");
        (0..10).for_each(|_| span.in_scope(|| thread::sleep(PAUSE)));
    });
    assert_eq!(meter.busy(Level::INFO).count(), 10);
    assert_at_least(meter.busy(Level::INFO), PAUSE);
}

fn descend(span: &Span, depth: u32) {
    if depth > 0 {
        span.in_scope(|| descend(span, depth - 1));
    }
}

#[test]
fn a_span_in_itself_is_timed_once() {
    let meter = metered(|| {
        let span = info_span!("it");
        span.in_scope(|| {
            descend(&span, 100);
            thread::sleep(PAUSE);
        });
    });
    assert_eq!((meter.busy(Level::INFO).count(), meter.untimed().sum()), (1, 0));
    assert_at_least(meter.busy(Level::INFO), PAUSE);
}

#[test]
fn spans_may_be_left_in_any_order() {
    let meter = metered(|| {
        let (one, two) = (info_span!("one").entered(), warn_span!("two").entered());
        drop(one);
        thread::sleep(PAUSE);
        drop(two);
        info_span!("three").in_scope(|| {});
    });
    assert_eq!(spans(meter), [0, 1, 2, 0, 0]);
    assert_at_least(meter.busy(Level::WARN), PAUSE);
}

#[test]
fn where_a_thread_is_in_too_many_the_outermost_are_untimed() {
    let meter = metered(|| {
        let outermost: Vec<EnteredSpan> = (0..8).map(|_| warn_span!("it").entered()).collect();
        let spans: Vec<EnteredSpan> = (0..32).map(|_| info_span!("it").entered()).collect();
        drop(spans);
        drop(outermost);
        info_span!("there is a place again").in_scope(|| {});
    });
    assert_eq!((spans(meter), meter.untimed().sum()), ([0, 0, 33, 0, 0], 8));
}

/// Spans that this thread enters and another one leaves: the last one's id.
fn left_elsewhere(number: usize) -> Id {
    let spans: Vec<Span> = (0..number).map(|_| warn_span!("it")).collect();
    let enter = |span: &Span| span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
    spans.iter().for_each(|span| enter(span).expect("a subscriber"));
    let leave = |span: &Span| span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    thread::scope(|scope| {
        scope.spawn(|| spans.iter().for_each(|span| leave(span).expect("a subscriber")));
    });
    spans.last().and_then(Span::id).expect("it is enabled")
}

#[test]
fn spans_that_are_left_elsewhere_cost_their_own_times_alone() {
    let meter = metered(|| {
        for number in [1, 31, 32, 33, 100] {
            left_elsewhere(number);
            (0..100).for_each(|_| info_span!("later").in_scope(|| {}));
        }
    });
    assert_eq!(meter.busy(Level::INFO).count(), 500);
    // All but the 31 that wait for their place to be wanted, besides the one under way.
    assert_eq!((meter.busy(Level::WARN).count(), meter.untimed().sum()), (0, 197 - 31));
}

/// The registry gives ids again, some thousands of spans later.
#[test]
fn an_id_that_comes_again_is_timed() {
    const MOST: u64 = 1_000_000;
    let meter = metered(|| {
        let id = left_elsewhere(1);
        let again = |span: &Span| span.id().as_ref() == Some(&id);
        let Some(span) = (0..MOST).map(|_| info_span!("later")).find(again) else {
            println!("skipped: no id came again in {MOST} spans");
            return info_span!("later").in_scope(|| {});
        };
        span.in_scope(|| {});
    });
    assert_eq!(meter.busy(Level::INFO).count(), 1);
}

#[test]
fn what_is_filtered_is_not_seen() {
    let meter = meter();
    with_default(registry().with(meter.with_filter(LevelFilter::INFO)), || {
        debug_span!("outer").in_scope(|| info_span!("inner").in_scope(|| debug!("it")));
        info!("it");
    });
    assert_eq!((spans(meter), events(meter)), ([0, 0, 1, 0, 0], [0, 0, 1, 0, 0]));
}

#[test]
fn meters_on_one_thread_are_apart() {
    let [outer, inner] = [meter(), meter()];
    with_default(registry().with(outer), || {
        let _span = info_span!("outer").entered();
        with_default(registry().with(inner), || debug_span!("inner").in_scope(|| {}));
    });
    assert_eq!((spans(outer), spans(inner)), ([0, 0, 1, 0, 0], [0, 0, 0, 1, 0]));
}

/// Allocations of this thread while it does so for the second time; the first fills what is kept.
fn allocations(act: impl Fn()) -> u64 {
    act();
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

#[test]
fn nothing_is_allocated() {
    assert!(allocations(|| drop(Box::new(1))) > 0, "allocations are seen");
    let meter = meter();
    meter.allocate().unwrap();
    with_default(registry().with(meter), || {
        assert_eq!(allocations(|| (0..100).for_each(|number| info!(number, "it"))), 0);
        let span = info_span!("it");
        assert_eq!(allocations(|| (0..100).for_each(|_| span.in_scope(|| {}))), 0);
    });
    assert_eq!((meter.events(Level::INFO).sum(), meter.busy(Level::INFO).count()), (200, 200));
}

/// Not even the first one of a thread.
#[test]
fn the_first_event_allocates_nothing() {
    let meter = meter();
    meter.allocate().unwrap();
    // The first event of all registers the place where it is, which is allocated for.
    let event = || info!("it");
    with_default(registry().with(meter), event);
    let first = thread::spawn(move || {
        with_default(registry().with(meter), || {
            let before = ALLOCATIONS.get();
            event();
            ALLOCATIONS.get() - before
        })
    });
    assert_eq!(first.join().unwrap(), 0);
}
