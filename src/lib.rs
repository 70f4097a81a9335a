//! Linux restartable sequences (rseq) in ordinary Rust: per-CPU updates without locks or atomic
//! instructions.
//!
//! A *section* prepares an update of its CPU's slot in plain Rust and commits it with a single
//! instruction. If the kernel preempts, migrates or signals the thread before that, the section
//! starts again instead of committing, so its store never meets another thread's.
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
//!             let slot = &HITS[cpu];                  // ordinary Rust
//!             let next = slot.load(Relaxed) + 1;
//!         }
//!         commit store(slot, next)                    // one instruction, unless interrupted
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
//! The types that most programs want are built on it: [`Counter`], [`Histogram`], [`Stack`],
//! [`Pool`], [`Ring`].
//!
//! - [`rseq!`] is the language of sections, with the rules that `prepare` must keep.
//! - [`PerCpu`] holds the slots; [`CpuId`] or [`MmCid`] selects one.
//! - [`status()`] says whether restartable sequences are in use and, if not, why not. The program
//!   is right either way: where they aren't, sections run in the [`portable`] mode, with a lock per
//!   slot.
//! - [`mod@fence`] waits until no earlier section can still commit; [`drain`] takes what lies in
//!   another CPU's slot.
//! - [`abi`] has the structures of the kernel.
//!
//! # With other crates
//!
//! Each of these is behind a feature, and depends on nothing without it:
//!
//! | feature | |
//! |---|---|
//! | `serde` | [`Snapshot`]s are stored and sent, [`Counter`]s are written as their sum |
//! | `prometheus-client` | `rseq::prometheus`: counters and histograms in the registry of that crate |
//! | `metrics` | `rseq::metrics`: a recorder for the macros of that crate, shown to Prometheus with the feature above |
//! | `opentelemetry` | `rseq::opentelemetry`: counters and histograms for the SDK of OpenTelemetry, with attributes; with `opentelemetry-otlp` histograms reach a collector as such |
//! | `tracing` | `rseq::tracing`: a layer that counts events and measures spans |
//!
//! # Signal handlers
//!
//! A function whose documentation says *async-signal-safe* may be called in a handler that comes in
//! between anywhere, the same function and the allocator included; others say what keeps them from
//! it. Those are few: [`Pool::take`] and dropping what it gave, which [`Pool::try_take`] and
//! [`Pooled::try_return`] are there for, and snapshots. Sections are as safe as what their
//! `prepare` does. (`docs/handlers.md` has a table.)
//!
//! # Auditing sections
//!
//! With the feature `audit`, sections that break the rules of
//! [`prepare`](rseq!#what-prepare-must-not-do) are reported on the standard error, with file and
//! line, where they do it, and the program is aborted there, so that a debugger or a core dump
//! shows how it came to it:
//!
//! ```text
//! cargo test --features rseq-dsl/audit
//! rseq audit: src/stats.rs:41:9: `prepare` made system call 202 (futex); a section that ..
//! ```
//!
//! | what is caught | how |
//! |---|---|
//! | a system call in `prepare`, or in what is evaluated for the window | Syscall User Dispatch (Linux 5.11), where it is made |
//! | without that: one that sleeps | `getrusage` around the section, once it did so in 100 attempts in a row |
//! | a section that `prepare` runs | where the inner one begins |
//! | one that was abandoned by `longjmp`, or left by a switch of stacks (green threads), or that goes on on another thread | at the next section or system call of the thread |
//! | one that aborts without end | after 100,000 times in a row |
//! | a store to a slot of another index; a place that two threads, by two indices, commit to at once | behind the window |
//! | one in a child that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`) | the kernel is asked before each |
//!
//! A section that leaves early, by `return` or a panic, may do what it likes on its way, as it
//! commits nothing: so a system call or an inner section is only noted at first, and reported when
//! the section comes to its window all the same, or does it again in its next attempt. Handlers
//! that interrupt `prepare` may make calls and run sections. `RSEQ_AUDIT=report` in the environment
//! has the program go on after a report; each section then says each thing once.
//! `RSEQ_AUDIT_ORACLE=sleeps` does without Syscall User Dispatch.
//!
//! Two threads have a place at once if neither has it before the other is through: what they get
//! from each other by turns, by a lock, a drain or an allocator, is reported for nobody. Where
//! another thread committed before, a section waits some microseconds in front of its window, a
//! second in all, so that it doesn't take luck to meet. It takes two CPUs.
//!
//! *What it costs*: a `prepare` costs a microsecond more, for four system calls around it (three
//! without the dispatch), a section without one a system call, and each thread 32 bytes that are
//! never given back; the last commits take 128 KiB. Without the feature, sections are what they
//! were, to the instruction. It belongs into tests and not into what is shipped.
//!
//! *What it can't see*: portable mode, where system calls do no harm. What `prepare` does in an
//! attempt that was interrupted before, which harms nobody either: the next attempt is looked at. A
//! call that `prepare` never returns from. Sections of other shared objects, each of which is
//! audited by itself. Places that are found in the window, behind a pointer that it loads or by an
//! element's number (the explorer sees these). Rules about memory: scratch stores to what others
//! reach, pointers to what others free.
//!
//! *What it changes*: `SIGSYS` has a handler, which hands on what isn't its own, and is let through
//! on threads that run sections. It runs on the stack of whoever makes the call, and takes some KiB
//! of it. A program that installs its own handler for it later is ended by that signal, or sees it,
//! where a call would have been reported; one that uses Syscall User Dispatch itself can't be
//! audited.
//!
//! # Requirements
//!
//! Restartable sequences are used on Linux from 4.18 on (fences: 5.10) on x86-64, i686 with SSE2,
//! aarch64, arm (version 7, in ARM state), riscv64, s390x, powerpc64le and loongarch64, with any
//! libc: glibc registers threads from 2.35 on, elsewhere this crate does. arm64 kernels from 6.19
//! to 7.0.13 are broken, and found out. Everything else builds and runs in portable mode, and so
//! does every build for Miri or for the thread or memory sanitizer, which can't look into asm. The
//! crate is `no_std`; [`Counter`] and [`Histogram`] are for targets with atomics of 64 bits.
//!
//! A section expands to a block of asm, so it can't stand in a crate with
//! `#![forbid(unsafe_code)]`. In one with `#![deny(unsafe_code)]` it can.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "tracing"))]
extern crate std;

