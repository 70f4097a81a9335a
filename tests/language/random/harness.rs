//! The program around random sections: gives each its memory and writes down what came of it.
//! Copied into the generated crate.

/// The build for the model compiles sections to its machine, and aborts them where it is asked to.
#[cfg(feature = "model")]
macro_rules! rseq {
    ($($tokens:tt)*) => { ::rseq_explore::model! { $($tokens)* } };
}

mod memory;
mod sections;

use std::fs::File;
use std::io::{Read, Write};
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use memory::{ABORTS, ARGUMENTS, BASE, Big, Fault, Image, NODES, Node, REPLY, REQUEST, VALUES};
use rseq::{MmCid, Mode, PerCpu};

// SAFETY: the one thread of this program uses it.
unsafe impl Send for Node {}
// SAFETY: the same.
unsafe impl Sync for Node {}

static SLOTS: PerCpu<Node> = PerCpu::new();
static HITS: PerCpu<AtomicU64> = PerCpu::new();
static BIG: PerCpu<Big> = PerCpu::new();
static CID_SLOTS: PerCpu<Node, MmCid> = PerCpu::new();
static CID_HITS: PerCpu<AtomicU64, MmCid> = PerCpu::new();
static CID_BIG: PerCpu<Big, MmCid> = PerCpu::new();

/// A section: three nodes, and numbers that nobody knows at compile time.
type Section = fn(*mut Node, *mut Node, *mut Node, [u64; ARGUMENTS]) -> Outcome;

/// The result of a section.
#[derive(PartialEq)]
struct Outcome {
    exit: u64,
    values: [u64; VALUES],
    index: Option<usize>,
}

/// A section's value: its way out, and the values that it names.
fn outcome<const N: usize>(exit: u64, named: [u64; N], index: Option<usize>) -> Outcome {
    let mut values = [0; VALUES];
    values[..N].copy_from_slice(&named);
    Outcome { exit, values, index }
}

/// Where the nodes lie.
static NODES_AT: AtomicUsize = AtomicUsize::new(0);

/// An address as it is in images.
fn to_image(address: usize) -> u64 {
    if address == 0 { 0 } else { (address.wrapping_sub(NODES_AT.load(Relaxed)) as u64).wrapping_add(BASE) }
}

/// An address as it is in this process.
fn from_image(address: u64) -> usize {
    if address == 0 { 0 } else { (address.wrapping_sub(BASE) as usize).wrapping_add(NODES_AT.load(Relaxed)) }
}

/// The bits of a value that a section returns.
trait Bits {
    fn bits(self) -> u64;
}

macro_rules! numbers {
    ($($number:ty as $unsigned:ty;)*) => {$(
        impl Bits for $number {
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
        }
    )*};
}
numbers! { u8 as u8; u16 as u16; u32 as u32; u64 as u64; i8 as u8; i16 as u16; i32 as u32; i64 as u64; bool as u8; }

impl Bits for usize {
    fn bits(self) -> u64 {
        self as u64
    }
}
impl Bits for isize {
    fn bits(self) -> u64 {
        self as u64
    }
}
impl<T> Bits for *mut T {
    fn bits(self) -> u64 {
        to_image(self.addr())
    }
}
impl<T> Bits for Option<NonNull<T>> {
    fn bits(self) -> u64 {
        self.map_or(0, |pointer| to_image(pointer.addr().get()))
    }
}

/// The bytes of an image with its pointers turned to or from this process's.
fn turned(mut image: Vec<u8>, turn: impl Fn(u64) -> u64) -> Vec<u8> {
    let nodes = (0..=NODES).map(|node| node * size_of::<Node>());
    let fields = [offset_of!(Node, node), offset_of!(Node, words), offset_of!(Node, option)];
    for at in nodes.flat_map(|node| fields.map(|field| node + field)) {
        let pointer = u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        image[at..at + 8].copy_from_slice(&turn(pointer).to_le_bytes());
    }
    image
}

/// The slots of one kind of index, each as the bytes that may change in it.
struct Slots {
    parts: [Vec<*mut u8>; 3],
}

