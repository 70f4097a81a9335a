//! Every schedule with so many events: which thread runs, and what happens to it in front of each
//! of its steps.
//!
//! A schedule is a list of choices. A run makes the choices of the list, and beyond its end the
//! first one each time; the next run has the last choice changed that can be (depth-first search
//! without memory, as loom does it). Threads are coroutines of one thread, so a run takes
//! microseconds and the same choices lead to the same run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};

use super::running::{self, Running};
use super::world::{Passed, World, Wrong};
use super::{Body, Bounds, CPUS, Done, Model};

/// The choices of a run: each with the number of those that there were.
#[derive(Default)]
pub(super) struct Path {
    choices: Vec<(usize, usize)>,
    made: usize,
}

impl Path {
    /// The choice among so many.
    pub(super) fn choose(&mut self, of: usize) -> usize {
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

/// A thread's coroutine, to which the model gives nothing but the word to go on.
type Fiber = Coroutine<(), (), ()>;

/// The outcome of a run.
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
    let threads = running::aside(|| go(&world, fibers, stacks));
    if !world.has_failed() {
        let done = Done { threads, handlers: world.handled() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (model.check)(&state, done))) {
            world.fail(Wrong::Panicked(message(&*panic)));
        }
    }
    let passed = world.passed();
    let wrong = world.wrong().map(|wrong| (wrong, passed.iter().map(Passed::to_string).collect()));
    Run { path: world.path(), steps: passed.len(), wrong }
}

/// The threads, none of which has begun.
fn fibers<S: 'static>(model: &Model<S>, state: &Rc<S>, world: &Rc<World>, stacks: &mut Stacks) -> Vec<Fiber> {
    let fiber = |(number, (_, body)): (usize, &(usize, Body<S>))| {
        let (world, state, body) = (world.clone(), state.clone(), body.clone());
        Fiber::with_stack(stacks.0.pop().unwrap_or_default(), move |yielder, ()| {
            world.begins(number, yielder);
            body(&state);
        })
    };
    model.threads.iter().enumerate().map(fiber).collect()
}

/// Lets the threads run to their ends, or until something is wrong. Says how many came to their
/// ends.
fn go(world: &Rc<World>, mut fibers: Vec<Fiber>, stacks: &mut Stacks) -> usize {
    world.start(0..CPUS);
    while let Some(next) = world.next() {
        running::switch_to(Running { thread: world.thread(next), events: Some(world.clone()) });
        match catch_unwind(AssertUnwindSafe(|| fibers[next].resume(()))) {
            Ok(CoroutineResult::Yield(())) => {}
            Ok(CoroutineResult::Return(())) => world.ended(next),
            Err(panic) => world.fail(Wrong::Panicked(message(&*panic))),
        }
    }
    // Those that didn't come to their ends are dropped, and so unwind.
    let (ended, _unwound): (Vec<_>, Vec<_>) = fibers.into_iter().partition(Fiber::done);
    let count = ended.len();
    stacks.0.extend(ended.into_iter().map(Fiber::into_stack));
    count
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
