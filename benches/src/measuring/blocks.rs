//! Blocks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::contender::{BATCH, Contender};
use super::cpus::available_cpus;
use super::race::race;
use super::sheet::Measurement;

/// How contenders are measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How often all are measured.
    pub blocks: usize,
    /// How many threads do the operations. If there is a CPU for each, each has its own.
    pub threads: usize,
    /// How long a contender runs in a block, about. Threads that outnumber the CPUs take longer:
    /// all of them have to get their turn.
    pub slice: Duration,
}

/// Measures what does the same thing in several ways; the structure is what they do it to.
pub fn measure(structure: &str, contenders: &[Contender], plan: &Plan) -> Vec<Measurement> {
    let bar = progress(structure, plan);
    let quotas: Vec<usize> = contenders.iter().map(|contender| quota(contender, plan)).collect();
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut measurements = Vec::new();
    for block in 0..plan.blocks {
        fastrand::shuffle(&mut order);
        for &number in &order {
            let outcome = race(&contenders[number], plan.threads, quotas[number]);
            measurements.push(Measurement {
                structure: structure.to_owned(),
                contender: contenders[number].name.clone(),
                threads: plan.threads,
                block,
                ns: outcome.ns,
                cpu_ns: outcome.cpu_ns,
                aborts_per_million: outcome.aborts_per_million,
                least_share: outcome.least_share,
            });
        }
        // Within a block the order is random; whoever reads has that of the contenders.
        let first = block * contenders.len();
        measurements[first..]
            .sort_by_key(|one| contenders.iter().position(|contender| contender.name == one.contender));
        bar.inc(1);
    }
    bar.finish_and_clear();
    measurements
}

fn progress(structure: &str, plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}").expect("the template is right");
    let message = format!("{structure}, {} threads", plan.threads);
    ProgressBar::new(plan.blocks as u64).with_style(style).with_message(message)
}

/// How many batches each thread does in a slice of time.
fn quota(contender: &Contender, plan: &Plan) -> usize {
    const TRIAL: usize = 100;
    let busy = plan.threads.min(available_cpus().len());
    let batch = race(contender, busy, TRIAL).ns * BATCH as f64;
    let in_all = plan.slice.as_nanos() as f64 / batch * busy as f64;
    (in_all / plan.threads as f64).ceil().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measuring::contender;

    #[test]
    fn each_block_has_all_contenders() {
        let contenders = ["a", "c", "b"].map(|name| contender(name, |_| _ = std::hint::black_box(1)));
        let plan = Plan { blocks: 3, threads: 1, slice: Duration::from_micros(10) };
        let found = measure("nothing", &contenders, &plan);
        let order: Vec<_> = found.iter().map(|one| (one.block, one.contender.as_str())).collect();
        let expected = (0..3).flat_map(|block| ["a", "c", "b"].map(|name| (block, name)));
        assert_eq!(order, expected.collect::<Vec<_>>());
        assert!(found.iter().all(|one| one.structure == "nothing" && one.threads == 1));
    }
}
