//! The memory of the section of `examples/counter`, made small.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rseq::PerCpu;
use rseq_explore::model::{Bounds, Done, Failure, Model, Report};

#[path = "../../../examples/counter/section.rs"]
mod section_of_the_example;

use section as rseq;
use section_of_the_example::add_per_cpu;

#[derive(Default)]
struct Counts([AtomicU64; 2]);

static PER_CPU: PerCpu<Counts> = PerCpu::new();

/// Two threads that share a CPU or have one each, with handlers, count one and the same.
pub fn searched() -> Vec<Result<Report, Box<Failure>>> {
    let setup = || PER_CPU.iter().flat_map(|counts| &counts.0).for_each(|count| count.store(0, Relaxed));
    let count = |(): &()| assert!(add_per_cpu(1) <= 2, "no more aborts than events");
    let check = |(): &(), done: Done| {
        let sums = [0, 1].map(|index| PER_CPU.iter().map(|counts| counts.0[index].load(Relaxed)).sum::<u64>());
        assert_eq!(sums, [0, done.all() as u64]);
    };
    let on = |other| {
        let model = Model::new(setup).thread(0, count).thread(other, count).handler(count);
        model.check(check).search(Bounds::events(2))
    };
    vec![on(0), on(1)]
}
