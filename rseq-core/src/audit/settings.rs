//! How this process is audited: decided once, by its first section. And where its descriptors lie.

use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::linux;
use crate::abi::Descriptor;
use crate::{arch, sys};

/// Set to `report`, it has the program go on after a report.
const VARIABLE: &CStr = c"RSEQ_AUDIT";
/// Set to `sleeps`, it has system calls noticed as where the kernel doesn't dispatch them.
const ORACLE: &CStr = c"RSEQ_AUDIT_ORACLE";

/// How system calls are noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Oracle {
    /// Not at all, because it isn't decided yet.
    None,
    /// Each, where it is made.
    Dispatch,
    /// Those that sleep, when the section is over.
    Sleeps,
}

/// The decision: 0 before it is made, else some of the bits below.
static SETTINGS: AtomicU32 = AtomicU32::new(0);
const DECIDING: u32 = 1;
const DECIDED: u32 = 2;
const DISPATCH: u32 = 4;
const GOES_ON: u32 = 8;

/// How system calls are noticed; decides it for the first that asks, by whether they can be
/// dispatched.
pub(super) fn oracle(dispatches: impl FnOnce() -> bool) -> Oracle {
    let settings = match SETTINGS.load(Acquire) {
        0 => decide(dispatches),
        settings => settings,
    };
    match settings {
        settings if settings & DECIDED == 0 => Oracle::None,
        settings if settings & DISPATCH != 0 => Oracle::Dispatch,
        _ => Oracle::Sleeps,
    }
}

/// True if the program is to go on after a report.
pub(super) fn goes_on() -> bool {
    SETTINGS.load(Acquire) & GOES_ON != 0
}

/// Others, on whatever thread or in a handler on top of this, don't wait for it: they aren't
/// watched yet.
#[cold]
fn decide(dispatches: impl FnOnce() -> bool) -> u32 {
    if let Err(settings) = SETTINGS.compare_exchange(0, DECIDING, Acquire, Acquire) {
        return settings;
    }
    let mut settings = DECIDED;
    if sys::environment_says(VARIABLE, c"report") {
        settings |= GOES_ON;
    }
    if !sys::environment_says(ORACLE, c"sleeps") && dispatches() {
        settings |= DISPATCH;
    }
    SETTINGS.store(settings, Release);
    settings
}

/// Memory for descriptors where they block system calls. It is never given back: a thread leaves
/// its descriptor behind, 32 bytes.
static MEMORY: AtomicPtr<Descriptor> = AtomicPtr::new(null_mut());
static USED: AtomicUsize = AtomicUsize::new(0);
const BYTES: usize = 64 << 20;

/// Reserves it. Another image may have been there before.
pub(super) fn reserve() -> bool {
    const PLACES: usize = 256;
    let places = arch::BLOCKING.step_by(arch::BLOCKING.len() / PLACES);
    let memory = places.into_iter().find_map(|place| linux::memory_at(place, BYTES));
    MEMORY.store(memory.unwrap_or(null_mut()).cast(), Release);
    memory.is_some()
}

/// A descriptor for a thread, which begins as that one; `None` if there is no memory for it.
pub(super) fn new_descriptor(usual: *const Descriptor) -> Option<*mut Descriptor> {
    let memory = MEMORY.load(Acquire);
    if memory.is_null() {
        return None;
    }
    let used = USED.fetch_add(1, Relaxed);
    if used >= BYTES / size_of::<Descriptor>() {
        return None;
    }
    let descriptor = memory.wrapping_add(used);
    // SAFETY: in the memory, and nobody else's; the usual one is the calling thread's.
    unsafe { descriptor.write(*usual) };
    Some(descriptor)
}