mod cells;
// They count by 64 bits.
#[cfg(target_has_atomic = "64")]
mod counter;
mod current;
#[cfg(target_has_atomic = "64")]
mod histogram;
#[cfg(target_has_atomic = "64")]
mod integrations;
#[cfg(feature = "alloc")]
mod pool;
mod ring;
mod stack;

#[cfg(target_has_atomic = "64")]
pub use counter::Counter;
#[cfg(target_has_atomic = "64")]
pub use histogram::Histogram;
#[cfg(all(feature = "alloc", target_has_atomic = "64"))]
pub use histogram::{Bucket, DifferentParts, Snapshot};
#[cfg(all(feature = "metrics", target_has_atomic = "64"))]
pub use integrations::metrics;
#[cfg(all(feature = "opentelemetry", target_has_atomic = "64"))]
pub use integrations::opentelemetry;
#[cfg(all(feature = "prometheus-client", target_has_atomic = "64"))]
pub use integrations::prometheus;
#[cfg(all(feature = "tracing", target_has_atomic = "64"))]
pub use integrations::tracing;
#[cfg(feature = "alloc")]
pub use pool::{Pool, Pooled};
pub use ring::{Drain, Ring};
pub use rseq_core::{
    AllocError, CpuId, IndexKind, Kernel, Libc, MmCid, Mode, PerCpu, Place, Reason, Registrar, SliceExtension, Slots,
    SlotsMut, Status, Word, abi, drain, fence, portable, quiesce, slots, status,
};
pub use stack::Stack;

