//! Items on their way from one thread to another, and what it takes to find that there are none.

use std::hint::black_box;
use std::sync::Mutex;

use crossbeam_queue::{ArrayQueue, SegQueue};
use rseq::{Pool, Ring, Stack};

use super::others::Others;
use crate::measuring::{Contender, contender, flow};

/// As many items as a shelf of a `Stack` has room for.
const ROOM: usize = 64;
/// So many buffers may be on their way.
const ON_THE_WAY: usize = 128;

type Buffer = [u8; 4096];

/// For all threads, for good.
fn shared<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Words, pushed by some threads and popped by others.
pub fn words(_: &Others) -> Vec<Contender> {
    let (stack, locked) = (shared(Stack::<usize>::new()), shared(Mutex::new(Vec::new())));
    let (array, segments) = (shared(ArrayQueue::new(ROOM)), shared(SegQueue::new()));
    let push = move |number| {
        locked.lock().expect("nobody panics").push(number);
        true
    };
    let queue = move |number| {
        segments.push(number);
        true
    };
    vec![
        flow("Stack", move |number| stack.push(number).is_ok(), move || stack.pop().is_some()),
        flow("crossbeam ArrayQueue", move |number| array.push(number).is_ok(), move || array.pop().is_some()),
        flow("crossbeam SegQueue", queue, move || segments.pop().is_some()),
        flow("Mutex<Vec>", push, move || locked.lock().expect("nobody panics").pop().is_some()),
    ]
}

/// Buffers, taken by some threads, handed over, and returned by others.
pub fn buffers(_: &Others) -> Vec<Contender> {
    let (pool, queue) = (shared(Pool::<Buffer>::new(|| [0; _])), shared(ArrayQueue::<Box<Buffer>>::new(256)));
    vec![
        handed_over("Pool", move || pool.take(), drop),
        handed_over(
            "crossbeam ArrayQueue",
            move || queue.pop().unwrap_or_else(fresh),
            move |buffer| _ = queue.push(buffer),
        ),
        handed_over("Box::new, dropped", fresh, drop),
    ]
}

fn fresh() -> Box<Buffer> {
    Box::new([0; _])
}

/// All hand over by the same queue.
fn handed_over<B: std::ops::DerefMut<Target = Buffer> + Send + 'static>(
    name: &str,
    take: impl Fn() -> B + Sync + 'static,
    put_back: impl Fn(B) + Send + Sync + 'static,
) -> Contender {
    let way = shared(ArrayQueue::new(ON_THE_WAY));
    let send = move |number| {
        // Most often there is room: a buffer that there is none for goes away here.
        if way.is_full() {
            return false;
        }
        let mut buffer = take();
        buffer[0] = number as u8;
        way.push(buffer).is_ok()
    };
    flow(name, send, move || way.pop().map(|buffer| put_back(black_box(buffer))).is_some())
}

/// Pops where nothing is.
pub fn empty(_: &Others) -> Vec<Contender> {
    let (stack, ring, locked) = (Stack::<usize>::new(), Ring::<usize>::new(), Mutex::new(Vec::<usize>::new()));
    let (array, segments) = (ArrayQueue::<usize>::new(ROOM), SegQueue::<usize>::new());
    // Otherwise there would be no slots to look at.
    stack.allocate().and_then(|()| ring.allocate()).expect("there is memory");
    vec![
        contender("Stack", move |_| _ = black_box(stack.pop())),
        contender("Ring, drained", move |_| _ = black_box(ring.drain().map(Iterator::count))),
        contender("crossbeam ArrayQueue", move |_| _ = black_box(array.pop())),
        contender("crossbeam SegQueue", move |_| _ = black_box(segments.pop())),
        contender("Mutex<Vec>", move |_| _ = black_box(locked.lock().expect("nobody panics").pop())),
    ]
}
