//! A thread's code, which is run anew for each of its steps, from its beginning, with what its
//! words answered up to there; at the first step that has no answer yet it is left.

use core::cell::RefCell;
use core::sync::atomic::Ordering::{self, Relaxed, Release};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::vec::Vec;

use super::super::lock::{Lock, Word};

pub(super) type Slot = usize;

pub(super) const SLOTS: usize = 2;
/// In a number of items, whose slot a drain has stopped.
const STOPPED: usize = 1 << 6;

/// Actions of threads and their handlers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// A section on this slot, and what its `prepare` does.
    Section(Slot, &'static [Action]),
    /// A section that is left in its `prepare`.
    Left(Slot),
    /// A fence for this slot, or all.
    Fence(Option<Slot>),
    /// The items of the slot are taken, as `drain` has it.
    Drain(Slot),
}

use Action::{Drain, Fence, Left, Section};

/// A thread, and the handler that may come on top of it, once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) actions: &'static [Action],
    pub(super) handler: &'static [Action],
}

/// The next step of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Load(usize),
    Store(usize, usize),
    Swap(usize, usize),
    Or(usize, usize),
    Replace(usize, usize, usize),
    Wait,
    /// Signals are held back from here on, or no longer.
    Mask(bool),
    /// Others may go first.
    Pause,
    Event(Event),
    End,
}

/// Events that the rules are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Began(Slot),
    WindowBegan(Slot),
    /// With a store, or by an exit.
    WindowEnded(Slot, bool),
    Ended,
    FenceCalled(usize, Option<Slot>),
    FenceReturned(usize),
    /// A drain has the slot for itself, or gives it back.
    Stopped(Slot, bool),
}

/// The outcome of a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Answer {
    Value(usize),
    Done,
    /// Of a wait: something changed.
    Changed,
    /// Of a wait: it lasted long enough.
    OutOfPatience,
    /// No answer: the handler comes on top first.
    Handler,
    /// No answer either: the code has come here, and remembers no more of the answers before.
    At(usize),
}

impl Step {
    fn changed_nothing(self, answer: Answer) -> bool {
        match self {
            Self::Load(_) => true,
            Self::Replace(_, from, _) => answer != Answer::Value(from),
            _ => false,
        }
    }
}

/// A run of a thread's code.
pub(super) struct Replay {
    program: Program,
    this: usize,
    pub(super) answers: Vec<Answer>,
    position: usize,
    pub(super) masked: bool,
    pub(super) handled: bool,
    /// Since the last wait it has only looked.
    looks: bool,
    /// Of the answers, those that make a difference to what follows.
    pub(super) relevant: Vec<Answer>,
    /// The first step without an answer.
    pub(super) next: Option<Step>,
}

std::thread_local! {
    static REPLAY: RefCell<Option<Replay>> = const { RefCell::new(None) };
}

fn replay<R>(act: impl FnOnce(&mut Replay) -> R) -> R {
    REPLAY.with_borrow_mut(|replay| act(replay.as_mut().expect("steps are those of a run")))
}

impl Replay {
    /// Runs the code of this thread anew, with these answers.
    pub(super) fn run(program: Program, this: usize, answers: Vec<Answer>) -> Self {
        let (position, masked, handled, looks, relevant, next) = (0, false, false, false, Vec::new(), None);
        REPLAY.set(Some(Self { program, this, answers, position, masked, handled, looks, relevant, next }));
        // It is left by unwinding.
        let _ = catch_unwind(AssertUnwindSafe(|| perform(program.actions, this)));
        REPLAY.take().expect("it was put there")
    }

    /// Forgets a round of a loop that waits: something had changed, but not enough.
    fn forget_round(&mut self) {
        let start = self.relevant.iter().rposition(|answer| !matches!(answer, Answer::Value(_)));
        if let Some(start) = start.filter(|start| self.relevant[*start] == Answer::Changed) {
            self.relevant.truncate(start);
        }
    }
}

/// The slots that these concern, by their bits.
pub(super) fn concern(actions: &[Action]) -> u8 {
    let of = |action: &Action| match *action {
        Section(slot, prepare) => 1 << slot | concern(prepare),
        Fence(None) => u8::MAX,
        Fence(Some(slot)) | Drain(slot) | Left(slot) => 1 << slot,
    };
    actions.iter().fold(0, |slots, action| slots | of(action))
}

/// Takes a step. At the first one without an answer the run is over.
fn step(step: Step) -> Answer {
    let answer = replay(|run| {
        if run.next.is_some() {
            // It is being left.
            return Some(Answer::Value(0));
        }
        if step == Step::Wait && run.looks {
            run.forget_round();
        }
        let answer = run.answers.get(run.position).copied();
        run.position += 1;
        match (answer, step) {
            (None, _) => run.next = Some(step),
            (Some(Answer::Handler), _) => (run.handled, run.looks) = (true, false),
            (Some(_), Step::Mask(masked)) => (run.masked, run.looks) = (masked, false),
            (Some(answer), _) => run.looks = step == Step::Wait || run.looks && step.changed_nothing(answer),
        }
        run.relevant.extend(answer);
        answer
    });
    match answer {
        Some(Answer::Handler) => {
            let (handler, this) = replay(|run| (run.program.handler, run.this));
            perform(handler, this);
            replay(|run| run.looks = false);
            self::step(step)
        }
        Some(answer) => answer,
        None => resume_unwind(Box::new(())),
    }
}

