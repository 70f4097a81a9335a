//! The section of the example.

use std::sync::atomic::Ordering::Relaxed;

use super::PER_CPU;
// Not `rseq::rseq`: the tests compile this file once more, for their model.
use super::rseq;

/// Adds 1 to a count of the current CPU. Gives the number of aborts on the way.
#[inline(always)]
pub fn add_per_cpu(index: usize) -> u64 {
    let mut aborts = 0;
    rseq! {
        prepare |cpu| {
            let count = &PER_CPU[cpu].0[index];
            let next = count.load(Relaxed) + 1;
        }
        commit store(count, next)
        abort { aborts += 1; }
    }
    aborts
}