/// Compiles a restartable section.
///
/// ```text
/// rseq! {
///     prepare |cpu| { .. }            // optional: ordinary Rust
///     critical { .. }                 // optional: steps that become part of the window
///     commit store(place, value)      // the one instruction that publishes the work
///     => result                       // optional: the macro's value, once committed
///     abort |n| { .. }                // optional: runs after the n-th abort
/// }
/// ```
///
/// - **`prepare`** runs with the section *armed*: whatever interrupts it has the section start
///   again at the commit. Its bindings are visible in the later clauses. It may use loops, calls,
///   `?`, `return`, `break 'outer`, and it may panic: left early, the section commits nothing.
/// - **`critical`** is the part that is never resumed: an interruption anywhere in it leads back to
///   the start at once. Its steps are below.
/// - **`commit`** publishes: `store(place, value)` and `store_release(place, value)` store, `add`,
///   `sub`, `and`, `or` and `xor` change what is at the place, wrapping. All are relaxed but
///   `store_release`, which makes everything that the section wrote before visible to whoever reads
///   the value with acquire order.
/// - **`=> result`** is evaluated after the commit, with nothing armed. It may name what `critical`
///   bound.
/// - **`abort |n| { .. }`** runs after each abort, with nothing armed, so it may do anything,
///   `return` and `break 'outer` included. The section starts again when it falls off its end. `n:
///   u32` counts the aborts of this section so far. Without the clause the section starts again by
///   itself, and gives the processor away after a run of aborts.
///
/// **The index** is named by the first clause: `|cpu|` or `|cpu: CpuId|` for the CPU, `|cid:
/// MmCid|` for the concurrency id. `&STATS[cpu]` is its slot in a [`PerCpu`]. A section without
/// `prepare` reads the index in the window, which is the shortest code there is:
///
/// ```
/// # use rseq::{rseq, PerCpu};
/// # use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// static HITS: PerCpu<AtomicU64> = PerCpu::new();
///
/// rseq! { commit |cpu| add(&HITS[cpu], 1) }
/// # assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 1);
/// ```
///
/// A section without an index is refused: nothing would say that no other CPU changes the same
/// place. `|_cpu|` says that its place is this thread's or this CPU's alone for another reason. In
/// debug builds a section that stored to a slot of another index, by a place that was evaluated
/// before the window, panics behind its commit or exit. (Where the window has every register in
/// use, nobody asks.)
///
/// **What the section works on lives until its window is over**: temporaries in the expressions for
/// places, operands and slots as long as in a `match` on them, and what they borrow is borrowed so
/// long.
///
/// **Places** are references to atomics (`&AtomicU64`, `&AtomicPtr<T>` ..), which are safe, or raw
/// pointers, for which the macro must stand in an `unsafe` block. What they hold has 8 to 64 bits:
/// integers, `bool`, pointers, `Option<NonNull<T>>` and your own types, see [`Word`].
///
/// # The steps of `critical`
///
/// | step | meaning |
/// |---|---|
/// | `let name = load(place);` | loads; `let name: Type = ..` if the type must be said |
/// | `let name = left + right;` | one operation: `+ - & \| ^ << >>`, wrapping, the count of a shift modulo the width |
/// | `if left == right { exit value }` | leaves without committing: `value` is the macro's; also `!= < <= > >=` |
/// | `store(place, operand);` | a scratch store: to what nobody reads before the commit, such as the slot behind the last of a stack |
/// | `copy(from, to, length);` | copies bytes between raw pointers, as a scratch store |
///
/// - **Operands** are names that the steps bound, literals, `null`, or any Rust expression without
///   such names, which is evaluated *before* the window and, if there is no `prepare`, outside of
///   any protection: what may change meanwhile belongs into a `load`.
/// - **Places found in the window**: `&(*pointer).field` behind a pointer that was loaded,
///   `&STATS[cpu].field` in a slot, `&items[len]` and `&(*pointer).items[len]` in arrays, slices
///   and behind raw pointers. `&raw mut (*pointer).field` is a field that is no atomic. Following a
///   pointer and selecting an element need `unsafe` around the macro: nobody checks them but the
///   section itself.
/// - **Values stay in registers**, of which there are ten or so. A window that needs more at once
///   is refused, and the message names them.
/// - **Nothing else**: no calls, no loops, no branches but exits. What is needed beyond is
///   `prepare`'s.
///
/// Taking the first node from a list. A node that another thread took and freed meanwhile is never
/// touched, because whoever took it interrupted this window:
///
/// ```
/// use rseq::{rseq, PerCpu};
/// use std::{ptr::NonNull, sync::atomic::{AtomicPtr, Ordering::Relaxed}};
///
/// #[derive(Default)]
/// struct Node { value: u64, next: AtomicPtr<Node> }
///
/// static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
///
/// fn pop() -> Option<NonNull<Node>> {
///     // SAFETY: a node in a list is valid.
///     unsafe {
///         rseq! {
///             critical |cpu| {
///                 let first = load(&LISTS[cpu]);
///                 if first == null { exit None }
///                 let rest = load(&(*first).next);
///             }
///             commit store(&LISTS[cpu], rest)
///             => NonNull::new(first)
///         }
///     }
/// }
/// assert_eq!(pop(), None);
/// ```
///
/// A push onto a bounded array: the item is stored where nobody looks yet, and published by the
/// length.
///
/// ```
/// use rseq::{rseq, PerCpu};
/// use std::sync::atomic::{AtomicU64, AtomicUsize};
///
/// #[derive(Default)]
/// struct Stack { len: AtomicUsize, items: [AtomicU64; 16] }
///
/// static STACKS: PerCpu<Stack> = PerCpu::new();
///
/// fn push(item: u64) -> bool {
///     // SAFETY: `len` is compared with the number of items.
///     unsafe {
///         rseq! {
///             prepare |cpu| { let stack = &STACKS[cpu]; }
///             critical {
///                 let len = load(&stack.len);
///                 if len == 16 { exit false }
///                 store(&stack.items[len], item);
///             }
///             commit add(&stack.len, 1)
///             => true
///         }
///     }
/// }
/// assert!(push(7));
/// ```
///
/// # What `prepare` must not do
///
/// The macro refuses what it can see of this; the rest is up to you. None of it is undefined
/// behaviour by itself, but updates get lost, or a section never ends.
///
/// - **No system call that may block or yield**: no I/O, no lock, no allocation, no first access to
///   a lazily initialised thread-local. From Linux 6.19 on the kernel doesn't tell a section that
///   it was scheduled inside a system call, and the commit then overwrites what others did. Page
///   faults, exceptions and signals are fine.
/// - **No section inside**, be it called or in the allocator: the outer one aborts each time. After
///   100,000 times in a row debug builds panic, where the section stands, and so does [`portable`]
///   mode. A release build goes on without end: nothing in its fast path could tell.
/// - **Nothing that suspends it**: an `.await` is refused where the macro sees it, but not behind a
///   macro of yours, and neither is a switch of stacks. Debug builds panic where the section goes
///   on while another one of its thread is under way; release builds may lose updates.
/// - **Stores only to memory that no other thread reaches** before the commit: an abort doesn't
///   undo them.
/// - **Don't trust a pointer that other threads may free**: after a preemption, `prepare` runs on
///   with what it read before, until the commit. Memory that it follows pointers into must stay
///   mapped and of its type. (`critical` has no such rule.)
///
/// # Where no section may run
///
/// In a child that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`), before it calls
/// `exec`: it takes the parent's area for its own, while the kernel keeps that for the parent
/// alone. Sections lose updates there, with `prepare` or without, and in [`portable`] mode such a
/// child passes for its parent. [`status()`] says so where sections are restartable, and audits
/// report it. (Children of `fork` have an area, and so have threads that `clone` makes with
/// thread-locals of their own.)
///
/// # Examples
///
/// A push onto a list per CPU. The node is its pusher's alone until it is committed, so `prepare`
/// may write to it.
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

