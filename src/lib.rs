//! Linux restartable sequences (rseq) in ordinary Rust: per-CPU updates without locks or atomic instructions.
//!
//! A *section* prepares an update of its CPU's slot in plain Rust and commits it with a single store. If the kernel preempts,
//! migrates or signals the thread before that store, the section starts again instead of committing, so the store never meets another thread's.
//!
//! ```
//! use rseq::{rseq, PerCpu};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! static HITS: PerCpu<AtomicU64> = PerCpu::new();
//!
//! fn hit() {
//!     rseq! {
//!         prepare |cpu| {
//!             let slot = &HITS[cpu];                  // ordinary Rust: the compiler may do with it what it likes
//!             let next = slot.load(Relaxed) + 1;
//!         }
//!         commit store(slot, next)                    // one instruction, unless the section was interrupted
//!     }
//! }
//!
//! std::thread::scope(|scope| {
//!     for _ in 0..8 {
//!         scope.spawn(|| (0..1000).for_each(|_| hit()));
//!     }
//! });
//! assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 8000);
//! ```
//!
//! - [`rseq!`] is the language of sections, with the rules that `prepare` must keep.
//! - [`PerCpu`] holds the slots; [`CpuId`] selects one.
//! - [`status()`] says whether restartable sequences are in use and, if not, why not. The program is right either way: where
//!   they aren't, sections run in the [`portable`] mode, with a lock per slot.
//! - [`mod@fence`] waits until no earlier section can still commit.
//! - [`abi`] has the structures of the kernel.
//!
//! # Requirements
//!
//! Restartable sequences are used on x86-64 Linux from 4.18 on (fences: 5.10), with any libc: glibc registers threads from 2.35
//! on, elsewhere this crate does. Everything else builds and runs in portable mode. The crate is `no_std`.
//!
//! A section expands to a block of asm, so it can't stand in a crate with `#![forbid(unsafe_code)]`. In one with
//! `#![deny(unsafe_code)]` it can.
#![no_std]

pub use rseq_core::{
    CpuId, IndexKind, Kernel, Libc, MmCid, Mode, PerCpu, Place, Reason, Registrar, Status, Word, abi, fence, portable,
    quiesce, slots, status,
};

/// Compiles a restartable section.
///
/// ```text
/// rseq! {
///     prepare |cpu| { .. }            // optional: ordinary Rust
///     commit store(place, value)      // the one store that publishes the work; or store_release
///     => result                       // optional: the macro's value once committed, `()` without it
///     abort |n| { .. }                // optional: runs after the n-th abort
/// }
/// ```
///
/// - **`prepare`** runs with the section *armed*: whatever interrupts it has the section start again at the commit. Its
///   bindings are visible in the later clauses. It may use loops, calls, `?`, `return`, `break 'outer`, and it may panic: left early, the section commits
///   nothing. `|cpu|` names the [`CpuId`] of the section's slot; it belongs to the first clause, `|cpu: CpuId|` is the same.
/// - **`commit store(place, value)`** stores `value` to `place` if nothing interrupted the section since it began.
///   `place` is a reference to an atomic (`&AtomicU64`, `&AtomicPtr<T>` ..), which is safe, or a raw pointer, for which the macro must
///   stand in an `unsafe` block. `value` is of the type that the atomic holds, or the pointer points to: see [`Word`].
///   The store is relaxed; `store_release` makes everything that the section wrote before visible to whoever reads the value with acquire order.
/// - **`=> result`** is evaluated after the commit, with nothing armed.
/// - **`abort |n| { .. }`** runs after each abort, with nothing armed, so it may do anything, `return` and `break 'outer` included. The section starts again when
///   it falls off its end. `n: u32` counts the aborts of this section so far. Without the clause the section starts again by itself, and gives the processor away
///   after a run of aborts.
///
/// # What `prepare` must not do
///
/// The macro refuses what it can see of this; the rest is up to you. None of it is undefined behaviour by itself, but updates get lost, or a section never ends.
///
/// - **No system call that may block or yield**: no I/O, no lock, no allocation, no first access to a lazily initialised thread-local. From
///   Linux 6.19 on the kernel doesn't tell a section that it was scheduled inside a system call, and the commit then overwrites what others did.
///   Page faults, exceptions and signals are fine.
/// - **No section inside**, be it called or in the allocator: the outer one aborts each time. ([`portable`] mode panics in the end.)
/// - **Stores only to memory that no other thread reaches** before the commit: an abort doesn't undo them.
/// - **Don't trust a pointer that other threads may free**: after a preemption, `prepare` runs on with what it read before, until the
///   commit. Memory that it follows pointers into must stay mapped and of its type.
///
/// # Examples
///
/// A push onto a list per CPU. The node is its pusher's alone until it is committed, so `prepare` may write to it.
///
/// ```
/// use rseq::{rseq, PerCpu};
/// use std::ptr;
/// use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
///
/// #[derive(Default)]
/// struct Node { value: u64, next: AtomicPtr<Node> }
///
/// static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
///
/// fn push(node: &'static Node) {
///     rseq! {
///         prepare |cpu| {
///             let head = &LISTS[cpu];
///             node.next.store(head.load(Relaxed), Relaxed);
///         }
///         commit store_release(head, ptr::from_ref(node).cast_mut())
///     }
/// }
///
/// push(Box::leak(Box::new(Node { value: 7, ..Node::default() })));
/// ```
///
/// Giving up after too many aborts, and a value computed from the section's own bindings:
///
/// ```
/// use rseq::{rseq, PerCpu};
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// static TICKETS: PerCpu<AtomicU32> = PerCpu::new();
///
/// #[derive(Debug)]
/// enum Refused { Busy, SoldOut }
///
/// fn ticket() -> Result<u32, Refused> {
///     let number = rseq! {
///         prepare |cpu| {
///             let sold = &TICKETS[cpu];
///             let number = sold.load(Relaxed);
///             if number == 1000 {
///                 return Err(Refused::SoldOut);
///             }
///         }
///         commit store(sold, number + 1)
///         => number
///         abort |n| {
///             if n > 100 { return Err(Refused::Busy); }
///         }
///     };
///     Ok(number)
/// }
/// # assert_eq!(ticket().unwrap(), 0);
/// ```
#[macro_export]
macro_rules! rseq {
    ($($tokens:tt)*) => {
        $crate::__private::__with_emitter! { $crate section $($tokens)* }
    };
}

/// A section with one step of the protocol left out: for negative controls alone, because it loses updates.
#[cfg(feature = "mutants")]
#[doc(hidden)]
#[macro_export]
macro_rules! __mutant {
    ([$mutation:ident] $($tokens:tt)*) => {
        $crate::__private::__with_emitter! { $crate mutant [$mutation] $($tokens)* }
    };
}

/// What expansions use. Not for people: it may change in every release.
#[doc(hidden)]
pub mod __private {
    pub use core;

    pub use rseq_core::expansion::*;
    pub use rseq_core::{__with_emitter, CpuId, MmCid, PerCpu, Word};
    #[cfg(feature = "mutants")]
    pub use rseq_macros::mutant;
    pub use rseq_macros::section;
}

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
