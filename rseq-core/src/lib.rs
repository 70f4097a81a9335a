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
mod arch;
mod cpu;
pub mod drain;
pub mod fence;
mod image;
mod kernel;
mod mode;
#[cfg(all(debug_assertions, not(feature = "audit")))]
mod nesting;
mod outcome;
mod owner;
mod percpu;
mod place;
pub mod portable;
mod register;
mod section;
mod selftest;
mod slice;
mod status;
mod sys;
mod thread;
mod window;

pub use cpu::{CpuId, IndexKind, MmCid, slots};
pub use fence::quiesce;
pub use kernel::Kernel;
pub use mode::{Mode, Reason};
pub use percpu::{AllocError, PerCpu, Slots};
pub use place::{Place, Word};
pub use register::Registrar;
pub use slice::SliceExtension;
pub use status::{Libc, Status, status};

/// What the expansion of `rseq!` uses. Not for people: it may change in every release.
#[doc(hidden)]
pub mod expansion {
    #[cfg(feature = "audit")]
    #[allow(unused_imports, reason = "where nothing can be audited there is none")]
    pub use crate::arch::audit::expansion::*;
    #[cfg(all(debug_assertions, not(feature = "audit")))]
    pub use crate::nesting::begins as window_begins;
    pub use crate::outcome::Outcome;
    pub use crate::owner::check_store;
    pub use crate::percpu::{Opening, slot_bytes, slot_power};
    pub use crate::place::{Raw, Shared, Target, WORDS_MAY_HAVE_GAPS, target, valued};
    pub use crate::section::{
        Prepared, Section, area, area_for_attempts, area_for_windows, count, window_aborted, window_repeated,
        with_operands,
    };
    pub use crate::thread::{CPUS_OFFSET, FAST, Fast};
    pub use crate::window::*;
}