/// A section with one step of the protocol left out or in the wrong place: for negative controls
/// alone, because it loses updates.
#[cfg(feature = "mutants")]
#[doc(hidden)]
#[macro_export]
macro_rules! __mutant {
    ([$mutation:ident] $($tokens:tt)*) => {
        $crate::__private::__with_emitter! { $crate mutant [$mutation] $($tokens)* }
    };
}

/// Items that expansions use. Not for people: it may change in every release.
#[doc(hidden)]
pub mod __private {
    pub use core;

    pub use rseq_core::expansion::*;
    pub use rseq_core::{__with_emitter, CpuId, MmCid, PerCpu, Word};
    pub use rseq_macros::section;
    #[cfg(feature = "mutants")]
    pub use rseq_macros::{mutant, mutations};
}

/// Elements that no window can select.
///
/// ```compile_fail
/// use rseq::rseq;
/// use std::sync::atomic::AtomicU8;
///
/// fn far(rows: *mut [AtomicU8; 1 << 31], row: usize) {
///     // SAFETY: this doesn't compile.
///     unsafe {
///         rseq! {
///             critical |_cpu| { let first = load(&raw const rows[row]); }
///             commit store(first, 1)
///         }
///     }
/// }
/// far(std::ptr::null_mut(), 0);
/// ```
#[cfg(doctest)]
struct ElementsOfGigabytes;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
