//! Moves buffers between lists and arrays, one of each per CPU, and proves that none is lost or
//! handed out twice.
//!
//! The buffers are filled from files. A push or a pop is one `rseq!` section. Whoever pops a buffer
//! owns it until it pushes it, and changes it meanwhile without any protection: it marks it, turns
//! its bytes by one place and counts that. Two owners at once would spoil it. At the end every
//! buffer must be there once, unmarked, with the bytes that it was filled with.
//!
//! ```text
//! cargo run --release --example push_pop              # buffers from the project's own sources
//! cargo run --release --example push_pop -- --threads 8 --rounds 1000000 FILE...
//! RSEQ_MODE=portable cargo run --release --example push_pop    # with a lock per slot instead
//! ```

mod common;
#[path = "push_pop/sections.rs"]
mod sections;

use std::cell::UnsafeCell;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed};
use std::thread;

use clap::Parser;
use common::{Input, grouped};
use rseq::{CpuId, PerCpu, rseq};
use sections::{Array, pop_from_array, pop_from_list, push_to_array, push_to_list};

/// Moves buffers of 4 KiB, filled from files, between per-CPU lists and arrays, and checks that
/// each is there in the end, once and intact.
///
/// A file that can't be read is named on stderr; the others are used, and the exit code is 1. It is
/// 1 also if a buffer is lost, there twice or spoilt.
#[derive(Parser)]
struct Arguments {
    /// Threads that move buffers [default: the CPUs that may be used, but at least 2]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Moves that each thread tries
    #[arg(long, value_name = "R", default_value_t = 500_000)]
    rounds: u64,
    /// Files to fill the buffers with [default: the sources of this project]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The bytes of a buffer.
const SIZE: usize = 4096;

/// The most buffers that a CPU's array holds.
const CAPACITY: usize = 64;

/// A buffer.
struct Node {
    /// The next one in the list that this one is in. Atomic, because a section that was interrupted
    /// may still read it when the node has another owner already: it gets some pointer, and then
    /// aborts.
    next: AtomicPtr<Node>,
    /// For its owner alone.
    content: UnsafeCell<Content>,
}

// SAFETY: `next` is atomic; `content` is reached by a node's owner alone (see `Owned`), and an
// owner hands it to the next by a release store that the next one reads with acquire order (see the
// orders below).
unsafe impl Sync for Node {}

struct Content {
    /// Which node this is.
    number: usize,
    /// The thread that owns the node, 0 while it is in a list or an array.
    owner: usize,
    /// How often it was owned, which is how many places its bytes are turned.
    moves: u64,
    checksum: u64,
    bytes: [u8; SIZE],
}

impl Content {
    fn new(number: usize, filling: &[u8]) -> Self {
        let mut bytes = [0; SIZE];
        bytes[..filling.len()].copy_from_slice(filling);
        Self { number, owner: 0, moves: 0, checksum: checksum(&bytes), bytes }
    }

    /// The owner's change before it gives the node away. Says whether nobody else had it.
    fn turn(&mut self, owner: usize) -> bool {
        let alone = self.owner == 0;
        self.owner = owner;
        self.bytes.rotate_left(1);
        self.moves += 1;
        let still_alone = self.owner == owner;
        self.owner = 0;
        alone && still_alone
    }

