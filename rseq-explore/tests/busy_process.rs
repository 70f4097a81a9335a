//! Sections are explored while other threads of the process hold locks of the standard library,
//! which children find locked.
//! A process of its own, because its allocator is slow on purpose.
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rseq::{PerCpu, rseq};
use rseq_explore::{Event, Explorer, Ran};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hit() {
    rseq! { commit |cpu| add(&HITS[cpu], 1) }
}

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// Of so many bytes is no other memory in this program.
const NAME: &str = "a thread whose name is freed slowly, by the standard library, under a lock of its own";

/// Frees names slowly.
struct Slow;

// SAFETY: the system's allocator; the time doesn't matter to it.
unsafe impl GlobalAlloc for Slow {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() == NAME.len() {
            thread::sleep(Duration::from_millis(2));
        }
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Slow = Slow;

/// Does this over and over, in another thread, while a section is explored.
fn while_another_thread(repeats: fn(), explore: fn()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                repeats();
            }
        });
        let outcome = panic::catch_unwind(explore);
        stop.store(true, Relaxed);
        outcome.unwrap_or_else(|message| panic::resume_unwind(message));
    });
}

fn explore_hits() {
    let check = |ran: &Ran<'_, (), ()>| assert_eq!(hits(), ran.total() as u64);
    Explorer::new(&hit, &hit, &check).events(&[Event::Preemption, Event::Signal]).until_failure().run();
}

#[test]
fn threads_start_and_end() {
    while_another_thread(
        || {
            let thread = thread::Builder::new().name(NAME.to_owned()).spawn(|| {});
            thread.expect("the machine has room for a thread").join().expect("nothing happens in it");
        },
        explore_hits,
    );
}

/// The message of a panic in a child is told.
#[test]
fn others_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match panic.payload().downcast_ref::<&str>() {
            Some(&"over and over") => thread::sleep(Duration::from_millis(2)),
            _ => print(panic),
        }));
    });
    while_another_thread(
        || _ = panic::catch_unwind(|| panic!("over and over")),
        || {
            explore_hits();
            let check = |ran: &Ran<'_, (), ()>| assert_eq!(hits(), 7 + ran.total() as u64, "seven too many");
            let report = Explorer::new(&hit, &hit, &check).until_failure().try_run();
            let told = report.failures().iter().any(|failure| failure.to_string().contains("seven too many"));
            assert!(told || report.skipped().is_some(), "{report}");
        },
    );
}
