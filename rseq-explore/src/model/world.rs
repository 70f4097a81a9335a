//! The CPUs of the model with their threads, and what happens to these.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::ptr;
use std::rc::Rc;

use corosensei::Yielder;

use super::code::Address;
use super::event::{Event, Passed, Wrong};
use super::kernel::{CPUS, Commits, Thread};
use super::path::{Bounds, Path};
use super::running::Events;

/// A run with more steps doesn't end.
const MOST_STEPS: usize = 10_000;

/// A CPU of the model.
#[derive(Default)]
struct Cpu {
    runs: Option<usize>,
    waiting: VecDeque<usize>,
}

/// A run: the CPUs, the threads, and what has happened so far.
pub(super) struct World {
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
    /// Threads that wait for these CPUs, and the handler of signals.
    pub(super) fn new(cpus: &[usize], handler: Option<Box<dyn Fn()>>, bounds: Bounds, path: Path) -> Self {
        let count = cpus.len();
        let commits = Commits::default();
        let world = Self {
            threads: (0..count).map(|number| Rc::new(Thread::new(number, commits.clone()))).collect(),
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
        for (number, cpu) in cpus.iter().enumerate() {
            world.cpus.borrow_mut()[*cpu].waiting.push_back(number);
        }
        world
    }

    fn choose(&self, of: usize) -> usize {
        self.path.borrow_mut().choose(of)
    }

    /// The events that may happen to a thread that runs.
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
        match event {
            Event::Preempted(by) => self.preempt(thread, by),
            Event::Moved(to) => self.move_to(thread, to),
            Event::Signalled => self.signal(thread),
            Event::Fenced => thread.interrupt(),
            Event::Overtaken(by) => {
                let runs = self.cpus.borrow()[by].runs;
                self.hand_over(thread, runs);
            }
        }
    }

    fn preempt(&self, thread: &Thread, by: usize) {
        thread.interrupt();
        {
            let cpu = &mut self.cpus.borrow_mut()[thread.area.cpu.get()];
            cpu.waiting.retain(|other| *other != by);
            cpu.waiting.push_back(thread.number);
            cpu.runs = Some(by);
        }
        self.number_running();
        self.hand_over(thread, Some(by));
    }

    fn move_to(&self, thread: &Thread, to: usize) {
        thread.interrupt();
        let from = thread.area.cpu.get();
        self.cpus.borrow_mut()[from].runs = None;
        self.pick(from);
        {
            let cpu = &mut self.cpus.borrow_mut()[to];
            if let Some(displaced) = cpu.runs.replace(thread.number) {
                self.threads[displaced].interrupt();
                cpu.waiting.push_back(displaced);
            }
        }
        self.number_running();
    }

    fn signal(&self, thread: &Thread) {
        let in_handler = &self.in_handler[thread.number];
        in_handler.set(true);
        thread.signal(|| self.handler.iter().for_each(|handler| handler()));
        in_handler.set(false);
        self.handled.set(self.handled.get() + 1);
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
    fn hand_over(&self, from: &Thread, to: Option<usize>) {
        self.next.set(to);
        self.suspend(from);
    }

    fn suspend(&self, thread: &Thread) {
        // SAFETY: set by the coroutine of this thread, on whose stack this runs, and valid as long
        // as that.
        unsafe { &*self.yielders[thread.number].get() }.suspend(());
    }

    /// The coroutine of a thread begins.
    pub(super) fn begins(&self, thread: usize, yielder: *const Yielder<(), ()>) {
        self.yielders[thread].set(yielder);
    }

    /// The thread that runs next, unless the run is over.
    pub(super) fn next(&self) -> Option<usize> {
        self.next.get().filter(|_| !self.has_failed())
    }

    pub(super) fn thread(&self, number: usize) -> Rc<Thread> {
        self.threads[number].clone()
    }

    /// How many handlers came to their ends.
    pub(super) fn handled(&self) -> usize {
        self.handled.get()
    }

    /// The steps that threads came to.
    pub(super) fn passed(&self) -> Ref<'_, [Passed]> {
        Ref::map(self.passed.borrow(), Vec::as_slice)
    }

    /// The mistake, if there is one.
    pub(super) fn wrong(&self) -> Option<Wrong> {
        self.wrong.borrow().clone()
    }

    /// The choices that were made.
    pub(super) fn path(&self) -> Path {
        self.path.take()
    }

    /// Ends the run, unless it has ended before: no thread goes on.
    pub(super) fn fail(&self, wrong: Wrong) {
        self.wrong.borrow_mut().get_or_insert(wrong);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.wrong.borrow().is_some()
    }

    /// Ends the run if a rule was broken.
    fn watch(&self) {
        if !self.rules {
            return;
        }
        if let Some(rule) = self.threads.iter().find_map(|thread| thread.broken()) {
            self.fail(Wrong::Rule(rule));
        }
    }

    /// A thread has come to its end: the next one runs.
    pub(super) fn ended(&self, thread: usize) {
        self.threads[thread].is_outside();
        let cpu = self.threads[thread].area.cpu.get();
        self.cpus.borrow_mut()[cpu].runs = None;
        self.watch();
        self.start(cpu..=cpu);
    }

    /// Gives these CPUs, which are idle, something to do, and lets one of all that are busy go on.
    pub(super) fn start(&self, idle: impl IntoIterator<Item = usize>) {
        idle.into_iter().for_each(|cpu| self.pick(cpu));
        self.number_running();
        let busy: Vec<usize> = self.cpus.borrow().iter().filter_map(|cpu| cpu.runs).collect();
        self.next.set((!busy.is_empty()).then(|| busy[self.choose(busy.len())]));
    }
}

impl Events for World {
    fn in_front_of(&self, thread: &Thread, at: Address) {
        // A thread that unwinds is left alone: it can't be suspended.
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
            self.suspend(thread);
        }
    }

    fn fence(&self, by: &Thread) {
        self.threads.iter().filter(|thread| thread.number != by.number).for_each(|thread| thread.interrupt());
    }
}
