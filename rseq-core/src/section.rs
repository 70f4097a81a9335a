//! A section from its first instruction to its last, as the expansion of `rseq!` drives it.

use core::hint::black_box;
use core::mem::forget;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::abi::{Descriptor, Rseq};
use crate::cpu::CpuId;
use crate::mode::{self, Mode};
use crate::portable;
use crate::thread::{Armed, FAST, Located};
use crate::{arch, register, sys};

/// A section that has begun: its descriptor is armed, or it holds a slot in portable mode. Whatever way the section is left, dropping this
/// takes it out of force; a commit that succeeded has done so already.
#[derive(Debug)]
pub struct Section {
    thread: Located,
    index: CpuId,
}

impl Section {
    /// Arms the thread's descriptor and reads the CPU, in this order; in portable mode, locks a slot.
    #[inline(always)]
    pub fn enter() -> Self {
        loop {
            let thread = arch::locate();
            // SAFETY: this thread's, as of just now.
            let Armed { cpu, cpus } = unsafe { arch::arm(thread) };
            // One comparison for an id that has no slot, a thread that isn't registered (its id is a huge number), the
            // portable mode and a process that hasn't decided yet (no id has a slot).
            if cpu < cpus {
                return Self { thread, index: CpuId::checked(cpu) };
            }
            if let Some(index) = enter_slowly_from_here::<0>() {
                return Self { thread: arch::locate(), index };
            }
        }
    }

    /// The slot that the section works on.
    #[inline(always)]
    pub fn index(&self) -> CpuId {
        self.index
    }

    /// The thread descriptor, for the commit block to publish its window in.
    #[inline(always)]
    pub fn descriptor(&self) -> *mut Descriptor {
        self.thread.descriptor
    }

    /// The thread's area, for the commit block's check and disarming.
    #[inline(always)]
    pub fn area(&self) -> *mut Rseq {
        self.thread.area
    }

    /// The commit block has published and disarmed: nothing is left to do.
    #[inline(always)]
    pub fn committed(self) {
        forget(self);
    }

    /// The commit block went to its abort handler, or there is none: publishes now if the section holds a slot in portable mode. Says
    /// whether it did; nothing is in force afterwards. If it didn't and there is no `abort` clause, relaxes.
    #[inline(always)]
    pub fn aborted(self, relax: bool, publish: impl FnOnce()) -> bool {
        let index = self.index;
        // What dropping does is done there, so that here the section stays in registers.
        forget(self);
        end_aborted(index, relax, publish)
    }
}

impl Drop for Section {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the area of the thread that armed it: a section never changes threads, being neither Send nor able to await.
        unsafe { arch::disarm(self.thread.area) };
        if is_portable(self.index) {
            portable::leave(self.index);
        }
    }
}

/// The section of this index holds a slot instead of being armed. In portable mode no index is below that number of CPUs, and in the
/// other mode the shared slot's isn't.
#[inline(always)]
fn is_portable(index: CpuId) -> bool {
    index.get() >= FAST.cpus()
}

/// See [`Section::aborted`]. Generic, and so in the crate of the section: there the call needs no address from a table, which the compiler would load
/// ahead of every section.
#[cold]
#[inline(never)]
fn end_aborted(index: CpuId, relax: bool, publish: impl FnOnce()) -> bool {
    let section = Section { thread: arch::locate(), index };
    let committed = is_portable(index) && portable::commit(index, publish);
    drop(section);
    if relax && !committed {
        relax_after_run();
    }
    committed
}

/// [`enter_slowly`], generic for the same reason as [`end_aborted`].
#[cold]
#[inline(never)]
fn enter_slowly_from_here<const HERE: u8>() -> Option<CpuId> {
    enter_slowly()
}

/// What a section does whose CPU has no slot: decides the mode, registers the thread, or locks a slot. Without an index, the
/// section begins again and will find its CPU.
#[cold]
#[inline(never)]
fn enter_slowly() -> Option<CpuId> {
    disarm_this_thread();
    match mode::decide() {
        Mode::Portable(_) => Some(portable::enter()),
        Mode::Rseq(registrar) if register::ensure(registrar) => None,
        Mode::Rseq(_) => Some(portable::enter_shared()),
    }
}

/// Makes sure that no section which the calling thread is inside of can commit. For what `prepare` may do only at this price: the
/// section starts again and finds it done.
pub(crate) fn disarm_this_thread() {
    // SAFETY: the calling thread's area.
    unsafe { arch::disarm(arch::locate().area) };
}

/// One more abort of a section. Out of line and opaque, lest the compiler unroll a section for each number of aborts that its `abort` clause
/// tells apart.
#[cold]
#[inline(never)]
pub fn count<const HERE: u8>(aborts: u32) -> u32 {
    black_box(aborts).saturating_add(1)
}

/// What a section without an `abort` clause does after each abort: after a run of them it gives the processor away once, because whoever
/// keeps interrupting may have to finish first.
fn relax_after_run() {
    const RUN: u32 = 64;
    /// The aborts of all threads: a count of its own for every section would cost those that don't abort.
    static ABORTS: AtomicU32 = AtomicU32::new(0);
    if ABORTS.fetch_add(1, Relaxed) % RUN == RUN - 1 {
        sys::yield_now();
    }
}
