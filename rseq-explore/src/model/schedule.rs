//! Every schedule with so many events: which thread runs, and what happens to it in front of each of its steps.
//!
//! A schedule is a list of choices. A run makes the choices of the list, and beyond its end the first one each time; the next run has the last choice
//! changed that can be (depth-first search without memory, as loom does it). Threads are coroutines of one thread, so a run takes
//! microseconds and the same choices lead to the same run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::code::Address;
use super::kernel::{Broken, Thread};
use super::running::{self, Events, Running};
use super::{Body, Bounds, CPUS, Done, Model};

/// A run with more steps doesn't end.
const MOST_STEPS: usize = 10_000;

/// The choices of a run: each with the number of those that there were.
#[derive(Default)]
pub(super) struct Path {
    choices: Vec<(usize, usize)>,
    made: usize,
}

impl Path {
    fn choose(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        if self.made == self.choices.len() {
            self.choices.push((0, of));
        }
        let (choice, before) = self.choices[self.made];
        assert_eq!(of, before, "the sections do the same each time: what `setup` makes, and no other memory, decides");
        self.made += 1;
        choice
    }

    /// On to the next run. `None` if that was the last.
    pub(super) fn next(mut self) -> Option<Self> {
        while let Some((choice, of)) = self.choices.pop() {
            if choice + 1 < of {
                self.choices.push((choice + 1, of));
                return Some(Self { choices: self.choices, made: 0 });
            }
        }
        None
    }
}

/// What may happen to a thread in front of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Another thread of its CPU takes its place.
    Preempted(usize),
    /// It is moved to another CPU, where it takes the place of the thread that runs there.
    Moved(usize),
    /// A signal comes, whose handler runs to its end.
    Signalled,
    /// A fence, or any interruption that leaves everything else as it was.
    Fenced,
    /// Nothing, but the thread on another CPU comes first.
    Overtaken(usize),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preempted(by) => write!(f, "preempted by thread {by}"),
            Self::Moved(cpu) => write!(f, "moved to CPU {cpu}"),
            Self::Signalled => f.write_str("signalled"),
            Self::Fenced => f.write_str("fenced"),
            Self::Overtaken(cpu) => write!(f, "overtaken by CPU {cpu}"),
        }
    }
}

/// A step that a thread came to, and what happened there.
pub(super) struct Passed {
    thread: usize,
    at: Address,
    event: Option<Event>,
    in_handler: bool,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = if self.in_handler { ", handler" } else { "" };
        write!(f, "thread {}{handler}: {}", self.thread, self.at.step().text)?;
        self.event.map_or(Ok(()), |event| write!(f, "   <-- {event}"))
    }
}

/// What was wrong with a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// A rule of the protocol was broken.
    Rule(Broken),
    /// A thread, a handler or the check panicked, with this message.
    Panicked(String),
    /// It had more steps than any run that ends.
    Endless,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Panicked(message) => f.write_str(message),
            Self::Endless => f.write_str("the threads don't come to an end"),
        }
    }
}

/// A CPU of the model.
#[derive(Default)]
struct Cpu {
    runs: Option<usize>,
    waiting: VecDeque<usize>,
}

/// What the model gives to a thread's coroutine: nothing but the word to go on.
type Fiber = Coroutine<(), (), ()>;

/// A run.
struct World {
    threads: Vec<Rc<Thread>>,
    yielders: Vec<Cell<*const Yielder<(), ()>>>,
    in_handler: Vec<Cell<bool>>,
    cpus: RefCell<[Cpu; CPUS]>,
    path: RefCell<Path>,
    events_left: Cell<usize>,
    handler: Option<Box<dyn Fn()>>,
    handled: Cell<usize>,
    /// The thread that runs next.
    next: Cell<Option<usize>>,
    passed: RefCell<Vec<Passed>>,
    wrong: RefCell<Option<Wrong>>,
    rules: bool,
}

