//! Thread blocks in an image's own memory: for shared objects whose thread-local storage isn't
//! known to be static, so that no address of a block is known without asking the loader, which may
//! allocate.
//!
//! A block is found by the thread pointer, without a lock, in signal handlers too, and is gone with
//! the image. It belongs to a thread pointer, so the next thread that has the same uses it again.
//! Of blocks whose thread has ended, others are taken when all are in use: those of threads of
//! whose thread pointer there is no memory any more. Threads for which there is none work on the
//! shared slot, as those do that the kernel refuses.

use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::abi::Descriptor;
use crate::sys;
use crate::thread::ThreadBlock;

/// So many threads at once have a block.
const BLOCKS: usize = 512;

/// In a word of [`Table::owners`]: nobody finds the block, while it is looked whether its thread
/// still is. (Thread pointers are multiples of more.)
const WITHHELD: usize = 1;

/// The blocks of this image, which cost an executable nothing but zeroes that nobody touches.
struct Table {
    /// The thread pointers of those that the blocks belong to, 0 for nobody.
    owners: [AtomicUsize; BLOCKS],
    /// Which is looked at next when all are taken.
    next: AtomicUsize,
    blocks: [Block; BLOCKS],
}

/// A block, of zeroes at first: a descriptor that covers nothing, but for its abort address.
#[repr(transparent)]
struct Block(UnsafeCell<MaybeUninit<ThreadBlock>>);

// SAFETY: a block is used by the thread that owns it alone, and by handlers on top of it; the spare
// one is never in force, and what is stored there is never of use.
unsafe impl Sync for Block {}

impl Block {
    const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// The block, with the abort address that all have at first: whoever comes first stores it, or
    /// a handler on top of it. (It may be another one already, of a window that was published.)
    fn get(&self) -> *mut ThreadBlock {
        const { assert!(cfg!(any(target_pointer_width = "64", target_endian = "little")), "the lower word is first") };
        let block: *mut ThreadBlock = self.0.get().cast();
        let abort = block.cast::<u8>().wrapping_add(offset_of!(Descriptor, abort_ip)).cast();
        // SAFETY: the descriptor is the first of the block, and its words are aligned. Nobody
        // changes this one but by stores of a word.
        let abort = unsafe { AtomicUsize::from_ptr(abort) };
        let _is_there_already = abort.compare_exchange(0, abort_handler(), Relaxed, Relaxed);
        block
    }
}

static TABLE: Table = Table::new();

/// The block of threads that have none: nothing of it is ever in force, so they may share it.
static SPARE: Block = Block::new();

/// The address of the abort handler that thread descriptors have at first: of this image's.
#[inline(never)]
pub(super) fn abort_handler() -> usize {
    unsafe extern "C" {
        #[link_name = abort_handler_symbol!()]
        static HANDLER: u8;
    }
    (&raw const HANDLER).expose_provenance()
}

/// See [`SPARE`].
pub(super) fn spare() -> *mut ThreadBlock {
    SPARE.get()
}

/// The block of the calling thread, which has this thread pointer, if there is one for it.
pub(super) fn of_thread(pointer: usize) -> Option<*mut ThreadBlock> {
    let place = TABLE.place_of(pointer, sys::is_mapped)?;
    Some(TABLE.blocks[place].get())
}

impl Table {
    const fn new() -> Self {
        let owners = [const { AtomicUsize::new(0) }; BLOCKS];
        Self { owners, next: AtomicUsize::new(0), blocks: [const { Block::new() }; BLOCKS] }
    }

    /// Where the block of this thread, the calling one, is.
    fn place_of(&self, thread: usize, is_mapped: impl Fn(usize) -> bool) -> Option<usize> {
        // Thread pointers are often at regular distances: a multiplication by 2^64 / golden ratio
        // spreads them.
        let first = ((thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        for place in (0..BLOCKS).map(|step| (first + step) % BLOCKS) {
            let owner = &self.owners[place];
            // A handler in between may have taken this place for the same thread.
            let found = match owner.load(Relaxed) {
                0 => owner.compare_exchange(0, thread, Relaxed, Relaxed).unwrap_or_else(|owner| owner),
                owner => owner,
            };
            if found == 0 || found == thread {
                return Some(place);
            }
        }
        self.take_over(thread, is_mapped)
    }

    /// Looks at one block, another one each time, whether it can be this thread's because its own
    /// is gone.
    ///
    /// A thread that begins has its memory first, and then looks for its block. So if there is none
    /// when the block is withheld already, nobody has found it before, and nobody will.
    fn take_over(&self, thread: usize, is_mapped: impl Fn(usize) -> bool) -> Option<usize> {
        let place = self.next.fetch_add(1, Relaxed) % BLOCKS;
        let word = &self.owners[place];
        let owner = word.load(Relaxed);
        if owner & WITHHELD != 0 || is_mapped(owner) {
            return None;
        }
        word.compare_exchange(owner, owner | WITHHELD, Relaxed, Relaxed).ok()?;
        let is_gone = !is_mapped(owner);
        word.store(if is_gone { thread } else { owner }, Relaxed);
        is_gone.then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::{BLOCKS, Table};

    /// A thread pointer.
    fn thread(number: usize) -> usize {
        0x7000_0000 + (number << 12)
    }

    /// A table in which all blocks are taken by the threads from 0 on, and where these are.
    fn full() -> (Table, Vec<usize>) {
        let table = Table::new();
        let places = (0..BLOCKS).map(|number| table.place_of(thread(number), |_| true).expect("there is room"));
        let places = places.collect();
        (table, places)
    }

    #[test]
    fn each_thread_has_a_block_and_keeps_it() {
        let (table, places) = full();
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), BLOCKS);
        for (number, place) in places.iter().enumerate() {
            assert_eq!(table.place_of(thread(number), |_| true), Some(*place));
        }
        assert_eq!(table.place_of(thread(BLOCKS), |_| true), None);
    }

    #[test]
    fn the_block_of_a_thread_that_is_gone_is_taken_over() {
        let (table, places) = full();
        let is_mapped = |address| address != thread(7);
        let taken = (0..BLOCKS).find_map(|_| table.place_of(thread(BLOCKS), is_mapped));
        assert_eq!(taken, Some(places[7]));
        assert_eq!(table.place_of(thread(BLOCKS), |_| true), taken);
        assert_eq!(table.place_of(thread(7), |_| true), None, "it is somebody else's");
    }

    /// One that began when it was looked for already, and that may have found its block before that
    /// was withheld.
    #[test]
    fn the_block_of_a_thread_that_appears_is_not_taken_over() {
        let (table, places) = full();
        let looks = Cell::new(0);
        let is_mapped = |address| {
            let is_it = address == thread(7);
            looks.set(looks.get() + usize::from(is_it));
            // The thread itself doesn't find what the second look finds: its block is withheld.
            assert!(
                !is_it || looks.get() < 2 || table.owners.iter().all(|owner| owner.load(super::Relaxed) != thread(7))
            );
            !is_it || looks.get() == 2
        };
        assert!((0..BLOCKS).all(|_| table.place_of(thread(BLOCKS), is_mapped).is_none()));
        assert_eq!((looks.get(), table.place_of(thread(7), |_| true)), (2, Some(places[7])));
    }
}
