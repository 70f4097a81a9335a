//! The operations of librseq and of tcmalloc's per-CPU slabs, written with `rseq!`.
//!
//! `operations/librseq.rs` has the seven of librseq, `operations/slab.rs` the four of the slab.
//! This program does each once and looks at the memory, and then lets threads move items between
//! lists and slabs by them: in the end each must be there once, and must have been moved as often
//! as the threads say.
//!
//! ```text
//! cargo run --release --example operations
//! cargo run --release --example operations -- --threads 8 --rounds 1000000
//! RSEQ_MODE=portable cargo run --release --example operations    # with a lock per slot instead
//! ```

mod common;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use clap::Parser;
use common::grouped;
use rseq::PerCpu;
use rseq_operations::librseq::{self, Node, Pair, Record, Table};
use rseq_operations::slab::{self, Slab};

/// Does the operations of librseq and of tcmalloc's slabs, and checks what they leave behind.
///
/// First each once, then by several threads that move items between per-CPU lists and slabs. The
/// exit code is 1 if an operation went wrong, or an item is lost or there twice.
#[derive(Parser)]
struct Arguments {
    /// Threads that move items [default: the CPUs that may be used, but at least 2]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Moves that each thread tries
    #[arg(long, value_name = "R", default_value_t = 500_000)]
    rounds: u64,
}

/// The account of one operation, and whether it was right.
struct Done {
    name: &'static str,
    did: String,
    right: bool,
}

fn done(name: &'static str, did: String, right: bool) -> Done {
    Done { name, did, right }
}

/// `true` if one slot has `now`, and all others what they had `before`: all operations of a test
/// may run on different CPUs, but each on one.
fn one_changed<T, V: PartialEq>(slots: &PerCpu<T>, value: impl Fn(&T) -> V, before: V, now: V) -> bool {
    let values: Vec<V> = slots.iter().map(value).collect();
    let count = |wanted: V| values.iter().filter(|value| **value == wanted).count();
    count(now) == 1 && count(before) == values.len() - 1
}

fn compare_and_store() -> Done {
    let words = PerCpu::from_fn(|_| AtomicUsize::new(7));
    let [refused, stored] = [6, 7].map(|expect| librseq::compare_and_store(&words, expect, 9));
    let right = !refused && stored && one_changed(&words, |word| word.load(Relaxed), 7, 9);
    done("compare and store", format!("9 over 6: {refused}, 9 over 7: {stored}"), right)
}

fn add() -> Done {
    let counts = PerCpu::new();
    librseq::add(&counts, 5);
    librseq::add(&counts, 37);
    let sum: usize = counts.iter().map(|count| count.load(Relaxed)).sum();
    done("add", format!("5 + 37 = {sum}"), sum == 42)
}

fn list_push_and_pop() -> Done {
    let lists: PerCpu<AtomicPtr<Node>> = PerCpu::new();
    for value in 1..=3 {
        let node = Box::new(Node { next: AtomicPtr::default(), value: AtomicU64::new(value) });
        // SAFETY: a new node, which nobody frees before it has been popped.
        unsafe { librseq::list_push(&lists, NonNull::from(Box::leak(node))) };
    }
    // On another CPU by now, perhaps, whose list is empty.
    // SAFETY: the lists hold those nodes.
    let popped = unsafe { librseq::list_pop(&lists) };
    let mut values = Vec::new();
    let heads = lists.iter().map(|head| head.load(Relaxed));
    for head in popped.map(NonNull::as_ptr).into_iter().chain(heads) {
        // A popped item still points to the list it was taken from.
        let whole_list = popped.is_none_or(|popped| popped.as_ptr() != head);
        free(head, whole_list, &mut values);
    }
    values.sort_unstable();
    done("list push and pop", format!("3 pushed, found again: {values:?}"), values == [1, 2, 3])
}

/// Frees a node, and those behind it. Gives what was in them.
fn free(mut node: *mut Node, and_the_next: bool, values: &mut Vec<u64>) {
    while !node.is_null() {
        // SAFETY: made by `Box`, out of use, and in one list alone.
        let owned = unsafe { Box::from_raw(node) };
        values.push(owned.value.load(Relaxed));
        node = if and_the_next { owned.next.load(Relaxed) } else { ptr::null_mut() };
    }
}

/// The two words of a pair.
fn both(pair: &Pair) -> [usize; 2] {
    [pair.first.load(Relaxed), pair.second.load(Relaxed)]
}

fn pair(first: usize, second: usize) -> Pair {
    Pair { first: first.into(), second: second.into() }
}

fn compare_both_and_store() -> Done {
    let pairs = PerCpu::from_fn(|_| pair(7, 8));
    let [refused, stored] = [[7, 9], [7, 8]].map(|expect| librseq::compare_both_and_store(&pairs, expect, 1));
    let right = !refused && stored && one_changed(&pairs, both, [7, 8], [1, 8]);
    done("compare two, store", format!("1 over 7 beside 9: {refused}, beside 8: {stored}"), right)
}