impl World {
    fn new<S: 'static>(model: &Model<S>, state: &Rc<S>, bounds: Bounds, path: Path) -> Self {
        let count = model.threads.len();
        let handler = model.handler.clone().map(|handler| {
            let state = state.clone();
            Box::new(move || handler(&state)) as Box<dyn Fn()>
        });
        let world = Self {
            threads: (0..count).map(|number| Rc::new(Thread::new(number))).collect(),
            yielders: vec![Cell::new(ptr::null()); count],
            in_handler: vec![Cell::new(false); count],
            cpus: RefCell::default(),
            path: RefCell::new(path),
            events_left: Cell::new(bounds.events),
            handler,
            handled: Cell::new(0),
            next: Cell::new(None),
            passed: RefCell::default(),
            wrong: RefCell::new(None),
            rules: bounds.rules,
        };
        for (number, (cpu, _)) in model.threads.iter().enumerate() {
            world.cpus.borrow_mut()[*cpu].waiting.push_back(number);
        }
        world
    }

    /// Lets the threads run to their ends, or until something is wrong. Says how many came to their ends.
    fn run(self: &Rc<Self>, mut fibers: Vec<Fiber>, stacks: &mut Stacks) -> usize {
        self.start(0..CPUS);
        while let Some(next) = self.next.get().filter(|_| !self.has_failed()) {
            running::switch_to(Running { thread: self.threads[next].clone(), events: Some(self.clone()) });
            match catch_unwind(AssertUnwindSafe(|| fibers[next].resume(()))) {
                Ok(CoroutineResult::Yield(())) => {}
                Ok(CoroutineResult::Return(())) => self.ended(next),
                Err(panic) => self.fail(Wrong::Panicked(message(&*panic))),
            }
        }
        // Those that didn't come to their ends are dropped, and so unwind.
        let (ended, _unwound): (Vec<_>, Vec<_>) = fibers.into_iter().partition(Fiber::done);
        let count = ended.len();
        stacks.0.extend(ended.into_iter().map(Fiber::into_stack));
        count
    }

    fn choose(&self, of: usize) -> usize {
        self.path.borrow_mut().choose(of)
    }

    /// What may happen to a thread that runs.
    fn events(&self, thread: &Thread) -> Vec<Event> {
        let (number, here) = (thread.number, thread.area.cpu.get());
        let cpus = self.cpus.borrow();
        let mut events: Vec<Event> = cpus[here].waiting.iter().map(|other| Event::Preempted(*other)).collect();
        let others = || (0..CPUS).filter(|cpu| *cpu != here);
        events.extend(others().map(Event::Moved));
        events.extend(others().filter(|cpu| cpus[*cpu].runs.is_some()).map(Event::Overtaken));
        if self.handler.is_some() && !self.in_handler[number].get() {
            events.push(Event::Signalled);
        }
        // Where nothing is in force, a fence does nothing.
        if thread.is_armed() {
            events.push(Event::Fenced);
        }
        events
    }

    fn happens(&self, thread: &Thread, event: Event) {
        let (number, here) = (thread.number, thread.area.cpu.get());
        match event {
            Event::Preempted(by) => {
                thread.interrupt();
                let cpu = &mut self.cpus.borrow_mut()[here];
                cpu.waiting.retain(|other| *other != by);
                cpu.waiting.push_back(number);
                cpu.runs = Some(by);
            }
            Event::Moved(to) => {
                thread.interrupt();
                self.cpus.borrow_mut()[here].runs = None;
                self.pick(here);
                let cpu = &mut self.cpus.borrow_mut()[to];
                if let Some(displaced) = cpu.runs.replace(number) {
                    self.threads[displaced].interrupt();
                    cpu.waiting.push_back(displaced);
                }
            }
            Event::Signalled => {
                self.in_handler[number].set(true);
                thread.signal(|| self.handler.as_ref().into_iter().for_each(|handler| handler()));
                self.in_handler[number].set(false);
                self.handled.set(self.handled.get() + 1);
                return;
            }
            Event::Fenced => return thread.interrupt(),
            Event::Overtaken(by) => {
                let runs = self.cpus.borrow()[by].runs;
                return self.hand_over(number, runs);
            }
        }
        self.number_running();
        let runs = if let Event::Preempted(by) = event { by } else { number };
        self.hand_over(number, Some(runs));
    }

    /// An idle CPU gets one of the threads that wait for it.
    fn pick(&self, cpu: usize) {
        let waiting = self.cpus.borrow()[cpu].waiting.len();
        if waiting > 0 {
            let choice = self.choose(waiting);
            let cpu = &mut self.cpus.borrow_mut()[cpu];
            cpu.runs = cpu.waiting.remove(choice);
        }
    }

    /// Gives the threads that run their CPUs, and ids that no two of them have in common.
    fn number_running(&self) {
        let cpus = self.cpus.borrow();
        let running: Vec<(usize, &Thread)> =
            cpus.iter().enumerate().filter_map(|(cpu, of)| Some((cpu, &*self.threads[of.runs?]))).collect();
        let mut taken = [false; CPUS];
        let mut without = Vec::new();
        for (cpu, thread) in running {
            thread.area.cpu.set(cpu);
            // Who ran already keeps its id; who comes gets the lowest.
            match thread.area.cid.get() {
                cid if cid < CPUS && !taken[cid] => taken[cid] = true,
                _ => without.push(thread),
            }
        }
        for thread in without {
            let cid = taken.iter().position(|taken| !taken).unwrap_or_default();
            taken[cid] = true;
            thread.area.cid.set(cid);
        }
        for waiting in cpus.iter().flat_map(|cpu| &cpu.waiting) {
            self.threads[*waiting].area.cid.set(usize::MAX);
        }
    }

    /// Another thread runs, and this one again when it is its turn.
    fn hand_over(&self, from: usize, to: Option<usize>) {
        if to != Some(from) {
            self.next.set(to);
            self.suspend(from);
        }
    }

    fn suspend(&self, thread: usize) {
        // SAFETY: set by the coroutine of this thread, on whose stack this runs, and valid as long as that.
        unsafe { &*self.yielders[thread].get() }.suspend(());
    }

    /// Ends the run: the thread never goes on.
    fn fail(&self, wrong: Wrong) {
        self.wrong.borrow_mut().get_or_insert(wrong);
    }

    fn has_failed(&self) -> bool {
        self.wrong.borrow().is_some()
    }

    fn watch(&self) {
        if !self.rules {
            return;
        }
        if let Some(rule) = self.threads.iter().find_map(|thread| thread.broken()) {
            self.fail(Wrong::Rule(rule));
        }
    }

    /// A thread has come to its end: the next one runs.
    fn ended(&self, thread: usize) {
        self.threads[thread].is_outside();
        let cpu = self.threads[thread].area.cpu.get();
        self.cpus.borrow_mut()[cpu].runs = None;
        self.watch();
        self.start(cpu..=cpu);
    }

    /// Gives these CPUs, which are idle, something to do, and lets one of all that are busy go on.
    fn start(&self, idle: impl IntoIterator<Item = usize>) {
        idle.into_iter().for_each(|cpu| self.pick(cpu));
        self.number_running();
        let busy: Vec<usize> = self.cpus.borrow().iter().filter_map(|cpu| cpu.runs).collect();
        self.next.set((!busy.is_empty()).then(|| busy[self.choose(busy.len())]));
    }
}

