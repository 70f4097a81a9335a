//! A layer for [`tracing_subscriber`] that counts events and measures how long spans are busy.
//!
//! ```
//! use rseq::tracing::Meter;
//! use tracing::{Level, info, info_span};
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! static METER: Meter = Meter::new();
//!
//! let subscriber = tracing_subscriber::registry().with(&METER);
//! tracing::subscriber::with_default(subscriber, || {
//!     info_span!("request").in_scope(|| info!("it is served"));
//! });
//! assert_eq!(METER.events(Level::INFO).sum(), 1);
//! assert_eq!(METER.busy(Level::INFO).snapshot().count(), 1);
//! ```

use core::cell::RefCell;
use core::ptr;
use std::thread_local;
use std::time::Instant;

use tracing_core::span::{Attributes, Id};
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::{AllocError, Counter, Histogram};

/// Levels of `tracing`.
const LEVELS: usize = 5;

/// How many spans of a thread can be timed at once.
const DEEPEST: usize = 32;

/// Counts events and measures the busy time of spans, both by their level. A `&'static Meter` is
/// the layer.
///
/// An event is one addition on the CPU's own part: it allocates nothing and takes no lock. Neither
/// does entering or leaving a span, which reads the clock besides. What a filter disables for this
/// layer isn't seen.
///
/// *Busy* is a span from where a thread enters it to where that thread leaves it, inner spans
/// included. Each time is one value: a span that is entered once gives its duration, and a future
/// that is polled ten times ten values, the duration of each poll. Where a span is entered in
/// itself, it is timed once. Each subscriber wants a meter of its own, as spans of different
/// subscribers may have the same id.
///
/// *Memory*: five counters, five histograms, and for each thread the times of the 32 spans that it
/// entered last and hasn't left. Where it enters one more, the one that it entered first is given
/// up and counted as [`untimed`](Meter::untimed). So spans that are entered on one thread and left
/// on another, as by a guard that lives across an `.await`, cost their own times alone.
#[derive(Debug, Default)]
pub struct Meter {
    events: [Counter; LEVELS],
    busy: [Histogram; LEVELS],
    untimed: Counter,
}

impl Meter {
    /// Without events and spans. It takes its memory on first use.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            events: [const { Counter::new() }; LEVELS],
            busy: [const { Histogram::new() }; LEVELS],
            untimed: Counter::new(),
        }
    }

    /// Takes its memory now, so that no event or span panics for want of it.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.events.iter().try_for_each(Counter::allocate)?;
        self.busy.iter().try_for_each(Histogram::allocate)?;
        self.untimed.allocate()
    }

    /// The events of this level.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn events(&self, level: Level) -> &Counter {
        &self.events[number(level)]
    }

    /// The nanoseconds for which spans of this level were busy.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn busy(&self, level: Level) -> &Histogram {
        &self.busy[number(level)]
    }

    /// Spans that were entered and not timed: their thread entered 32 others before it left them.
    /// (Or it was in the midst of this very bookkeeping, when a signal handler entered one.)
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn untimed(&self) -> &Counter {
        &self.untimed
    }

    fn span(&'static self, id: &Id) -> Span {
        Span { meter: self, id: id.into_u64() }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for &'static Meter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.events(*event.metadata().level()).inc();
    }

    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        this_thread(|spans| spans.give_up(self.span(id)));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(metadata) = context.metadata(id) else { return };
        if this_thread(|spans| spans.enter(self.span(id), *metadata.level())).is_none() {
            self.untimed.inc();
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        let now = Instant::now();
        if let Some(left) = this_thread(|spans| spans.exit(self.span(id))).flatten() {
            let nanoseconds = now.duration_since(left.since).as_nanos();
            self.busy(left.level).record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        }
    }
}

/// The number of a level, from the gravest on.
fn number(level: Level) -> usize {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

thread_local! {
    /// Made by the compiler and never dropped, so that its first use needs nothing.
    static SPANS: RefCell<Spans> = const { RefCell::new(Spans { deep: 0, entered: [None; DEEPEST] }) };
}

/// `None` in a signal handler that interrupted this very function, and when the thread ends.
fn this_thread<R>(act: impl FnOnce(&mut Spans) -> R) -> Option<R> {
    SPANS.try_with(|spans| spans.try_borrow_mut().ok().map(|mut spans| act(&mut spans))).ok().flatten()
}

/// The spans that a thread is in, in the order in which it entered them: the first so many places.
struct Spans {
    deep: usize,
    entered: [Option<Entered>; DEEPEST],
}

/// A span of one meter among those of all.
#[derive(Clone, Copy)]
struct Span {
    meter: &'static Meter,
    id: u64,
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.meter, other.meter) && self.id == other.id
    }
}

#[derive(Clone, Copy)]
struct Entered {
    span: Span,
    level: Level,
    /// How often more than it was left.
    times: usize,
    since: Instant,
}

impl Spans {
    fn enter(&mut self, span: Span, level: Level) {
        if let Some(again) = self.find(span).and_then(|index| self.entered[index].as_mut()) {
            again.times += 1;
            return;
        }
        if self.deep == DEEPEST {
            self.give_up_at(0);
        }
        self.entered[self.deep] = Some(Entered { span, level, times: 1, since: Instant::now() });
        self.deep += 1;
    }

    /// The span if it was left as often as entered. Spans may be left in any order.
    fn exit(&mut self, span: Span) -> Option<Entered> {
        let index = self.find(span)?;
        let entered = self.entered[index].as_mut()?;
        entered.times -= 1;
        if entered.times > 0 { None } else { self.remove(index) }
    }

    /// A span that begins has never been entered: what has its id is an old one, left elsewhere.
    fn give_up(&mut self, span: Span) {
        if let Some(index) = self.find(span) {
            self.give_up_at(index);
        }
    }

    fn give_up_at(&mut self, index: usize) {
        if let Some(given_up) = self.remove(index) {
            given_up.span.meter.untimed.inc();
        }
    }

    fn remove(&mut self, index: usize) -> Option<Entered> {
        let removed = self.entered[index].take();
        self.entered[index..self.deep].rotate_left(1);
        self.deep -= 1;
        removed
    }

    fn find(&self, span: Span) -> Option<usize> {
        let is = |entered: &Option<Entered>| entered.is_some_and(|entered| entered.span == span);
        self.entered[..self.deep].iter().rposition(is)
    }
}