fn value(answer: Answer) -> usize {
    match answer {
        Answer::Value(value) => value,
        other => unreachable!("{other:?} is no value"),
    }
}

fn event(event: Event) {
    step(Step::Event(event));
}

/// A word by its number.
struct Modelled(usize);

impl Word for Modelled {
    fn load(&self, _: Ordering) -> usize {
        value(step(Step::Load(self.0)))
    }

    fn store(&self, value: usize, _: Ordering) {
        step(Step::Store(self.0, value));
    }

    fn swap(&self, to: usize, _: Ordering) -> usize {
        value(step(Step::Swap(self.0, to)))
    }

    fn fetch_or(&self, bits: usize, _: Ordering) -> usize {
        value(step(Step::Or(self.0, bits)))
    }

    fn replace(&self, from: usize, to: usize, _: Ordering) -> bool {
        value(step(Step::Replace(self.0, from, to))) == from
    }

    fn wait(round: u32) -> u32 {
        if step(Step::Wait) == Answer::OutOfPatience { u32::MAX } else { round }
    }
}

pub(super) const WORDS_OF_SLOT: usize = 3;
pub(super) const WORDS: usize = SLOTS * WORDS_OF_SLOT;

fn lock(slot: Slot) -> Lock<Modelled> {
    Lock::of(Modelled(slot * WORDS_OF_SLOT), Modelled(slot * WORDS_OF_SLOT + 1))
}

/// The number of items in a slot.
fn number(slot: Slot) -> Modelled {
    Modelled(slot * WORDS_OF_SLOT + 2)
}

/// An action under way, of which answers are remembered no longer than it takes.
struct Doing(usize);

impl Doing {
    fn begin() -> Self {
        Self(replay(|run| run.relevant.len()))
    }

    /// The code is at this place of it.
    fn is_at(&self, place: usize) {
        replay(|run| {
            run.relevant.truncate(self.0);
            run.relevant.push(Answer::At(place));
        });
    }

    fn ends(self) {
        replay(|run| run.relevant.truncate(self.0));
    }
}

/// Does what a thread does, or its handler.
fn perform(actions: &[Action], this: usize) {
    let doing = Doing::begin();
    for (number, action) in actions.iter().enumerate() {
        doing.is_at(number);
        match *action {
            Section(slot, prepare) => section(slot, prepare, this),
            Left(slot) => left(slot, this),
            Fence(slot) => fence(slot, this),
            Drain(slot) => drain(slot, this),
        }
    }
    doing.ends();
}

/// A section that gives up if it is aborted: to begin again is another one.
fn section(slot: Slot, prepare: &[Action], this: usize) {
    let doing = Doing::begin();
    doing.is_at(0);
    lock(slot).begin(this);
    event(Event::Began(slot));
    perform(prepare, this);
    doing.is_at(1);
    step(Step::Mask(true));
    lock(slot).commit(this, || window(slot));
    doing.is_at(2);
    step(Step::Mask(false));
    lock(slot).end(this);
    event(Event::Ended);
    doing.ends();
}

fn left(slot: Slot, this: usize) {
    let doing = Doing::begin();
    lock(slot).begin(this);
    doing.is_at(0);
    event(Event::Began(slot));
    lock(slot).end(this);
    event(Event::Ended);
    doing.ends();
}

/// Puts an item into the slot, unless that is stopped.
fn window(slot: Slot) {
    event(Event::WindowBegan(slot));
    let count = number(slot).load(Relaxed);
    let goes_on = count & STOPPED == 0;
    if goes_on {
        number(slot).store(count + 1, Release);
    }
    event(Event::WindowEnded(slot, goes_on));
}

fn fence(slot: Option<Slot>, this: usize) {
    // A thread makes one, and its handler on top of that another one.
    let name = this + usize::from(replay(|run| run.handled));
    let doing = Doing::begin();
    step(Step::Pause);
    event(Event::FenceCalled(name, slot));
    for at in (0..SLOTS).filter(|at| slot.is_none_or(|slot| slot == *at)) {
        doing.is_at(name * WORDS + at);
        lock(at).fence(this);
    }
    doing.is_at(name * WORDS + SLOTS);
    event(Event::FenceReturned(name));
    doing.ends();
}

/// As `stop_by` and `Stopped` in `drain.rs`, but it gives up at once.
fn drain(slot: Slot, this: usize) {
    let count = number(slot).load(Relaxed);
    // Marks have names.
    let mark = count | STOPPED | this << 7;
    if count & STOPPED != 0 || !number(slot).replace(count, mark, Relaxed) {
        return;
    }
    fence(Some(slot), this);
    if number(slot).load(Relaxed) == mark {
        event(Event::Stopped(slot, true));
        number(slot).store(count, Release);
        event(Event::Stopped(slot, false));
    }
}
