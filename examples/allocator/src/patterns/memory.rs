//! The memory that stays with the process when everything is freed: in megabytes, at most,
//! afterwards, after `trim`, and after glibc's `malloc_trim` as well.

use std::alloc::Layout;
use std::sync::Barrier;
use std::{fs, thread};

use super::times::{Object, layout};
use super::{ALLOCATOR, Plan};

/// In which order objects are freed.
pub enum Order {
    /// In that in which they were allocated.
    First,
    /// The last one first.
    Last,
    Random,
}

/// Megabytes of the process that are in memory.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: f64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // SAFETY: the call has no conditions.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64 / 1e6
}

/// Now, after `trim`, and after `malloc_trim`.
fn left(most: f64) -> Vec<f64> {
    let freed = resident();
    if let Some(Err(error)) = ALLOCATOR.trim() {
        eprintln!("trim: {error}");
    }
    let trimmed = resident();
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no conditions.
    unsafe {
        libc::malloc_trim(0);
    }
    vec![most, freed, trimmed, resident()]
}

/// A fifth of the plan's objects, all at once.
pub fn freed(plan: Plan, order: Order) -> Vec<f64> {
    let layout = layout(plan.size);
    let mut objects: Vec<_> = (0..plan.objects / 5).map(|_| Object::new(layout)).collect();
    let most = resident();
    match order {
        Order::First => {}
        Order::Last => objects.reverse(),
        Order::Random => fastrand::Rng::with_seed(1).shuffle(&mut objects),
    }
    objects.iter().for_each(|object| object.free(layout));
    drop(objects);
    left(most)
}

/// Threads that begin, allocate objects of many sizes, wait for each other, free them, and end: so
/// many of them at once, and 2,000 of them in all for ten million objects.
pub fn threads(plan: Plan, at_once: usize) -> Vec<f64> {
    let threads = plan.objects / 5_000;
    let mut most = 0.0;
    for _ in 0..threads.div_ceil(at_once) {
        most = f64::max(most, group(plan, at_once.min(threads)));
    }
    left(most)
}

/// The memory in use when all of them have allocated.
fn group(plan: Plan, threads: usize) -> f64 {
    let all = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for number in 0..threads {
            let all = &all;
            let begun = thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, move || {
                let layouts = (1..=1_000).map(|step| layout(1 + (number * 7 + step * 13) % (8 * plan.size)));
                let objects: Vec<(Object, Layout)> = layouts.map(|layout| (Object::new(layout), layout)).collect();
                all.wait();
                all.wait();
                objects.into_iter().for_each(|(object, layout)| object.free(layout));
            });
            begun.expect("there may be as many threads");
        }
        all.wait();
        let most = resident();
        all.wait();
        most
    })
}
