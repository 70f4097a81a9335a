//! The steps of a window, on real memory and virtual registers.

use std::marker::PhantomData;
use std::ptr;
use std::rc::Rc;

use rseq::Word;

use super::section::{ModelIndex, area, descriptor};
use crate::model::code::Code;
use crate::model::kernel::{CPUS, Descriptor, Thread};
use crate::model::running::{self, comes_to};

/// A window that runs, with its registers.
#[derive(Debug)]
pub struct ModelWindow<I, const N: usize> {
    code: &'static Code,
    /// The registers that its steps work on. Values are zero-extended.
    pub registers: [usize; N],
    index: PhantomData<I>,
}

/// A copy of which a half is done.
#[derive(Debug)]
#[must_use]
pub struct HalfCopied {
    from: usize,
    to: usize,
    length: usize,
}

impl<I: ModelIndex, const N: usize> ModelWindow<I, N> {
    /// A window starts. Without a `prepare`, so does its section.
    #[must_use]
    pub fn begin(code: &'static Code, watched: bool, registers: [usize; N]) -> Self {
        if !watched {
            running::thread().begins();
        }
        Self { code, registers, index: PhantomData }
    }

    /// True if the thread goes on with the abort handler instead of this step.
    pub fn is_aborted(&self, step: usize) -> bool {
        !comes_to(self.code, step)
    }

    /// The thread descriptor covers this window from now on.
    pub fn publish(&self, descriptor: usize) {
        thread_with(descriptor).published.set(Some(self.code));
    }

    /// This window's own descriptor comes into force.
    pub fn arm(&self, area: usize) {
        thread_of(area).area.in_force.set(Some(Descriptor::OfWindow(self.code)));
    }

    /// The descriptor goes out of force.
    pub fn disarm(&self, area: usize) {
        thread_of(area).area.in_force.set(None);
    }

    /// True if the thread descriptor is still in force.
    #[must_use]
    pub fn check_armed(&self, area: usize, descriptor: usize) -> bool {
        thread_with(descriptor);
        matches!(thread_of(area).area.in_force.get(), Some(Descriptor::OfThread))
    }

    /// True if the thread still has the index.
    #[must_use]
    pub fn check_index(&self, area: usize, index: usize) -> bool {
        I::of(&thread_of(area)) == index
    }

    /// True if the thread's CPU has a slot.
    #[must_use]
    pub fn check_registered(&self, area: usize) -> bool {
        thread_of(area).area.cpu.get() < CPUS
    }

    /// The thread's index.
    #[must_use]
    pub fn read_index(&self, area: usize) -> usize {
        let thread = thread_of(area);
        let index = I::of(&thread);
        thread.gets_index(index);
        index
    }

    /// The address of an index's slot, unless the slots were never used.
    ///
    /// # Safety
    /// `slots` is the address of a `PerCpu` that is borrowed, with `bytes` from slot to slot.
    #[must_use]
    pub unsafe fn find_slot(&mut self, to: usize, slots: usize, index: usize, bytes: usize) -> bool {
        // SAFETY: the caller's: the first word of a `PerCpu` is the address of its first slot.
        let first = unsafe { read(slots, size_of::<usize>()) };
        if first == 0 {
            running::thread().lacks_slots();
        }
        self.registers[to] = first + index * bytes;
        first != 0 && index < CPUS
    }

    /// The word at an address.
    ///
    /// # Safety
    /// A place of the section, which may be read.
    #[must_use]
    pub unsafe fn load<V: Word>(&self, at: usize) -> usize {
        // SAFETY: the caller's.
        unsafe { read(at, size_of::<V>()) }
    }

    /// A scratch store.
    ///
    /// # Safety
    /// A place of the section, which may be written.
    pub unsafe fn store<V: Word>(&self, at: usize, value: usize) {
        running::thread().stores();
        // SAFETY: the caller's.
        unsafe { write(at, value, size_of::<V>()) };
    }

    /// The commit.
    ///
    /// # Safety
    /// As that of [`store`](Self::store).
    pub unsafe fn commit<V: Word>(&self, at: usize, value: usize) {
        let thread = running::thread();
        thread.commits((I::ARENA, I::of(&thread)), at);
        // SAFETY: the caller's.
        unsafe { write(at, value, size_of::<V>()) };
    }

    /// Copies the first half of some bytes.
    ///
    /// # Safety
    /// The places may be read and written, and don't overlap.
    pub unsafe fn copy_half(&self, from: usize, to: usize, length: usize) -> HalfCopied {
        running::thread().stores();
        let half = length / 2;
        // SAFETY: the caller's.
        unsafe { copy(from, to, half) };
        HalfCopied { from: from + half, to: to + half, length: length - half }
    }
}

impl HalfCopied {
    /// Copies the other half.
    ///
    /// # Safety
    /// As for the first.
    pub unsafe fn finish(self) {
        // SAFETY: the caller's.
        unsafe { copy(self.from, self.to, self.length) };
    }
}

/// The thread whose area this is: the one that runs.
fn thread_of(address: usize) -> Rc<Thread> {
    assert_eq!(address, area().addr(), "the register holds the thread's area");
    running::thread()
}

/// The thread whose descriptor this is: the one that runs.
fn thread_with(address: usize) -> Rc<Thread> {
    assert_eq!(address, descriptor().addr(), "the register holds the thread's descriptor");
    running::thread()
}

/// # Safety
/// So many bytes may be read there: 1, 2, 4 or 8.
unsafe fn read(at: usize, bytes: usize) -> usize {
    // SAFETY: the caller's.
    unsafe {
        match bytes {
            1 => ptr::with_exposed_provenance::<u8>(at).read_unaligned().into(),
            2 => ptr::with_exposed_provenance::<u16>(at).read_unaligned().into(),
            4 => ptr::with_exposed_provenance::<u32>(at).read_unaligned() as usize,
            _ => ptr::with_exposed_provenance::<u64>(at).read_unaligned() as usize,
        }
    }
}

/// # Safety
/// So many bytes may be written there: 1, 2, 4 or 8.
unsafe fn write(at: usize, value: usize, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        match bytes {
            1 => ptr::with_exposed_provenance_mut::<u8>(at).write_unaligned(value as u8),
            2 => ptr::with_exposed_provenance_mut::<u16>(at).write_unaligned(value as u16),
            4 => ptr::with_exposed_provenance_mut::<u32>(at).write_unaligned(value as u32),
            _ => ptr::with_exposed_provenance_mut::<u64>(at).write_unaligned(value as u64),
        }
    }
}

/// # Safety
/// So many bytes may be read and written there, and don't overlap.
unsafe fn copy(from: usize, to: usize, length: usize) {
    let (from, to) = (ptr::with_exposed_provenance::<u8>(from), ptr::with_exposed_provenance_mut(to));
    // SAFETY: the caller's.
    unsafe { ptr::copy_nonoverlapping(from, to, length) };
}
