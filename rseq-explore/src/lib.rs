//! Shows that a restartable section of [`rseq-dsl`](https://docs.rs/rseq-dsl) is right, by
//! interrupting it everywhere.
//!
//! A test that only runs a section in many threads finds next to nothing: what a section must
//! survive happens at one of its few instructions, once in millions of runs. Here it is made to
//! happen, in two ways.
//!
//! - [`explore`] takes the machine code as it is. For each instruction and each [`Event`] it runs
//!   the section in a child of its own, stops it there, and has the event happen: another thread on
//!   the same CPU, another CPU, a signal whose handler runs the same section, a fence. Nothing may
//!   be published before the commit, nothing lost, and nothing done twice; nor may two CPUs commit
//!   to one place. One call in a `#[test]`:
//!
//!   ```
//!   # use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!   # use rseq::{PerCpu, rseq};
//!   # static HITS: PerCpu<AtomicU64> = PerCpu::new();
//!   # fn hit() { rseq! { commit |cpu| add(&HITS[cpu], 1) } }
//!   let hits = || HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>();
//!   rseq_explore::explore(hit, hit, |ran| assert_eq!(hits(), ran.total() as u64));
//!   ```
//!
//! - [`mod@model`] takes the steps that the section is compiled to, and runs them on a machine that
//!   doesn't exist, by every schedule with a few events. It works everywhere but on s390x and
//!   PowerPC, for which the coroutines that it needs don't exist.
//!
//! The explorer sees what compilers and assemblers make of a section; the model sees what several
//! threads do together. Neither shows that `prepare` keeps its rules: for that there is the feature
//! `audit` of rseq-dsl.

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no section is explored there"))]
mod explorer;
#[cfg(not(any(target_arch = "s390x", target_arch = "powerpc64")))]
pub mod model;

pub use explorer::{Event, Explorer, Failure, Phase, Ran, Report, Run, explore};
