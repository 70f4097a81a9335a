//! The locks by every schedule of a few sections, handlers, fences and drains: nobody waits in a
//! circle, and nothing commits that mustn't. The code is that of [`Lock`] itself, on words of the
//! model's; memory is sequentially consistent (what the orders are for is Miri's part). With each
//! flaw that a word can have on purpose, the search finds something.
//!
//! A thread's code is run anew for each of its steps, from its beginning, with what its words
//! answered up to there; at the first step that has no answer yet it is left. So a thread is where
//! its answers say, a state is a number for each thread and the words, and states that were seen
//! are not looked at again.

extern crate std;

use core::cell::RefCell;
use core::sync::atomic::Ordering::{self, Relaxed, Release};
use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::lock::{Lock, Word};

type Slot = usize;

const SLOTS: usize = 2;
/// In a number of items, whose slot a drain has stopped.
const STOPPED: usize = 1 << 6;

/// What threads and their handlers do.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// A section on this slot, and what its `prepare` does.
    Section(Slot, &'static [Action]),
    /// A section that is left in its `prepare`.
    Left(Slot),
    /// A fence for this slot, or all.
    Fence(Option<Slot>),
    /// What is in the slot is taken, as `drain` has it.
    Drain(Slot),
}

use Action::{Drain, Fence, Left, Section};

/// A thread, and the handler that may come on top of it, once.
#[derive(Clone, Copy, Debug)]
struct Program {
    actions: &'static [Action],
    handler: &'static [Action],
}

/// What is left out, or wrong, for a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    None,
    /// Nobody loses patience: whoever waits for a section waits until it ends.
    EndlessPatience,
    /// What is taken from a section stays there.
    NothingIsTaken,
    /// A window doesn't say that it runs.
    HiddenWindow,
    /// A fence doesn't see windows.
    BlindFence,
    /// Who leaves a section doesn't look whose slot it is by now.
    LeavesBlindly,
    /// Handlers come on top of windows.
    SignalsInWindows,
}

/// What a thread does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
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

