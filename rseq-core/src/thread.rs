//! A thread's own memory, and where its sections find it.

use core::mem::offset_of;
use core::sync::atomic::{
    AtomicIsize, AtomicPtr, AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use crate::abi::{Descriptor, Rseq};
use crate::audit;

/// The memory of a thread in each image: the descriptor that its sections publish their window in,
/// and the area for the kernel in case that libc registered none. It is thread-local storage; but
/// in a shared object for which the loader had no static storage, the descriptor of a table is used
/// (`arch/blocks.rs`).
#[repr(C)]
pub(crate) struct ThreadBlock {
    /// The thread descriptor. It always covers one window, whole: the one that the thread published
    /// last.
    pub(crate) descriptor: Descriptor,
    /// The distance in bytes from here to the thread's area, for
    /// [`of_block`](crate::arch::of_block): stored by the cold path, each time that it hands the
    /// block on. It takes no room: areas are aligned.
    #[allow(dead_code, reason = "not every architecture has it from there")]
    pub(crate) area_offset: AtomicIsize,
    /// The area that this crate registers where libc has none.
    pub(crate) own_area: OwnArea,
    /// The thread's notes of its sections while they are audited.
    #[allow(dead_code, reason = "only audits read it")]
    pub(crate) audit: audit::State,
    /// The same in debug builds.
    #[cfg(all(debug_assertions, not(rseq_audited)))]
    pub(crate) nesting: Nesting,
}

/// Room for an area as long, and as aligned, as kernels want it: from Linux 7.0 on they fill 33
/// bytes, at a multiple of 64. One that fills more than this is told of the original structure
/// alone.
#[repr(C, align(64))]
pub(crate) struct OwnArea {
    pub(crate) fields: Rseq,
    /// Room for the structure to grow. Nothing here is ours to write.
    _more: [u32; 8],
}

/// A thread's notes of its sections in debug builds: see [`nesting`](crate::nesting). All is zero
/// at first. Only the thread itself comes here, and the handlers that interrupt it.
#[cfg(all(debug_assertions, not(rseq_audited)))]
#[repr(C)]
pub(crate) struct Nesting {
    /// The number of the attempt that armed last.
    pub(crate) last: AtomicUsize,
    /// The number of the attempt in which another section began.
    pub(crate) nested_in: AtomicUsize,
    /// The section of which that was so, by where it stands, and in how many attempts in a row.
    pub(crate) section: AtomicPtr<core::panic::Location<'static>>,
    pub(crate) attempts: AtomicU32,
    /// How many sections the thread is inside of in portable mode.
    pub(crate) slots_held: AtomicUsize,
}

/// Where the calling thread's descriptor and area are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) descriptor: *mut Descriptor,
    pub(crate) area: *mut Rseq,
}

/// The words that sections load before they begin; written once, when the mode is decided.
/// `gdb/rseq.py` knows their order.
#[repr(C)]
pub struct Fast {
    /// See [`spare_area`](Self::spare_area). The words begin behind it, at [`WORDS`].
    spare: Spare,
    /// The distance in bytes to a thread's area from where [`anchor`](crate::arch::anchor) is,
    /// which is a thread's block wherever that lies in static TLS. It is the same for every thread.
    pub(crate) area_offset: AtomicIsize,
    /// CPU ids below this number have a slot. 0 until the mode is decided and in portable mode, so
    /// that every section goes the slow way first.
    pub(crate) cpus: AtomicUsize,
    /// The same for concurrency ids: 0 also where the kernel has none.
    pub(crate) cids: AtomicUsize,
    /// The distance in bytes from the thread pointer to [`anchor`](crate::arch::anchor). Debuggers
    /// need it, who have no other way to static TLS that every libc knows of, and machines whose
    /// code doesn't ask the linker: there it is the block's, or 0 as long as that isn't known.
    pub(crate) anchor: AtomicIsize,
    /// The same as `cpus` for sections with a `prepare`, whose fast path needs a block at a
    /// distance that the linker knows: 0 in shared objects, which have none.
    pub(crate) watched: AtomicUsize,
    /// The distance in bytes from the thread pointer to a thread's area: 0 as long as it isn't
    /// known, then perhaps an own area's, and at last that which sections run by.
    pub(crate) area: AtomicIsize,
    /// The words of the next image: see [`image`](crate::image).
    pub(crate) next: AtomicPtr<Fast>,
}

/// Where the words of [`Fast`] begin.
#[allow(dead_code, reason = "where no area is addressed nobody asks")]
pub(crate) const WORDS: usize = offset_of!(Fast, area_offset);

/// Room for an area, beside the words that are only read.
#[repr(C, align(64))]
struct Spare([AtomicU32; SPARE_WORDS]);
const SPARE_WORDS: usize = size_of::<Rseq>() / size_of::<u32>();

/// The offset of the own area, which is also right before anything is known: its `cpu_id` says that
/// it isn't registered.
#[allow(dead_code, reason = "where no area is addressed there is none")]
pub(crate) const OWN_AREA: isize = offset_of!(ThreadBlock, own_area) as isize;

/// Where windows find the number of CPU ids that have a slot, in [`FAST`](crate::arch::FAST).
pub const CPUS_OFFSET: usize = offset_of!(Fast, cpus);

impl Fast {
    /// An area that nobody registers, for code that doesn't reach those of threads, or not yet:
    /// windows find no id there that has a slot. It is where these words are, whose address code
    /// has anyway.
    #[allow(dead_code, reason = "where no area is addressed there is none")]
    #[inline(always)]
    pub(crate) fn spare_area(&'static self) -> *mut Rseq {
        const { assert!(align_of::<Spare>() >= align_of::<Rseq>() && offset_of!(Fast, spare) == 0) };
        (&raw const self.spare).cast_mut().cast()
    }

    /// True if sections run restartably; if so, the calling thread sees the offset as well.
    pub(crate) fn is_open(&self) -> bool {
        self.cpus.load(Acquire) > 0
    }

    /// Lets sections run restartably, by areas at this distance from the thread pointer. A thread
    /// that sees some of the stores without the others still goes the slow way: an old offset leads
    /// to an unregistered area, an old number of indices is 0.
    pub(crate) fn open(&self, distance: isize, anchor: isize, [cpus, cids, watched]: [usize; 3]) {
        self.area_offset.store(distance.wrapping_sub(anchor), Relaxed);
        self.anchor.store(anchor, Relaxed);
        self.cids.store(cids, Relaxed);
        // Who sees this one sees the offset, too.
        self.area.store(distance, Release);
        self.cpus.store(cpus, Release);
        self.watched.store(watched, Release);
    }
}
