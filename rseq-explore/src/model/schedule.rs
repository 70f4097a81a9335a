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

use super::event::{Passed, Wrong};
use super::kernel::CPUS;
use super::path::{Bounds, Path};
use super::running::{self, Running};
use super::world::World;
use super::{Body, Done, Failure, Model, Report};

impl<S: 'static> Model<S> {
    /// Runs every schedule within the bounds.
    ///
    /// # Errors
    /// The first schedule by which something goes wrong.
    ///
    /// # Panics
    /// If the sections don't do the same each time.
    pub fn search(&self, bounds: Bounds) -> Result<Report, Box<Failure>> {
        let (mut report, mut stacks) = (Report { schedules: 0, steps: 0 }, Stacks::default());
        let mut path = Some(Path::default());
        while let Some(next) = path {
            let run = run(self, bounds, next, &mut stacks);
            report.schedules += 1;
            report.steps = report.steps.max(run.steps);
            if let Some((wrong, steps)) = run.wrong {
                return Err(Box::new(Failure { wrong, steps, schedule: report.schedules }));
            }
            path = run.path.next();
        }
        Ok(report)
    }

    /// Runs every schedule within the bounds: nothing may go wrong.
    ///
    /// # Panics
    /// If something does; the message lists the schedule.
    pub fn explore(&self, bounds: Bounds) -> Report {
        self.search(bounds).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

/// A thread's coroutine, to which the model gives nothing but the word to go on.
type Fiber = Coroutine<(), (), ()>;

/// The outcome of a run.
struct Run {
    path: Path,
    steps: usize,
    wrong: Option<(Wrong, Vec<String>)>,
}

/// Stacks of threads that have ended, for the next ones.
#[derive(Default)]
struct Stacks(Vec<DefaultStack>);

/// Runs the model once.
fn run<S: 'static>(model: &Model<S>, bounds: Bounds, path: Path, stacks: &mut Stacks) -> Run {
    let state = Rc::new((model.setup)());
    let cpus: Vec<usize> = model.threads.iter().map(|(cpu, _)| *cpu).collect();
    let handler = model.handler.clone().map(|handler| {
        let state = state.clone();
        Box::new(move || handler(&state)) as Box<dyn Fn()>
    });
    let world = Rc::new(World::new(&cpus, handler, bounds, path));
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
