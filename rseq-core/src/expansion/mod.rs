//! The part that the expansion of `rseq!` uses. Not for people: it may change in every release.

mod operands;
mod outcome;
pub(crate) mod place;
pub(crate) mod section;
mod values;

pub use operands::*;
pub use outcome::Outcome;
pub use place::{Raw, Shared, Target, WORDS_MAY_HAVE_GAPS, target, valued};
pub use section::{
    Prepared, Section, area, area_for_attempts, area_for_windows, count, window_aborted, window_repeated, with_operands,
};
pub use values::*;

pub use crate::arch::FAST;
#[cfg(rseq_audited)]
pub use crate::audit::expansion::*;
#[cfg(all(debug_assertions, not(rseq_audited)))]
pub use crate::nesting::begins as window_begins;
pub use crate::owner::check_store;
pub use crate::percpu::{Opening, slot_bytes, slot_power};
pub use crate::thread::{CPUS_OFFSET, Fast};
