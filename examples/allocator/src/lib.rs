//! A front end for allocators: small objects are cached per CPU, by restartable sequences.
//!
//! [`PerCpuAlloc`] stands in front of another allocator, the *backend*, and keeps what is freed in arrays of pointers, one for each CPU and class of sizes.
//! Allocating pops a pointer and freeing pushes one, in a section each: without a lock, an atomic instruction or anything that belongs to a thread.
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
//! # What is cached
//!
//! Layouts of up to 1024 bytes that are aligned to no more than 16. There are 20 classes, four for each doubling, so no object has more than a fifth to spare (beyond 64 bytes).
//! All else is the backend's. A class keeps 255 objects on a CPU at most: where one more is freed, it goes to the backend with 32 others, and where there is none, 32 are
//! taken from the backend. So the objects that are cached are bounded by the number of CPUs, whatever the number of threads, and [`PerCpuAlloc::trim`] gives them back.
//!
//! # Where it works
//!
//! Everywhere that the backend does: before `main`, while threads begin and end, in destructors of thread-locals, in a child of `fork`. It takes no memory from
//! itself, and it never panics: where there is no memory for the arrays, everything is the backend's. Where sections run in portable mode, it is as right, and slow.
//!
//! **In handlers of signals** it is as good as the backend: objects that are cached can be had and freed, but on a miss the backend is called, and those of C libraries may
//! deadlock if they were interrupted. A backend that holds signals back while it works makes the whole allocator safe for handlers.
//!
//! **In `prepare`** of an `rseq!` of the program's, nothing must be allocated or freed, as ever: here it is a section in a section, which aborts the outer one each time, so
//! that it never ends. Allocate before the section, free behind it. (The feature `audit` of rseq-dsl says where it is done.)
//!
//! **In a child of `vfork`**, which runs on its parent's memory without being registered, nothing must be allocated.
#![no_std]

mod class;
mod front_end;
mod keeping;
mod stack;
#[cfg(test)]
mod tests;
mod tier;

pub use front_end::PerCpuAlloc;
// What the other modules are compiled by: the tests have them once more by others.
use keeping::keeps;
use rseq::{drain, rseq};

/// What is added to the word of a pile with each change: the next version.
const VERSION: u64 = 1 << 16;