impl Events for World {
    fn in_front_of(&self, thread: &Thread, at: Address) {
        // What runs while a thread unwinds is left alone: it can't be suspended.
        if std::thread::panicking() || self.has_failed() {
            return;
        }
        self.watch();
        let number = thread.number;
        let step = self.passed.borrow().len();
        self.passed.borrow_mut().push(Passed {
            thread: number,
            at,
            event: None,
            in_handler: self.in_handler[number].get(),
        });
        if step == MOST_STEPS {
            self.fail(Wrong::Endless);
        }
        if !self.has_failed() && self.events_left.get() > 0 {
            let events = self.events(thread);
            if let Some(choice) = self.choose(events.len() + 1).checked_sub(1) {
                self.events_left.set(self.events_left.get() - 1);
                self.passed.borrow_mut()[step].event = Some(events[choice]);
                self.happens(thread, events[choice]);
                self.watch();
            }
        }
        if self.has_failed() {
            self.suspend(number);
        }
    }

    fn fence(&self, by: &Thread) {
        self.threads.iter().filter(|thread| thread.number != by.number).for_each(|thread| thread.interrupt());
    }
}

/// What came of a run.
pub(super) struct Run {
    pub(super) path: Path,
    pub(super) steps: usize,
    pub(super) wrong: Option<(Wrong, Vec<String>)>,
}

/// Stacks of threads that have ended, for the next ones.
#[derive(Default)]
pub(super) struct Stacks(Vec<DefaultStack>);

/// Runs the model once.
pub(super) fn run<S: 'static>(model: &Model<S>, bounds: Bounds, path: Path, stacks: &mut Stacks) -> Run {
    let state = Rc::new((model.setup)());
    let world = Rc::new(World::new(model, &state, bounds, path));
    let fibers = fibers(model, &state, &world, stacks);
    let threads = running::aside(|| world.run(fibers, stacks));
    if !world.has_failed() {
        let done = Done { threads, handlers: world.handled.get() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (model.check)(&state, done))) {
            world.fail(Wrong::Panicked(message(&*panic)));
        }
    }
    let passed = world.passed.borrow();
    let wrong = world.wrong.take().map(|wrong| (wrong, passed.iter().map(Passed::to_string).collect()));
    Run { path: world.path.take(), steps: passed.len(), wrong }
}

/// The threads, none of which has begun.
fn fibers<S: 'static>(model: &Model<S>, state: &Rc<S>, world: &Rc<World>, stacks: &mut Stacks) -> Vec<Fiber> {
    let fiber = |(number, (_, body)): (usize, &(usize, Body<S>))| {
        let (world, state, body) = (world.clone(), state.clone(), body.clone());
        Fiber::with_stack(stacks.0.pop().unwrap_or_default(), move |yielder, ()| {
            world.yielders[number].set(yielder);
            body(&state);
        })
    };
    model.threads.iter().enumerate().map(fiber).collect()
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
