//! Sections as one writes them by hand, in the form that librseq has: the CPU is read before, a
//! constant descriptor is armed, and the window compares the CPU, does what it must, and leaves the
//! descriptor in force. The slots are at a fixed address, and each commit goes to an address that
//! is in a register, as in sections of `rseq!`.
//!
//! They rely on libc's registration, and on as many CPUs as there are slots.

use std::arch::asm;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::measuring::{BATCH, Contender, contender};

/// The name of these contenders.
pub const NAME: &str = "by hand";
/// The reason why they may not be to be had.
pub const NEEDS: &str = "a libc that registers threads, and at most 256 CPUs";

/// More CPUs than that need more slots.
const SLOTS: usize = 256;

/// So many items fit into a buffer.
const CAPACITY: usize = 64;

/// A CPU's part: alone on its cache lines.
#[repr(align(128))]
struct Slot<T>(T);

/// From the thread pointer to libc's area.
static AREA: AtomicIsize = AtomicIsize::new(0);

static ABORTS: AtomicU64 = AtomicU64::new(0);

/// How many windows were aborted, of all threads.
fn aborts() -> u64 {
    ABORTS.load(Relaxed)
}

/// The sections of this module, where they can run.
#[derive(Clone, Copy)]
pub struct ByHand(());

impl ByHand {
    /// `None` where they can't.
    pub fn find() -> Option<Self> {
        is_available().then_some(Self(()))
    }

    /// Adds to counters: to which one, by the number of the operation.
    pub(super) fn counters(self, at: impl Fn(usize) -> usize + Sync + 'static) -> Contender {
        contender(NAME, move |number| count(at(number))).with_aborts(aborts)
    }

    /// Pops from lists and pushes there.
    pub(super) fn lists(self) -> Contender {
        contender(NAME, |_| list_push(list_pop().unwrap_or_else(new_node))).with_aborts(aborts)
    }

    /// Pops from buffers and pushes there.
    pub(super) fn buffers(self) -> Contender {
        contender(NAME, |number| _ = buffer_push(buffer_pop().unwrap_or(number))).with_aborts(aborts)
    }
}

#[cold]
fn new_node() -> &'static Node {
    Box::leak(Box::default())
}

/// Says that the sections of this module can run. They must not before.
fn is_available() -> bool {
    // SAFETY: these look up symbols of glibc's, of these types.
    let (offset, size) = unsafe {
        let symbol = |name: &std::ffi::CStr| libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (symbol(c"__rseq_offset").cast::<isize>().as_ref(), symbol(c"__rseq_size").cast::<u32>().as_ref())
    };
    // SAFETY: the call has no conditions.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    let (Some(&offset), Some(1..)) = (offset, size) else { return false };
    AREA.store(offset, Relaxed);
    cpus <= SLOTS as i64
}

/// The CPU that the thread runs on, by one load.
#[inline(always)]
pub fn cpu() -> usize {
    let cpu: usize;
    // SAFETY: reads the calling thread's area.
    unsafe {
        asm!("mov {:e}, fs:[{}]", out(reg) cpu, in(reg) AREA.load(Relaxed), options(nostack, preserves_flags, readonly));
    }
    cpu
}

#[cold]
fn aborted() {
    ABORTS.fetch_add(1, Relaxed);
}

/// A window with these instructions, after it has been armed and has compared the CPU. Its labels
/// stand where the abort handler goes, and what else leaves it.
macro_rules! window {
    ($cpu:ident, [$($line:literal),*], $($operands:tt)*) => {
        asm!(
            ".pushsection __rseq_cs, \"aw\", @progbits", ".balign 32", // where descriptors are
            "22: .long 0, 0", ".quad 23f, 24f - 23f, 25f",             // version, flags, start, length, abort handler
            ".popsection",
            "lea {descriptor}, [rip + 22b]",                           // arm
            "mov fs:[{area} + 8], {descriptor}",
            "23: cmp {cpu:e}, fs:[{area} + 4]",                        // on the CPU whose slot it is?
            "jne {aborted}",
            $($line,)*
            "24:",
            ".pushsection .text.unlikely, \"ax\", @progbits",          // the abort handler, behind the signature
            ".byte 0x0f, 0xb9, 0x3d", ".long 0x53053053", "25: jmp {aborted}",
            ".popsection",
            descriptor = out(reg) _,
            area = in(reg) AREA.load(Relaxed),
            cpu = in(reg) $cpu,
            $($operands)*
            options(nostack),
        )
    };
}

static COUNTERS: [Slot<[AtomicU64; BATCH]>; SLOTS] = [const { Slot([const { AtomicU64::new(0) }; BATCH]) }; SLOTS];

/// Adds 1 to a counter of the CPU.
#[inline(always)]
pub fn count(counter: usize) {
    while !'window: {
        let cpu = cpu();
        let slot = COUNTERS[cpu % SLOTS].0[counter].as_ptr();
        // SAFETY: the window adds to a live counter; the descriptor is constant; the area is the
        // calling thread's.
        unsafe {
            window!(
                cpu,
                ["add qword ptr [{slot}], 1"], // *slot += 1
                slot = in(reg) slot,
                aborted = label { break 'window false },
            );
        }
        true
    } {
        aborted();
    }
}

/// A part of a list.
#[derive(Default)]
#[repr(C)]
struct Node {
    next: AtomicPtr<Node>,
}

static LISTS: [Slot<AtomicPtr<Node>>; SLOTS] = [const { Slot(AtomicPtr::new(ptr::null_mut())) }; SLOTS];