/// What the rules are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
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

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answer {
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
struct Replay {
    program: Program,
    this: usize,
    answers: Vec<Answer>,
    position: usize,
    masked: bool,
    handled: bool,
    /// Since the last wait it has only looked.
    looks: bool,
    /// Of the answers, those that make a difference to what follows.
    relevant: Vec<Answer>,
    /// The first step without an answer.
    next: Option<Step>,
}

std::thread_local! {
    static REPLAY: RefCell<Option<Replay>> = const { RefCell::new(None) };
}

fn replay<R>(act: impl FnOnce(&mut Replay) -> R) -> R {
    REPLAY.with_borrow_mut(|replay| act(replay.as_mut().expect("steps are those of a run")))
}

impl Replay {
    /// Forgets a round of a loop that waits: something had changed, but not enough.
    fn forget_round(&mut self) {
        let start = self.relevant.iter().rposition(|answer| !matches!(answer, Answer::Value(_)));
        if let Some(start) = start.filter(|start| self.relevant[*start] == Answer::Changed) {
            self.relevant.truncate(start);
        }
    }
}

/// The slots that these concern, by their bits.
fn concern(actions: &[Action]) -> u8 {
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

const WORDS_OF_SLOT: usize = 3;
const WORDS: usize = SLOTS * WORDS_OF_SLOT;

fn lock(slot: Slot) -> Lock<Modelled> {
    Lock::of(Modelled(slot * WORDS_OF_SLOT), Modelled(slot * WORDS_OF_SLOT + 1))
}

/// The number of items in a slot.
fn number(slot: Slot) -> Modelled {
    Modelled(slot * WORDS_OF_SLOT + 2)
}

/// What is done, of which answers are remembered no longer than it takes.
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

/// A place in a thread's code, with what it remembers there.
struct Place {
    /// Some that lead there.
    answers: Vec<Answer>,
    relevant: Vec<Answer>,
    next: Step,
    /// A handler may come here.
    is_open: bool,
    /// It, or what the handler interrupted, has looked at a word: should that change, waiting is
    /// over.
    has_looked: bool,
    after: HashMap<Answer, usize>,
}

/// The places of a thread, as far as they were reached.
struct Code {
    program: Program,
    this: usize,
    ignores_masks: bool,
    places: Vec<Place>,
    numbers: HashMap<(Vec<Answer>, bool, bool), usize>,
}

impl Code {
    fn of(number: usize, program: Program, flaw: Flaw) -> Self {
        let ignores_masks = flaw == Flaw::SignalsInWindows;
        let mut code =
            Self { program, this: 2 * (number + 1), ignores_masks, places: Vec::new(), numbers: HashMap::new() };
        code.place(Vec::new());
        code
    }

    fn run(&self, answers: Vec<Answer>) -> Replay {
        let (program, this) = (self.program, self.this);
        let (position, masked, handled, looks, relevant, next) = (0, false, false, false, Vec::new(), None);
        REPLAY.set(Some(Replay { program, this, answers, position, masked, handled, looks, relevant, next }));
        // It is left by unwinding.
        let _ = catch_unwind(AssertUnwindSafe(|| perform(program.actions, this)));
        REPLAY.take().expect("it was put there")
    }

    /// The place that is reached by these answers.
    fn place(&mut self, answers: Vec<Answer>) -> usize {
        let Replay { answers, masked, handled, relevant, next, .. } = self.run(answers);
        let next = next.unwrap_or(Step::End);
        *self.numbers.entry((relevant.clone(), masked, handled)).or_insert_with(|| {
            let has_handler = !handled && !self.program.handler.is_empty() && next != Step::End;
            let is_open = has_handler && (!masked || self.ignores_masks);
            let mut parts = relevant.split(|answer| *answer == Answer::Handler);
            let has_looked = parts.any(|part| matches!(part.last(), Some(Answer::Value(_))));
            self.places.push(Place { answers, relevant, next, is_open, has_looked, after: HashMap::new() });
            self.places.len() - 1
        })
    }

    fn after(&mut self, place: usize, answer: Answer) -> usize {
        if let Some(after) = self.places[place].after.get(&answer) {
            return *after;
        }
        let mut answers = self.places[place].answers.clone();
        answers.push(answer);
        let after = self.place(answers);
        self.places[place].after.insert(answer, after);
        after
    }
}

/// A section that has begun, as the rules see it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Begun {
    slot: Slot,
    /// It mustn't commit any more: another section of its slot did, or was on top of it, or a fence
    /// has returned.
    is_over: bool,
    /// The fences, by their names, that were called since.
    fences: u16,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    words: [u16; WORDS],
    places: Vec<usize>,
    /// By thread: a word was changed since it began to look.
    changed: u8,
    sections: Vec<Vec<Begun>>,
    in_windows: [u8; SLOTS],
    is_stopped: [bool; SLOTS],
    committed: [u8; SLOTS],
}

/// A search through all states.
struct Search {
    flaw: Flaw,
    threads: Vec<Code>,
    seen: HashSet<State>,
    todo: Vec<State>,
}

impl Search {
    /// How many states there are, or what is wrong in one of them.
    fn run(programs: &[Program], flaw: Flaw) -> Result<usize, String> {
        let threads = programs.iter().enumerate().map(|(number, program)| Code::of(number, *program, flaw));
        let mut search = Self { flaw, threads: threads.collect(), seen: HashSet::new(), todo: Vec::new() };
        let start = State {
            words: [0; WORDS],
            places: vec![0; programs.len()],
            changed: 0,
            sections: vec![Vec::new(); programs.len()],
            in_windows: [0; SLOTS],
            is_stopped: [false; SLOTS],
            committed: [0; SLOTS],
        };
        search.todo.push(start);
        while let Some(state) = search.todo.pop() {
            search.expand(&state).map_err(|wrong| format!("{wrong}\nin {programs:?}"))?;
        }
        Ok(search.seen.len())
    }

    /// Finds the states that follow.
    fn expand(&mut self, state: &State) -> Result<(), String> {
        let mut is_stuck = true;
        // Where a thread does what concerns no other, it makes no difference when.
        let alone = (0..self.threads.len()).find(|thread| self.is_alone(state, *thread));
        for thread in alone.map_or(0..self.threads.len(), |thread| thread..thread + 1) {
            for answer in self.answers(state, thread) {
                is_stuck = false;
                let next = self.go_on(state.clone(), thread, answer)?;
                if self.seen.insert(next.clone()) {
                    self.todo.push(next);
                }
            }
        }
        let have_ended = (0..self.threads.len()).all(|thread| self.next(state, thread) == Step::End);
        if is_stuck && !have_ended {
            return Err("all wait".into());
        }
        let counts = [0, 1].map(|slot| state.words[slot * WORDS_OF_SLOT + 2]);
        if have_ended && counts != state.committed.map(u16::from) {
            return Err(format!("{:?} sections have committed, and {counts:?} are counted", state.committed));
        }
        Ok(())
    }

    /// The thread goes on, on a slot of its own.
    fn is_alone(&self, state: &State, thread: usize) -> bool {
        let word = match self.next(state, thread) {
            Step::Load(word) | Step::Store(word, _) | Step::Swap(word, _) => word,
            Step::Or(word, _) | Step::Replace(word, _, _) => word,
            Step::Wait | Step::Mask(_) | Step::Pause | Step::Event(_) | Step::End => return false,
        };
        let others = self.threads.iter().enumerate().filter(|(other, _)| *other != thread);
        let concerns = |code: &Code| concern(code.program.actions) | concern(code.program.handler);
        others.fold(0, |slots, (_, code)| slots | concerns(code)) & 1 << (word / WORDS_OF_SLOT) == 0
    }

    fn next(&self, state: &State, thread: usize) -> Step {
        self.threads[thread].places[state.places[thread]].next
    }

    /// What the thread may find.
    fn answers(&self, state: &State, thread: usize) -> Vec<Answer> {
        let place = &self.threads[thread].places[state.places[thread]];
        let mut answers = match place.next {
            Step::End => Vec::new(),
            Step::Wait => self.ends_of_wait(state, thread, place),
            // Found when it goes there.
            _ => vec![Answer::Done],
        };
        answers.extend(place.is_open.then_some(Answer::Handler));
        answers
    }

    fn ends_of_wait(&self, state: &State, thread: usize, place: &Place) -> Vec<Answer> {
        let has_changed = state.changed & 1 << thread != 0;
        let last = place.relevant.iter().rfind(|answer| !matches!(answer, Answer::Value(_)));
        let has_patience = last != Some(&Answer::OutOfPatience) && self.flaw != Flaw::EndlessPatience;
        let mut answers = Vec::new();
        answers.extend(has_changed.then_some(Answer::Changed));
        answers.extend(has_patience.then_some(Answer::OutOfPatience));
        answers
    }

    /// Lets the thread take its next step, with what belongs to it.
    fn go_on(&mut self, mut state: State, thread: usize, answer: Answer) -> Result<State, String> {
        let next = self.next(&state, thread);
        let answer = if answer == Answer::Done { self.take(&mut state, thread, next) } else { answer };
        if next == Step::Wait && answer != Answer::Handler {
            state.changed &= !(1 << thread);
        }
        state.places[thread] = self.threads[thread].after(state.places[thread], answer);
        loop {
            match self.next(&state, thread) {
                Step::Event(event) => state.happens(thread, event)?,
                // No handler can tell the difference.
                Step::Mask(_) if !self.threads[thread].places[state.places[thread]].is_open => {}
                _ => break,
            }
            state.places[thread] = self.threads[thread].after(state.places[thread], Answer::Done);
        }
        for (number, (code, place)) in self.threads.iter().zip(&state.places).enumerate() {
            state.changed &= !(u8::from(!code.places[*place].has_looked) << number);
        }
        Ok(state)
    }

    fn take(&self, state: &mut State, thread: usize, step: Step) -> Answer {
        match step {
            Step::Load(word) => Answer::Value(state.words[word].into()),
            Step::Store(word, value) => {
                state.change(word, value);
                Answer::Done
            }
            Step::Swap(word, value) => Answer::Value(state.change(word, value)),
            Step::Or(word, _) if self.flaw == Flaw::BlindFence && state.words[word] & 1 != 0 => Answer::Value(0),
            Step::Or(word, bits) => Answer::Value(state.change(word, usize::from(state.words[word]) | bits)),
            Step::Replace(word, from, to) => self.replace(state, thread, word, [from, to]),
            Step::Mask(_) | Step::Pause => Answer::Done,
            Step::Wait | Step::Event(_) | Step::End => unreachable!("{step:?} is no step on words"),
        }
    }

    fn replace(&self, state: &mut State, thread: usize, word: usize, [from, to]: [usize; 2]) -> Answer {
        let (before, this) = (usize::from(state.words[word]), self.threads[thread].this);
        // What the flaws are about is who holds a slot, which its first word says.
        let flaw = if word.is_multiple_of(WORDS_OF_SLOT) { self.flaw } else { Flaw::None };
        match flaw {
            Flaw::LeavesBlindly if [from, to] == [this, 0] => {
                state.change(word, to);
                return Answer::Value(from);
            }
            Flaw::NothingIsTaken if ![0, this].contains(&(from & !1)) => {}
            Flaw::HiddenWindow if to == from | 1 => {}
            _ if before == from => _ = state.change(word, to),
            _ => {}
        }
        Answer::Value(before)
    }
}

impl State {
    fn change(&mut self, word: usize, value: usize) -> usize {
        let before = usize::from(self.words[word]);
        if before != value {
            self.words[word] = u16::try_from(value).expect("numbers are small");
            self.changed = u8::MAX;
        }
        before
    }

    /// What becomes of the rules.
    fn happens(&mut self, thread: usize, event: Event) -> Result<(), String> {
        match event {
            Event::Began(slot) => self.sections[thread].push(Begun { slot, is_over: false, fences: 0 }),
            Event::WindowBegan(slot) => {
                self.in_windows[slot] += 1;
                if self.in_windows[slot] > 1 {
                    return Err(format!("two windows run on slot {slot}"));
                }
            }
            Event::WindowEnded(slot, is_commit) => {
                self.in_windows[slot] -= 1;
                if is_commit {
                    self.commits(thread, slot)?;
                }
            }
            Event::Ended => {
                let ended = self.sections[thread].pop().expect("it had begun");
                let below = self.sections[thread].iter_mut().filter(|section| section.slot == ended.slot);
                below.for_each(|section| section.is_over = true);
            }
            Event::FenceCalled(name, slot) => {
                let sections = self.sections.iter_mut().flatten();
                let concerned = sections.filter(|section| slot.is_none_or(|slot| slot == section.slot));
                concerned.for_each(|section| section.fences |= 1 << name);
            }
            Event::FenceReturned(name) => {
                for section in self.sections.iter_mut().flatten().filter(|section| section.fences & 1 << name != 0) {
                    section.fences &= !(1 << name);
                    section.is_over = true;
                }
            }
            Event::Stopped(slot, is_stopped) => self.is_stopped[slot] = is_stopped,
        }
        Ok(())
    }

    fn commits(&mut self, thread: usize, slot: Slot) -> Result<(), String> {
        if self.is_stopped[slot] {
            return Err(format!("a section commits on slot {slot}, which is a drain's"));
        }
        if self.sections[thread].last().is_none_or(|section| section.is_over) {
            return Err(format!("a section that is over commits on slot {slot}"));
        }
        self.committed[slot] += 1;
        let others = self.sections.iter_mut().flatten().filter(|section| section.slot == slot);
        others.for_each(|section| section.is_over = true);
        Ok(())
    }
}

const fn alone(actions: &'static [Action]) -> Program {
    Program { actions, handler: &[] }
}

const fn below(handler: &'static [Action], actions: &'static [Action]) -> Program {
    Program { actions, handler }
}

fn must_be_right(programs: impl IntoIterator<Item: AsRef<[Program]>>) {
    let of = |programs: &[Program]| Search::run(programs, Flaw::None).unwrap_or_else(|wrong| panic!("{wrong}"));
    let states: usize = programs.into_iter().map(|programs| of(programs.as_ref())).sum();
    std::println!("{states} states");
}

/// What is found where these run with the flaw.
fn wrong(flaw: Flaw, programs: &[Program]) -> String {
    Search::run(programs, flaw).expect_err("a flaw that makes no difference")
}

const ONE_SLOT: [&[Action]; 4] = [&[Section(0, &[])], &[Fence(Some(0))], &[Drain(0)], &[Left(0)]];
const NESTED: [&[Action]; 6] = [
    &[Section(0, &[Fence(None)])],
    &[Section(1, &[Fence(None)])],
    &[Section(0, &[Section(0, &[])])],
    &[Section(0, &[Section(1, &[])])],
    &[Section(1, &[Section(0, &[])])],
    &[Section(1, &[Drain(0)])],
];

/// Two threads in sections on two slots, each with a handler that goes to the other's.
#[test]
fn handlers_go_to_each_others_slots() {
    const FIRST: [&[Action]; 3] = [&[Section(1, &[])], &[Fence(None)], &[Drain(1)]];
    const SECOND: [&[Action]; 3] = [&[Section(0, &[])], &[Fence(None)], &[Drain(0)]];
    let programs = |(first, second)| [below(first, &[Section(0, &[])]), below(second, &[Section(1, &[])])];
    must_be_right(pairs(&FIRST, &SECOND).map(programs));
}

/// A handler comes on top of a section, of a fence and of a drain.
#[test]
fn handlers_come_on_top_of_anything() {
    let programs = |other| {
        ONE_SLOT.into_iter().flat_map(move |handler| ONE_SLOT.map(|on_top| [below(handler, on_top), alone(other)]))
    };
    must_be_right(ONE_SLOT.into_iter().flat_map(programs));
}

#[test]
fn sections_do_anything_in_their_prepare() {
    let others = || ONE_SLOT.into_iter().chain(NESTED);
    must_be_right(NESTED.into_iter().flat_map(|one| others().map(move |other| [alone(one), alone(other)])));
}

#[test]
fn three_threads_meet_on_one_slot() {
    let programs = |(one, other)| [alone(&[Section(0, &[])]), alone(one), alone(other)];
    must_be_right(pairs(&ONE_SLOT, &ONE_SLOT).map(programs));
}

/// One of each, but not both of two that are the same with the threads exchanged.
fn pairs<'a, T: Copy>(ones: &'a [T], others: &'a [T]) -> impl Iterator<Item = (T, T)> + 'a {
    ones.iter().enumerate().flat_map(|(number, one)| others[..=number].iter().map(|other| (*one, *other)))
}

/// As long as sections last: this is what was wrong when a fence waited for them.
#[test]
fn with_endless_patience_all_wait() {
    let handlers = [below(&[Fence(Some(1))], &[Section(0, &[])]), below(&[Fence(Some(0))], &[Section(1, &[])])];
    let fences = [alone(&[Section(0, &[Fence(Some(1))])]), alone(&[Section(1, &[Fence(Some(0))])])];
    let sections = [alone(&[Section(0, &[Section(1, &[])])]), alone(&[Section(1, &[Section(0, &[])])])];
    for programs in [handlers, fences, sections] {
        assert!(wrong(Flaw::EndlessPatience, &programs).starts_with("all wait"));
    }
}

#[test]
fn what_nobody_takes_from_a_section_it_commits_to() {
    let programs = [alone(&[Section(0, &[])]), alone(&[Fence(Some(0))])];
    assert!(wrong(Flaw::NothingIsTaken, &programs).starts_with("a section that is over commits"));
}

#[test]
fn where_windows_are_hidden_two_run() {
    let section = alone(&[Section(0, &[])]);
    assert!(wrong(Flaw::HiddenWindow, &[section, section]).starts_with("two windows run"));
}

#[test]
fn a_fence_that_waits_for_no_window_returns_too_early() {
    for other in [&[Fence(Some(0))], &[Drain(0)]] {
        let wrong = wrong(Flaw::BlindFence, &[alone(&[Section(0, &[])]), alone(other)]);
        assert!(wrong.contains("commits on slot 0"), "{wrong}");
    }
}

#[test]
fn who_leaves_blindly_lets_two_in() {
    let section = alone(&[Section(0, &[])]);
    let wrong = wrong(Flaw::LeavesBlindly, &[alone(&[Left(0)]), section, section]);
    assert!(wrong.starts_with("two windows run"), "{wrong}");
}

#[test]
fn with_signals_in_windows_sections_commit_that_are_over() {
    let programs = [below(&[Section(0, &[])], &[Section(0, &[])])];
    let wrong = wrong(Flaw::SignalsInWindows, &programs);
    assert!(wrong.starts_with("two windows run"), "{wrong}");
}
