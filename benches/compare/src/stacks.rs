//! Stacks of numbers and of small records.

use std::hint::black_box;
use std::sync::Mutex;

use crossbeam_queue::{ArrayQueue, SegQueue};
use rseq::Stack;

use crate::measure::{Candidate, candidate};

/// Three words.
type Record = [usize; 3];

pub fn candidates() -> Vec<Candidate> {
    let (ours, records) = (Stack::<usize>::new(), Stack::<Record>::new());
    let (vector, record_vector) = (Mutex::new(Vec::new()), Mutex::new(Vec::<Record>::new()));
    let (array, segments) = (ArrayQueue::new(64), SegQueue::new());
    vec![
        candidate("`Stack<usize>`", move |number| {
            let _ = ours.push(number);
            black_box(ours.pop());
        }),
        candidate("`Mutex<Vec<usize>>`", move |number| {
            vector.lock().expect("nobody panics").push(number);
            black_box(vector.lock().expect("nobody panics").pop());
        }),
        candidate("crossbeam `ArrayQueue<usize>`", move |number| {
            let _ = array.push(number);
            black_box(array.pop());
        }),
        candidate("crossbeam `SegQueue<usize>`", move |number| {
            segments.push(number);
            black_box(segments.pop());
        }),
        candidate("`Stack` of three words", move |number| {
            let _ = records.push([number; 3]);
            black_box(records.pop());
        }),
        candidate("`Mutex<Vec>` of three words", move |number| {
            record_vector.lock().expect("nobody panics").push([number; 3]);
            black_box(record_vector.lock().expect("nobody panics").pop());
        }),
    ]
}
