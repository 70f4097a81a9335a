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
#[cfg(test)]
extern crate std;

// The means of all the rest: the kernel's structures, the machine and the system.
pub mod abi;
#[macro_use]
mod asm; // what assemblers are told on every machine
mod arch; // the thread pointer, where descriptor and area are, arming
mod sys;

// The parts that are there before the first section: of each thread, and of each image.
mod image;
mod thread;

// The decisions of the first section, and how its thread is registered.
mod cpu; // the kinds of index, and the number of slots
mod kernel; // versions, and which are suspect
mod mode; // restartable or portable
mod registration;
mod selftest; // whether a suspect kernel does what sections rely on

// The way of a section, from arming to its commit.
#[doc(hidden)]
pub mod expansion;
mod percpu; // the slots
pub mod portable; // the same under locks
mod slice; // more time for one that is aborted again and again

// The checks of it.
mod audit;
#[cfg(all(debug_assertions, not(rseq_audited)))]
mod nesting; // sections that can't end, or were suspended
mod owner; // whose slot an address is in

// The ways to stop the sections of others.
pub mod drain;
pub mod fence;

// The report on it all.
mod status;

pub use cpu::{CpuId, IndexKind, MmCid, slots};
pub use expansion::place::{Place, Word};
pub use fence::quiesce;
pub use kernel::Kernel;
pub use mode::{Mode, Reason};
pub use percpu::{AllocError, PerCpu, Slots, SlotsMut};
pub use registration::Registrar;
pub use slice::SliceExtension;
pub use status::{Libc, Status, status};
