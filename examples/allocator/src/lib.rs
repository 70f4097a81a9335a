//! A front end for allocators: small objects are cached per CPU, by restartable sequences.
//!
//! [`PerCpuAlloc`] stands in front of another allocator, the *backend*, and keeps what is freed in
//! arrays of pointers, one for each CPU and class of sizes. Allocating pops a pointer and freeing
//! pushes one, in a section each: without a lock, an atomic instruction or anything that belongs to
//! a thread. What a CPU has too many of goes to those that have too few, 32 at a time, by atomic
//! instructions alone. The README says who gains by it, and who doesn't.
//!
//! ```
//! use rseq_allocator::PerCpuAlloc;
//! use std::alloc::System;
//!
//! #[global_allocator]
//! static GLOBAL: PerCpuAlloc<System> = PerCpuAlloc::new(System);
//!
//! let words: Vec<String> = "as any program".split(' ').map(str::to_owned).collect();
//! assert_eq!(words.len(), 3);
//! ```
//!
//! # What is kept
//!
//! Objects of layouts of up to 1024 bytes that are aligned to no more than 16. There are 20
//! classes, four for each doubling, so no object has more than a fifth to spare (beyond 64 bytes).
//! All else is the backend's.
//!
//! - *On each CPU*, a class keeps up to 255 objects, and up to 64 KiB. Where one more is freed, 32
//!   others leave for the tier between the CPUs, and where there is none, 32 are taken from it.
//! - *Between the CPUs*, a class keeps up to 512 such batches, and up to 2 MiB: but no more than it
//!   has lately asked the backend for. Each batch that the backend is asked for makes it one more,
//!   and each one that is too much one less. All classes together keep some 250 batches for each
//!   CPU that there can be, and as many more.
//! - Batches that are too many go to the backend, and those that are missing come from it.
//!
//! So what is kept is bounded by the number of CPUs, whatever the number of threads, and **what is
//! used no more isn't kept for ever**: where far more of a class is freed than asked for, it wants
//! less and less, and in the end nothing. Then everything that it keeps, on all CPUs, goes back to
//! the backend (which takes a [fence](rseq::fence) for each CPU that has some), the batches that
//! were freed first before the others, and the rest of what is freed follows without being kept,
//! until the class is asked for an object again.
//!
//! [`PerCpuAlloc::trim`] gives back all that is kept at any time. Whether the backend returns that
//! to the system is another question: glibc's does so by itself only with what is free at the end
//! of its heap, and with the rest when `malloc_trim` is called. So to make a program as small as it
//! can be, call `trim`, and then `malloc_trim`.
//!
//! # Where it works
//!
//! Everywhere that the backend does: before `main`, while threads begin and end, in destructors of
//! thread-locals, in a child of `fork`. It takes no memory from itself, and it never panics: where
//! there is no memory for the arrays, everything is the backend's. In portable mode, where sections
//! can't be restarted, it keeps nothing and hands everything on to the backend, which has locks of
//! its own.
//!
//! **In handlers of signals** it is as good as the backend: objects that are cached can be had and
//! freed, but on a miss the backend is called, and those of C libraries may deadlock if they were
//! interrupted. A backend that holds signals back while it works makes the whole allocator safe for
//! handlers.
//!
//! **In `prepare`** of an `rseq!` of the program's, nothing must be allocated or freed, as ever:
//! here it is a section in a section, which aborts the outer one each time, so that it never ends.
//! Allocate before the section, free behind it. (The feature `audit` of rseq-dsl says where it is
//! done.)
//!
//! **In a child of `fork`** nothing is locked that another thread of the parent's had locked. What
//! such a thread was moving is lost to the child, a batch at most, or what it was trimming; and a
//! stack that it had stopped stays empty there.
//!
//! **In a child of `vfork`**, which runs on its parent's memory without being registered, nothing
//! must be allocated.
#![no_std]

mod class;
mod front_end;
mod keeping;
mod stack;
#[cfg(test)]
mod tests;
mod tier;

pub use front_end::PerCpuAlloc;
// The names by which the other modules are compiled: the tests have them once more by others.
use keeping::keeps;
use rseq::{drain, rseq};

/// The addition to the word of a pile with each change: the next version.
const VERSION: u64 = 1 << 16;
