//! The time of patterns, in nanoseconds for each object that is allocated, written to and freed: by
//! the clock, and of all processors' time, which tells more on a busy machine.

use std::alloc::{Layout, alloc, dealloc};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use super::Plan;

/// Objects on their way to another thread at once.
const LOAD: usize = 1_000;

/// An object that a thread may hand on.
#[derive(Clone, Copy)]
pub struct Object(*mut u8);

// SAFETY: memory that is nobody's but the holder's.
unsafe impl Send for Object {}

pub fn layout(size: usize) -> Layout {
    Layout::from_size_align(size.max(8), 8).expect("a small size")
}

impl Object {
    pub fn new(layout: Layout) -> Self {
        // SAFETY: of 8 bytes at least.
        let object = unsafe { alloc(layout) };
        assert!(!object.is_null(), "no memory");
        // SAFETY: as above, and aligned to as many.
        unsafe { object.cast::<u64>().write_volatile(1) };
        Self(object)
    }

    pub fn free(self, layout: Layout) {
        // SAFETY: `new`'s, of the same layout; each holder frees what it has once.
        unsafe { dealloc(self.0, layout) };
    }
}

/// Does something that takes so many objects, after it was done once to get warm.
fn measure(objects: usize, mut work: impl FnMut()) -> Vec<f64> {
    work();
    let (start, processors) = (Instant::now(), processor_time());
    work();
    [start.elapsed().as_secs_f64(), processor_time() - processors].map(|time| time * 1e9 / objects as f64).to_vec()
}

/// Seconds of processors' time that the process had.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a structure.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// So many objects are allocated, and then freed in the same order; and so on.
pub fn bursts(plan: Plan, count: usize) -> Vec<f64> {
    let layout = layout(plan.size);
    let rounds = (plan.objects / count).max(1);
    let mut objects = Vec::with_capacity(count);
    measure(rounds * count, || {
        for _ in 0..rounds {
            objects.extend((0..count).map(|_| Object::new(layout)));
            objects.drain(..).for_each(|object| object.free(layout));
        }
    })
}

/// Of many objects one or the other is replaced by a new one, of any size up to four times that.
pub fn churn(plan: Plan) -> Vec<f64> {
    const OBJECTS: usize = 20_000;
    let mut random = fastrand::Rng::with_seed(1);
    let mut next = || layout(random.usize(1..=4 * plan.size));
    let mut objects: Vec<_> = (0..OBJECTS).map(|_| next()).map(|layout| (Object::new(layout), layout)).collect();
    let mut random = fastrand::Rng::with_seed(2);
    let times = measure(plan.objects, || {
        for _ in 0..plan.objects {
            let layout = next();
            let place = &mut objects[random.usize(..OBJECTS)];
            let (old, old_layout) = std::mem::replace(place, (Object::new(layout), layout));
            old.free(old_layout);
        }
    });
    objects.into_iter().for_each(|(object, layout)| object.free(layout));
    times
}

/// One thread allocates, and another one frees.
pub fn pass(plan: Plan) -> Vec<f64> {
    let layout = layout(plan.size);
    let loads = plan.objects / LOAD;
    let (to, from) = sync_channel::<Vec<Object>>(8);
    let (empty_to, empty_from) = sync_channel::<Vec<Object>>(16);
    (0..10).for_each(|_| empty_to.send(Vec::with_capacity(LOAD)).expect("there is room"));
    thread::scope(|scope| {
        scope.spawn(move || {
            for mut load in from {
                load.drain(..).for_each(|object: Object| object.free(layout));
                let _ended = empty_to.send(load);
            }
        });
        measure(loads * LOAD, move || {
            for _ in 0..loads {
                let mut load = empty_from.recv().expect("the other thread gives them back");
                load.extend((0..LOAD).map(|_| Object::new(layout)));
                to.send(load).expect("the other thread receives");
            }
        })
    })
}

/// Each of four threads allocates for the next one, and frees what the one before allocated.
pub fn pass_round(plan: Plan) -> Vec<f64> {
    const THREADS: usize = 4;
    let layout = layout(plan.size);
    let loads = plan.objects / THREADS / LOAD;
    measure(THREADS * loads * LOAD, || {
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| sync_channel(4)).unzip();
        receivers.rotate_left(1);
        thread::scope(|scope| {
            for (to, from) in senders.into_iter().zip(receivers) {
                scope.spawn(move || hand_on(layout, loads, &to, &from));
            }
        });
    })
}

fn hand_on(layout: Layout, loads: usize, to: &SyncSender<Vec<Object>>, from: &Receiver<Vec<Object>>) {
    let mut load = Vec::with_capacity(LOAD);
    for _ in 0..loads {
        load.extend((0..LOAD).map(|_| Object::new(layout)));
        to.send(load).expect("the next thread receives as many");
        load = from.recv().expect("the one before sends as many");
        load.drain(..).for_each(|object| object.free(layout));
    }
}
