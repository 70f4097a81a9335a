//! Which thread of the model runs, and who decides what happens to it.

use std::cell::RefCell;
use std::rc::Rc;

use super::code::{Address, Code};
use super::kernel::{Commits, Thread};

/// Decides what happens to a thread in front of each step. It may let others run before it returns.
pub(super) trait Events {
    fn in_front_of(&self, thread: &Thread, at: Address);
    /// This thread makes a fence.
    fn fence(&self, by: &Thread);
}

/// The thread that runs. Outside of a run of the model there is one, to which nothing happens.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) thread: Rc<Thread>,
    pub(super) events: Option<Rc<dyn Events>>,
}

thread_local! {
    static RUNNING: RefCell<Running> = {
        let thread = Rc::new(Thread::new(0, Commits::default()));
        RefCell::new(Running { thread, events: None })
    };
}

/// The thread that runs.
pub(super) fn thread() -> Rc<Thread> {
    RUNNING.with_borrow(|running| running.thread.clone())
}

/// Lets another one run.
pub(super) fn switch_to(running: Running) {
    RUNNING.set(running);
}

/// Lets other threads run until the end of `run`, then this one again.
pub(super) fn aside<R>(run: impl FnOnce() -> R) -> R {
    struct Back(Option<Running>);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(switch_to);
        }
    }
    let _back = Back(Some(RUNNING.with_borrow(Running::clone)));
    run()
}

/// The thread comes to a step. Whether it is the step that it goes on with: if not, it is the abort
/// handler.
pub(super) fn comes_to(code: &'static Code, step: usize) -> bool {
    let Running { thread, events } = RUNNING.with_borrow(Running::clone);
    let at = Address { code, step };
    thread.comes_to(at);
    if let Some(events) = events {
        events.in_front_of(&thread, at);
    }
    thread.goes_on()
}

/// The running thread interrupts all others.
pub(super) fn fence() {
    let Running { thread, events } = RUNNING.with_borrow(Running::clone);
    if let Some(events) = events {
        events.fence(&thread);
    }
}