/// How much of the three kinds of slots may change, and where the image has it.
const PARTS: [(usize, usize); 3] = [
    (offset_of!(Image, slot), offset_of!(Node, option)),
    (offset_of!(Image, hits), 8),
    (offset_of!(Image, big), 4),
];

impl Slots {
    fn of<I>(nodes: &PerCpu<Node, I>, hits: &PerCpu<AtomicU64, I>, big: &PerCpu<Big, I>) -> Self {
        let nodes = nodes.iter().map(|slot| ptr::from_ref(slot).cast_mut().cast()).collect();
        let hits = hits.iter().map(|slot| slot.as_ptr().cast()).collect();
        let big = big.iter().map(|slot| AtomicU32::as_ptr(&slot.value).cast()).collect();
        Self { parts: [nodes, hits, big] }
    }

    fn fill(&self, image: &[u8]) {
        for ((at, bytes), slots) in PARTS.into_iter().zip(&self.parts) {
            for slot in slots {
                // SAFETY: so many bytes of the slot are atomics, and nobody else uses them now.
                unsafe { ptr::copy_nonoverlapping(image[at..].as_ptr(), *slot, bytes) };
            }
        }
    }

    /// `true` if any differs from the image.
    fn changed(&self, image: &[u8]) -> bool {
        let mut read = image.to_vec();
        self.read(&mut read, None);
        read != image
    }

    /// Puts the slot that changed into the image; says what is wrong with it.
    fn read(&self, image: &mut [u8], index: Option<usize>) -> Fault {
        let mut changed = index;
        let mut fault = Fault::None;
        for ((at, bytes), slots) in PARTS.into_iter().zip(&self.parts) {
            let before = image[at..at + bytes].to_vec();
            for (number, slot) in slots.iter().enumerate() {
                // SAFETY: so many bytes of the slot are atomics, and nobody else uses them now.
                let found = unsafe { std::slice::from_raw_parts(*slot, bytes) };
                if found != before {
                    image[at..at + bytes].copy_from_slice(found);
                    if changed.replace(number).is_some_and(|other| other != number) {
                        fault = if index.is_some() { Fault::OtherIndex } else { Fault::SeveralSlots };
                    }
                }
            }
        }
        fault
    }
}

/// All that sections work on.
struct Memory {
    nodes: *mut Node,
    slots: [Slots; 2],
}

impl Memory {
    fn new() -> Self {
        let nodes: Box<[Node; NODES]> = Box::default();
        let nodes = Box::into_raw(nodes).cast::<Node>();
        NODES_AT.store(nodes.expose_provenance(), Relaxed);
        Self { nodes, slots: [Slots::of(&SLOTS, &HITS, &BIG), Slots::of(&CID_SLOTS, &CID_HITS, &CID_BIG)] }
    }

    /// Runs one section; its outcome, what is wrong, and the memory afterwards.
    fn run(&self, request: &[u8]) -> (Outcome, Fault, Vec<u8>) {
        let number = |at| number(request, at);
        let (section, kind) = sections::SECTIONS[number(0) as usize];
        let image = request[8 + 8 * ARGUMENTS + 8 * ABORTS..].to_vec();
        let mut image = turned(image, |pointer| from_image(pointer) as u64);
        let nodes_bytes = size_of::<[Node; NODES]>();
        // SAFETY: the image has as many nodes as there are.
        unsafe { ptr::copy_nonoverlapping(image.as_ptr(), self.nodes.cast::<u8>(), nodes_bytes) };
        self.slots.iter().for_each(|slots| slots.fill(&image));
        // SAFETY: there are so many nodes.
        let [a, b, c] = [0, 1, 2].map(|node| unsafe { self.nodes.add(node) });
        let outcome = section(a, b, c, [1, 2, 3, 4].map(number));
        // SAFETY: the image has as many nodes as there are.
        unsafe { ptr::copy_nonoverlapping(self.nodes.cast::<u8>(), image.as_mut_ptr(), nodes_bytes) };
        // Those of the other kind of index must be as they were.
        let other = self.slots[1 - kind].changed(&image);
        let fault = self.slots[kind].read(&mut image, outcome.index);
        let fault = if other { Fault::SeveralSlots } else { fault };
        (outcome, fault, turned(image, |pointer| to_image(pointer as usize)))
    }

