//! Events on their way to whoever collects them: sixteen are pushed, then all there are are taken.

use std::hint::black_box;
use std::sync::Mutex;

use crossbeam_queue::{ArrayQueue, SegQueue};
use rseq::Ring;

use super::others::Others;
use crate::measuring::{Contender, contender};

const EVENTS: usize = 16;

pub fn contenders(_: &Others) -> Vec<Contender> {
    let ours = Ring::<usize>::new();
    let (array, segments, vector) = (ArrayQueue::new(256), SegQueue::new(), Mutex::new(Vec::new()));
    vec![
        contender("Ring", move |number| {
            (0..EVENTS).for_each(|event| _ = ours.push(number + event));
            ours.drain().into_iter().flatten().for_each(|event| _ = black_box(event));
        }),
        contender("crossbeam ArrayQueue", move |number| {
            (0..EVENTS).for_each(|event| _ = array.push(number + event));
            std::iter::from_fn(|| array.pop()).take(EVENTS).for_each(|event| _ = black_box(event));
        }),
        contender("crossbeam SegQueue", move |number| {
            (0..EVENTS).for_each(|event| segments.push(number + event));
            std::iter::from_fn(|| segments.pop()).take(EVENTS).for_each(|event| _ = black_box(event));
        }),
        contender("Mutex<Vec>", move |number| {
            (0..EVENTS).for_each(|event| vector.lock().expect("nobody panics").push(number + event));
            let taken = std::mem::take(&mut *vector.lock().expect("nobody panics"));
            taken.into_iter().for_each(|event| _ = black_box(event));
        }),
    ]
}