    /// `true` if nobody owns the node, and its bytes are those that it was filled with, turned as
    /// often as it was owned.
    fn is_intact(&self) -> bool {
        let mut bytes = self.bytes;
        bytes.rotate_right((self.moves % SIZE as u64) as usize);
        self.owner == 0 && checksum(&bytes) == self.checksum
    }
}

/// FNV-1a: it tells the order of the bytes, too.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A node that was popped, or never pushed, and so belongs to whoever has this value. Not `Copy`:
/// pushing takes it away.
struct Owned(&'static Node);

impl Owned {
    fn content(&mut self) -> &mut Content {
        // SAFETY: there is one `Owned` of a node at most: `fill` makes the first, `push` consumes
        // it before the node can be popped, and a pop makes one only if its commit took the node
        // out of where it was.
        unsafe { &mut *self.0.content.get() }
    }

    fn pointer(&self) -> *mut Node {
        ptr::from_ref(self.0).cast_mut()
    }
}

/// The first node of each CPU's list.
static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();

/// Each CPU's array.
static ARRAYS: PerCpu<Array> = PerCpu::new();

/// A thread's account.
#[derive(Default)]
struct Tally {
    /// Moves from a list to an array, and back.
    to_array: u64,
    to_list: u64,
    /// Nodes that went back to a list because the array was full.
    full: u64,
    /// Rounds in which there was no node to be moved.
    empty: u64,
    /// Nodes that somebody else changed while this thread owned them.
    disturbed: u64,
    aborts: u64,
    /// Sections that committed, by slot.
    slots: Vec<u64>,
}

impl Tally {
    fn new() -> Self {
        Self { slots: vec![0; rseq::slots()], ..Self::default() }
    }

    fn committed(&mut self, cpu: CpuId) {
        self.slots[cpu.get()] += 1;
    }

    /// How often nodes were owned.
    fn owned(&self) -> u64 {
        self.to_array + self.to_list + self.full
    }

    fn add(mut self, other: Self) -> Self {
        self.to_array += other.to_array;
        self.to_list += other.to_list;
        self.full += other.full;
        self.empty += other.empty;
        self.disturbed += other.disturbed;
        self.aborts += other.aborts;
        self.slots.iter_mut().zip(other.slots).for_each(|(sum, count)| *sum += count);
        self
    }
}

/// Nodes with these bytes, the last one filled up with zeros. They are leaked: that is what the
/// sections rely on.
fn fill(bytes: &[u8]) -> Vec<Owned> {
    let node = |(number, filling)| Node {
        next: AtomicPtr::new(ptr::null_mut()),
        content: UnsafeCell::new(Content::new(number, filling)),
    };
    let nodes: &'static [Node] = bytes.chunks(SIZE).enumerate().map(node).collect::<Vec<_>>().leak();
    nodes.iter().map(Owned).collect()
}

/// One thread: it puts its nodes into lists, and then moves whatever nodes it finds, to and fro by
/// chance.
fn work(number: usize, nodes: Vec<Owned>, rounds: u64) -> Tally {
    let mut tally = Tally::new();
    for node in nodes {
        push_to_list(node, &mut tally);
    }
    let mut coin = Coin::new(number);
    for _ in 0..rounds {
        let popped = if coin.toss() { pop_from_list(&mut tally) } else { pop_from_array(&mut tally) };
        let Some(mut node) = popped else {
            tally.empty += 1;
            continue;
        };
        tally.disturbed += u64::from(!node.content().turn(number));
        give_back(node, coin.latest(), &mut tally);
    }
    tally
}

/// Pushes a node to where it didn't come from, if there is room.
fn give_back(node: Owned, from_list: bool, tally: &mut Tally) {
    if !from_list {
        push_to_list(node, tally);
        tally.to_list += 1;
    } else if let Err(node) = push_to_array(node, tally) {
        push_to_list(node, tally);
        tally.full += 1;
    } else {
        tally.to_array += 1;
    }
}

/// Pseudo-random decisions (xorshift64).
struct Coin(u64);

impl Coin {
    /// Different for each number, which isn't 0.
    fn new(number: usize) -> Self {
        Self((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn toss(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.latest()
    }

    fn latest(&self) -> bool {
        self.0 >> 63 == 0
    }
}

/// The contents of lists and arrays once no thread is left.
struct Inventory {
    /// How often each node was found.
    found: Vec<u32>,
    in_lists: Vec<u64>,
    in_arrays: Vec<u64>,
    spoilt: u64,
    moves: u64,
}

impl Inventory {
    /// Looks through everything. Called when the threads have ended, so whoever reads a node has it
    /// alone.
    fn take(nodes: usize) -> Self {
        let mut inventory =
            Self { found: vec![0; nodes], in_lists: Vec::new(), in_arrays: Vec::new(), spoilt: 0, moves: 0 };
        for head in &LISTS {
            let count = inventory.list(head);
            inventory.in_lists.push(count);
        }
        for array in &ARRAYS {
            let count = array.0.iter().filter(|entry| inventory.node(entry.load(Acquire)).is_some()).count();
            inventory.in_arrays.push(count as u64);
        }
        inventory
    }

    /// Enters the nodes of a list, as far as the first one that was there before: that one may lead
    /// in a circle.
    fn list(&mut self, head: &AtomicPtr<Node>) -> u64 {
        let mut count = 0;
        let mut next = head.load(Acquire);
        while let Some((node, first_time)) = self.node(next) {
            count += 1;
            if !first_time {
                break;
            }
            next = node.next.load(Relaxed);
        }
        count
    }

    /// Enters a node, unless it is null. Says whether it is here for the first time.
    fn node(&mut self, node: *mut Node) -> Option<(&'static Node, bool)> {
        // SAFETY: null or a node of `fill`, which is never freed.
        let node: &'static Node = unsafe { node.as_ref() }?;
        // SAFETY: every thread that owned nodes has ended, and nothing here refers to a content for
        // longer than this call.
        let content = unsafe { &*node.content.get() };
        let times = &mut self.found[content.number];
        *times += 1;
        let first_time = *times == 1;
        if first_time {
            self.spoilt += u64::from(!content.is_intact());
            self.moves += content.moves;
        }
        Some((node, first_time))
    }

    fn lost(&self) -> usize {
        self.found.iter().filter(|times| **times == 0).count()
    }

    fn duplicated(&self) -> usize {
        self.found.iter().filter(|times| **times > 1).count()
    }
}

/// Names on stderr what is wrong. Says whether nothing is.
fn check(inventory: &Inventory, tally: &Tally) -> bool {
    let wrong = [
        ("nodes lost", inventory.lost() as u64),
        ("nodes there more than once", inventory.duplicated() as u64),
        ("nodes spoilt", inventory.spoilt),
        ("changes behind an owner's back", tally.disturbed),
        ("moves missing or too many", inventory.moves.abs_diff(tally.owned())),
    ];
    for (what, count) in wrong.iter().filter(|(_, count)| *count > 0) {
        eprintln!("{what}: {count}");
    }
    wrong.iter().all(|(_, count)| *count == 0)
}

fn run(bytes: &[u8], threads: usize, rounds: u64) -> (Inventory, Tally) {
    let mut nodes = fill(bytes);
    let count = nodes.len();
    let tally = thread::scope(|scope| {
        let threads: Vec<_> = (1..=threads)
            .map(|number| {
                let mine = nodes.split_off(nodes.len() - nodes.len() / (threads + 1 - number));
                scope.spawn(move || work(number, mine, rounds))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("moving doesn't panic")).fold(Tally::new(), Tally::add)
    });
    (Inventory::take(count), tally)
}

fn write_report(
    out: &mut impl Write,
    input: &Input,
    inventory: &Inventory,
    tally: &Tally,
    right: bool,
) -> io::Result<()> {
    let status = rseq::status();
    let lines = [
        ("files", input.files as u64),
        ("bytes", input.bytes.len() as u64),
        ("nodes", inventory.found.len() as u64),
        ("list to array", tally.to_array),
        ("array to list", tally.to_list),
        ("array was full", tally.full),
        ("nothing there", tally.empty),
        ("aborts", tally.aborts),
        ("lost", inventory.lost() as u64),
        ("duplicated", inventory.duplicated() as u64),
        ("spoilt", inventory.spoilt),
    ];
    writeln!(out, "mode             {}", common::mode(&status))?;
    for (name, count) in lines {
        writeln!(out, "{name:16} {:>14}", grouped(count))?;
    }
    writeln!(out, "{:16} {:>14}", "check", if right { "exact" } else { "WRONG" })?;
    common::write_shares(out, "sections by slot", &tally.slots, &status)?;
    common::write_shares(out, "nodes left in lists", &inventory.in_lists, &status)?;
    common::write_shares(out, "nodes left in arrays", &inventory.in_arrays, &status)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = arguments.threads.map_or_else(|| common::available_cpus().max(2), NonZeroUsize::get);
    let input = common::read(&arguments.files);
    let (inventory, tally) = run(&input.bytes, threads, arguments.rounds);
    let right = check(&inventory, &tally);
    let written = write_report(&mut io::stdout().lock(), &input, &inventory, &tally, right);
    common::exit_code(written, right && input.unreadable == 0)
}