fn compare_and_store_both() -> Done {
    let pairs = PerCpu::from_fn(|_| pair(7, 8));
    let [refused, stored] = [8, 7].map(|expect| librseq::compare_and_store_both(&pairs, expect, [1, 2]));
    let right = !refused && stored && one_changed(&pairs, both, [7, 8], [1, 2]);
    done("compare, store two", format!("1 and 2 over 8: {refused}, over 7: {stored}"), right)
}

fn compare_copy_and_store() -> Done {
    let records = PerCpu::<Record>::new();
    let words = [1, 2, 3];
    // SAFETY: nobody but these sections accesses the records until they are read below.
    let [refused, stored] =
        [1, 0].map(|expect| unsafe { librseq::compare_copy_and_store(&records, expect, &words, 1) });
    let record =
        |record: &Record| (record.version.load(Relaxed), record.words.each_ref().map(|word| word.load(Relaxed)));
    let right = !refused && stored && one_changed(&records, record, (0, [0; 8]), (1, [1, 2, 3, 0, 0, 0, 0, 0]));
    done("compare, copy, store", format!("{words:?} over version 1: {refused}, over 0: {stored}"), right)
}

fn add_behind() -> Done {
    let counters: Vec<[AtomicUsize; 2]> = (0..rseq::slots()).map(|_| Default::default()).collect();
    let entry = |counter: &AtomicUsize| AtomicPtr::new(ptr::from_ref(counter).cast_mut());
    let tables: Vec<[AtomicPtr<AtomicUsize>; 2]> = counters.iter().map(|two| two.each_ref().map(entry)).collect();
    let slots: PerCpu<Table> = PerCpu::from_fn(|slot| AtomicPtr::new(tables[slot].as_ptr().cast_mut()));
    // SAFETY: each slot has a table of two pointers to counters of its own, and all of them are
    // there until the end.
    unsafe { librseq::add_behind(&slots, 1, 42) };
    let sums = [0, 1].map(|entry| counters.iter().map(|two| two[entry].load(Relaxed)).sum::<usize>());
    done("find and add", format!("second of two counters: {sums:?}"), sums == [0, 42])
}

fn slab_push_and_pop() -> Done {
    let slabs = PerCpu::new();
    let items = [1, 2, 3].map(ptr::without_provenance_mut);
    let pushed = items.iter().filter(|item| slab::push(&slabs, **item)).count();
    let mut found: Vec<usize> =
        slab::pop(&slabs).into_iter().chain(slabs.iter().flat_map(Slab::items)).map(<*mut u8>::addr).collect();
    found.sort_unstable();
    done("slab push and pop", format!("{pushed} pushed, found again: {found:?}"), pushed == 3 && found == [1, 2, 3])
}

fn slab_batches() -> Done {
    let slabs = PerCpu::new();
    let items: Vec<*mut u8> = (1..=slab::CAPACITY + 6).map(ptr::without_provenance_mut).collect();
    let pushed = slab::push_batch(&slabs, &items);
    let mut batch = [ptr::null_mut(); 10];
    let popped = slab::pop_batch(&slabs, &mut batch);
    let mut found: Vec<*mut u8> = batch[..popped].iter().copied().chain(slabs.iter().flat_map(Slab::items)).collect();
    found.sort_unstable();
    let right = pushed == slab::CAPACITY && (popped == 0 || popped == 10) && found == items[..pushed];
    done("slab batches", format!("of {} pushed {pushed}, of 10 popped {popped}", items.len()), right)
}