/// Makes a node the first of the CPU's list.
#[inline(always)]
fn list_push(node: &'static Node) {
    while !'window: {
        let cpu = cpu();
        let head = &LISTS[cpu % SLOTS].0;
        let first = head.load(Relaxed);
        node.next.store(first, Relaxed);
        // SAFETY: the window stores to a live list; the descriptor is constant; the area is the
        // calling thread's.
        unsafe {
            window!(
                cpu,
                [
                    "cmp [{head}], {first}", // as when it was read?
                    "jne {changed}",
                    "mov [{head}], {node}"   // *head = node
                ],
                head = in(reg) head.as_ptr(),
                first = in(reg) first,
                node = in(reg) node,
                changed = label { break 'window false },
                aborted = label { break 'window false },
            );
        }
        true
    } {
        aborted();
    }
}

/// Takes the first node of the CPU's list.
#[inline(always)]
fn list_pop() -> Option<&'static Node> {
    loop {
        'window: {
            let cpu = cpu();
            let mut popped = MaybeUninit::uninit();
            // SAFETY: as in `list_push`; what is popped was pushed, so that it is a node; nodes are
            // never freed.
            unsafe {
                window!(
                    cpu,
                    [
                        "mov {first}, [{head}]",  // first = *head
                        "test {first}, {first}",  // is there one?
                        "jz {nothing}",
                        "mov [{popped}], {first}", // *popped = first
                        "mov {first}, [{first}]", // first = first.next
                        "mov [{head}], {first}"   // *head = first
                    ],
                    head = in(reg) LISTS[cpu % SLOTS].0.as_ptr(),
                    first = out(reg) _,
                    popped = in(reg) popped.as_mut_ptr(),
                    nothing = label { return None },
                    aborted = label { break 'window },
                );
                return Some(popped.assume_init());
            }
        }
        aborted();
    }
}

struct Buffer {
    len: AtomicUsize,
    items: [AtomicUsize; CAPACITY],
}

static BUFFERS: [Slot<Buffer>; SLOTS] =
    [const { Slot(Buffer { len: AtomicUsize::new(0), items: [const { AtomicUsize::new(0) }; CAPACITY] }) }; SLOTS];

/// Puts an item into the CPU's buffer, if there is room.
#[inline(always)]
fn buffer_push(item: usize) -> bool {
    while !'window: {
        let cpu = cpu();
        let buffer = &BUFFERS[cpu % SLOTS].0;
        let len = buffer.len.load(Relaxed);
        let Some(place) = buffer.items.get(len) else { return false };
        // SAFETY: as in `list_push`.
        unsafe {
            window!(
                cpu,
                [
                    "cmp [{buffer}], {len}", // as when it was read?
                    "jne {changed}",
                    "mov [{place}], {item}", // *place = item
                    "mov [{buffer}], {more}" // *buffer = len + 1
                ],
                buffer = in(reg) buffer.len.as_ptr(),
                len = in(reg) len,
                place = in(reg) place.as_ptr(),
                item = in(reg) item,
                more = in(reg) len + 1,
                changed = label { break 'window false },
                aborted = label { break 'window false },
            );
        }
        true
    } {
        aborted();
    }
    true
}

/// Takes the latest item out of the CPU's buffer.
#[inline(always)]
fn buffer_pop() -> Option<usize> {
    loop {
        'window: {
            let cpu = cpu();
            let buffer = &BUFFERS[cpu % SLOTS].0;
            let len = buffer.len.load(Relaxed);
            let less = len.checked_sub(1)?;
            let place = &buffer.items[less % CAPACITY];
            let item = place.load(Relaxed);
            // SAFETY: as in `list_push`.
            unsafe {
                window!(
                    cpu,
                    [
                        "cmp [{buffer}], {len}", // as when it was read?
                        "jne {changed}",
                        "cmp [{place}], {item}", // the item as well?
                        "jne {changed}",
                        "mov [{buffer}], {less}" // *buffer = len - 1
                    ],
                    buffer = in(reg) buffer.len.as_ptr(),
                    len = in(reg) len,
                    place = in(reg) place.as_ptr(),
                    item = in(reg) item,
                    less = in(reg) less,
                    changed = label { break 'window },
                    aborted = label { break 'window },
                );
            }
            return Some(item);
        }
        aborted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of it in one thread on one CPU, as slots are the CPUs'.
    #[test]
    fn they_do_what_they_say() {
        if !is_available() {
            println!("skipped: libc doesn't register threads");
            return;
        }
        let pinned = std::thread::spawn(|| {
            crate::measuring::pin(crate::measuring::available_cpus()[0]);
            let before = COUNTERS[cpu()].0[3].load(Relaxed);
            (0..1000).for_each(|_| count(3));
            assert_eq!(COUNTERS[cpu()].0[3].load(Relaxed), before + 1000);
            assert!(list_pop().is_none());
            let nodes: [&'static Node; 2] = [(); 2].map(|()| &*Box::leak(Box::default()));
            nodes.into_iter().for_each(list_push);
            assert!(
                [list_pop(), list_pop()].map(|node| node.map(ptr::from_ref))
                    == [1, 0].map(|at| Some(&raw const *nodes[at]))
            );
            assert!(list_pop().is_none());
            assert!((0..CAPACITY).all(|item| buffer_push(item + 7)));
            assert!(!buffer_push(0));
            assert!((0..CAPACITY).rev().all(|item| buffer_pop() == Some(item + 7)));
            assert_eq!(buffer_pop(), None);
        });
        pinned.join().expect("the sections are right");
    }
}
