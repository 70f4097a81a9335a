//! The run-time half of [`rseq-dsl`](https://crates.io/crates/rseq-dsl): registers threads with the
//! kernel, decides whether restartable sequences can be used, and offers the portable mode, per-CPU
//! slots and fences.
//!
//! Use it through `rseq-dsl`, whose `rseq!` compiles the sections. This crate is `no_std` and
//! depends on `libc` alone.
#![no_std]
#![debugger_visualizer(gdb_script_file = "../gdb/rseq.py")]
#![debugger_visualizer(gdb_script_file = "../gdb/printers.py")]

#[cfg(not(all(unix, not(miri))))]
extern crate alloc;

pub mod abi;
#[macro_use]
mod asm;
mod arch;
mod audit;
mod cpu;
pub mod drain;
#[doc(hidden)]
pub mod expansion;
pub mod fence;
mod image;
mod kernel;
mod mode;
#[cfg(all(debug_assertions, not(rseq_audited)))]
mod nesting;
mod owner;
mod percpu;
pub mod portable;
mod registration;
mod selftest;
mod slice;
mod status;
mod sys;
mod thread;

pub use cpu::{CpuId, IndexKind, MmCid, slots};
pub use expansion::place::{Place, Word};
pub use fence::quiesce;
pub use kernel::Kernel;
pub use mode::{Mode, Reason};
pub use percpu::{AllocError, PerCpu, Slots};
pub use registration::Registrar;
pub use slice::SliceExtension;
pub use status::{Libc, Status, status};