/// The operations, each done once.
fn once() -> Vec<Done> {
    vec![
        compare_and_store(),
        add(),
        list_push_and_pop(),
        compare_both_and_store(),
        compare_and_store_both(),
        compare_copy_and_store(),
        add_behind(),
        slab_push_and_pop(),
        slab_batches(),
    ]
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
static SLABS: PerCpu<Slab> = PerCpu::new();

/// How many items threads move: fewer than a slab holds, so that there always is room.
const ITEMS: usize = slab::CAPACITY;

/// The most items that are moved at once.
const BATCH: usize = 5;

/// Counts a move, without any protection: who popped an item is its only owner.
fn count_move(item: NonNull<Node>) {
    // SAFETY: items are never freed.
    let moves = unsafe { &item.as_ref().value };
    moves.store(moves.load(Relaxed) + 1, Relaxed);
}

fn pop_from_list() -> Option<NonNull<Node>> {
    // SAFETY: the lists hold items, which are never freed.
    unsafe { librseq::list_pop(&LISTS) }.inspect(|item| count_move(*item))
}

fn push_to_list(item: NonNull<Node>) {
    // SAFETY: items are never freed, and this one was popped, so it is in no list.
    unsafe { librseq::list_push(&LISTS, item) };
}

/// Takes items out of a slab: one by itself, several by a batch.
fn pop_from_slab(count: usize) -> impl Iterator<Item = NonNull<Node>> {
    let mut batch = [ptr::null_mut(); BATCH];
    let popped = match count {
        1 => slab::pop(&SLABS).map_or(0, |item| {
            batch[0] = item;
            1
        }),
        _ => slab::pop_batch(&SLABS, &mut batch[..count]),
    };
    let items = batch.into_iter().take(popped).filter_map(|item| NonNull::new(item.cast()));
    items.inspect(|item| count_move(*item))
}

/// Moves up to so many items from a list to a slab. Gives their number.
fn to_slab(count: usize) -> u64 {
    let items: Vec<NonNull<Node>> = std::iter::from_fn(pop_from_list).take(count).collect();
    let pointers: Vec<*mut u8> = items.iter().map(|item| item.as_ptr().cast()).collect();
    let pushed = match pointers[..] {
        [item] => usize::from(slab::push(&SLABS, item)),
        _ => slab::push_batch(&SLABS, &pointers),
    };
    items[pushed..].iter().for_each(|item| push_to_list(*item));
    items.len() as u64
}

/// Moves up to so many items from a slab to a list. Gives their number.
fn to_list(count: usize) -> u64 {
    pop_from_slab(count).map(push_to_list).count() as u64
}

/// One thread: it puts its items into lists, and then moves what it finds. Gives how many items it
/// moved.
fn work(items: impl Iterator<Item = &'static Node>, rounds: u64) -> u64 {
    items.for_each(|item| push_to_list(NonNull::from(item)));
    let count = |round: u64| 1 + (round / 2) as usize % BATCH;
    (0..rounds).map(|round| if round % 2 == 0 { to_slab(count(round)) } else { to_list(count(round)) }).sum()
}

/// The work of all threads together, and what is left of it.
struct Outcome {
    moves: u64,
    counted: u64,
    in_lists: Vec<u64>,
    in_slabs: Vec<u64>,
    lost: usize,
    duplicated: usize,
}

impl Outcome {
    fn is_exact(&self) -> bool {
        self.moves == self.counted && self.lost == 0 && self.duplicated == 0
    }
}

fn together(threads: usize, rounds: u64) -> Outcome {
    // Never freed: the statics refer to them to the end.
    let items: &'static [Node] = (0..ITEMS).map(|_| Node::default()).collect::<Vec<_>>().leak();
    let moves = thread::scope(|scope| {
        let share = |thread| items.iter().skip(thread).step_by(threads);
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(share(thread), rounds))).collect();
        threads.into_iter().map(|thread| thread.join().expect("moving items doesn't panic")).sum()
    });
    let mut found: BTreeMap<*const Node, usize> = items.iter().map(|item| (ptr::from_ref(item), 0)).collect();
    let in_lists = LISTS.iter().map(|head| count_items(nodes(head), &mut found)).collect();
    let in_slabs = SLABS
        .iter()
        .map(|slab| count_items(slab.items().map(|item| item.cast::<Node>().cast_const()), &mut found))
        .collect();
    Outcome {
        moves,
        counted: items.iter().map(|item| item.value.load(Relaxed)).sum(),
        in_lists,
        in_slabs,
        lost: found.values().filter(|times| **times == 0).count(),
        duplicated: found.values().filter(|times| **times > 1).count(),
    }
}

/// The nodes of a list, once no section is on its way; not for ever if it is a circle.
fn nodes(head: &AtomicPtr<Node>) -> impl Iterator<Item = *const Node> {
    let pointer = |pointer: &AtomicPtr<Node>| NonNull::new(pointer.load(Relaxed));
    // SAFETY: items are never freed.
    let list = std::iter::successors(pointer(head), move |node| pointer(unsafe { &node.as_ref().next }));
    list.map(|node| node.as_ptr().cast_const()).take(ITEMS + 1)
}

fn count_items(items: impl Iterator<Item = *const Node>, found: &mut BTreeMap<*const Node, usize>) -> u64 {
    items.map(|item| *found.entry(item).or_default() += 1).count() as u64
}

fn write_report(out: &mut impl Write, once: &[Done], together: &Outcome, threads: usize) -> io::Result<()> {
    let status = rseq::status();
    writeln!(out, "mode       {}\n", common::mode(&status))?;
    for Done { name, did, right } in once {
        writeln!(out, "{name:22}{}  {did}", if *right { "right" } else { "WRONG" })?;
    }
    writeln!(out, "\nthreads    {:>16}", grouped(threads as u64))?;
    writeln!(out, "items      {:>16}", grouped(ITEMS as u64))?;
    writeln!(out, "moves      {:>16}", grouped(together.moves))?;
    writeln!(out, "counted    {:>16}", grouped(together.counted))?;
    writeln!(out, "lost       {:>16}", grouped(together.lost as u64))?;
    writeln!(out, "duplicated {:>16}", grouped(together.duplicated as u64))?;
    common::write_shares(out, "items left in lists", &together.in_lists, &status)?;
    common::write_shares(out, "items left in slabs", &together.in_slabs, &status)?;
    let exact = together.is_exact() && once.iter().all(|done| done.right);
    writeln!(out, "\ncheck      {:>16}", if exact { "exact" } else { "MISMATCH" })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = arguments.threads.map_or_else(|| common::available_cpus().max(2), NonZeroUsize::get);
    let (once, together) = (once(), together(threads, arguments.rounds));
    let right = together.is_exact() && once.iter().all(|done| done.right);
    let written = write_report(&mut io::stdout().lock(), &once, &together, threads);
    common::exit_code(written, right)
}