    /// Runs one section until it had the same result twice: an abort doesn't undo what the section
    /// stored before its commit, so that one which loads it again sees another memory.
    fn run_steadily(&self, request: &[u8]) -> Vec<u8> {
        let mut last = self.run(request);
        let mut steady = false;
        for _ in 0..5 {
            let next = self.run(request);
            steady = next.2 == last.2 && next.0.exit == last.0.exit && next.0.values == last.0.values;
            last = next;
            if steady {
                break;
            }
        }
        reply(last, steady)
    }

    /// Runs one section in the model, aborted where it is asked for. That may be at several steps,
    /// all of which must come to the same.
    #[cfg(feature = "model")]
    fn run_aborted(&self, request: &[u8]) -> Vec<u8> {
        let ([first, _], last) = self.run_aborted_at(request, [0, 0]);
        let mut steady = true;
        let mut steps = [0, 0];
        // One after the other for the second abort; when there are no more, for the first.
        let mut aborted = first;
        while aborted {
            let ([first, second], run) = self.run_aborted_at(request, steps);
            aborted = first;
            steady &= !first || (steps[1] > 0 && !second) || same(&run, &last);
            steps = if second { [steps[0], steps[1] + 1] } else { [steps[0] + 1, 0] };
        }
        reply(last, steady)
    }

    /// The same, aborted at the steps of these numbers among those that will do. Says which aborts
    /// there were.
    #[cfg(feature = "model")]
    fn run_aborted_at(&self, request: &[u8], steps: [usize; ABORTS]) -> ([bool; ABORTS], (Outcome, Fault, Vec<u8>)) {
        use std::{cell::Cell, rc::Rc};
        let asked: [u64; ABORTS] = std::array::from_fn(|abort| number(request, 1 + ARGUMENTS + abort));
        let aborted = Rc::new(Cell::new([false; ABORTS]));
        let mut seen = [0; ABORTS];
        let by = aborted.clone();
        let interrupts = move |place: rseq_explore::model::Place| {
            let Some(asked) = asked.get(place.attempt) else { return false };
            if !place.armed || place.progress as u64 != *asked {
                return false;
            }
            seen[place.attempt] += 1;
            let now = seen[place.attempt] == steps[place.attempt] + 1;
            let mut all = by.get();
            all[place.attempt] |= now;
            by.set(all);
            now
        };
        let run = rseq_explore::model::alone(interrupts, || self.run(request));
        (aborted.get(), run)
    }
}

#[cfg(feature = "model")]
fn same((outcome, fault, image): &(Outcome, Fault, Vec<u8>), other: &(Outcome, Fault, Vec<u8>)) -> bool {
    (outcome.exit, outcome.values, fault, image) == (other.0.exit, other.0.values, &other.1, &other.2)
}

/// The words in front of a request's memory.
fn number(request: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(request[8 * at..8 * at + 8].try_into().unwrap())
}

fn reply((outcome, fault, image): (Outcome, Fault, Vec<u8>), steady: bool) -> Vec<u8> {
    let fault = if steady { fault } else { Fault::Unsteady };
    let words = [fault as u64, outcome.exit].into_iter().chain(outcome.values);
    words.flat_map(u64::to_le_bytes).chain(image).collect()
}

fn main() {
    let [requests, replies] = [1, 2].map(|argument| std::env::args().nth(argument).expect("two files"));
    let mut all = Vec::new();
    File::open(requests).unwrap().read_to_end(&mut all).unwrap();
    let mut replies = File::create(replies).unwrap();
    let memory = Memory::new();
    for request in all.chunks_exact(REQUEST) {
        #[cfg(feature = "model")]
        let reply = memory.run_aborted(request);
        #[cfg(not(feature = "model"))]
        let reply = memory.run_steadily(request);
        assert_eq!(reply.len(), REPLY);
        // At once, so that the reply that is missing tells which section killed the program.
        replies.write_all(&reply).unwrap();
    }
    match rseq::status().mode() {
        Mode::Rseq(_) => println!("restartable"),
        Mode::Portable(reason) => println!("portable: {reason}"),
    }
}
