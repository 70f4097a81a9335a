//! The memory of the sections of `examples/push_pop`, made small.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use rseq::{CpuId, PerCpu};
use rseq_explore::model::{Bounds, Done, Failure, Model, Report};

#[path = "../../../examples/push_pop/sections.rs"]
mod sections;

use section as rseq;
use sections::{Array, pop_from_array, pop_from_list, push_to_array, push_to_list};

const CAPACITY: usize = 3;
const NODES: usize = 3;

struct Node {
    next: AtomicPtr<Node>,
    moves: Cell<u64>,
}

// SAFETY: the one thread of the test uses it.
unsafe impl Sync for Node {}

struct Owned(&'static Node);

impl Owned {
    fn pointer(&self) -> *mut Node {
        ptr::from_ref(self.0).cast_mut()
    }
}

#[derive(Default)]
struct Tally {
    aborts: u64,
}

impl Tally {
    fn committed(&mut self, _: CpuId) {}
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
static ARRAYS: PerCpu<Array> = PerCpu::new();

/// Three nodes, one in each list and one in an array.
struct Buffers {
    nodes: &'static [Node],
    moved: Cell<u64>,
}

impl Buffers {
    fn of(nodes: &'static [Node]) -> Self {
        LISTS.iter().for_each(|head| head.store(ptr::null_mut(), Relaxed));
        ARRAYS.iter().flat_map(|array| &array.0).for_each(|entry| entry.store(ptr::null_mut(), Relaxed));
        for node in nodes {
            node.moves.set(0);
            node.next.store(ptr::null_mut(), Relaxed);
        }
        let pointers: Vec<*mut Node> = nodes.iter().map(|node| Owned(node).pointer()).collect();
        for (head, node) in LISTS.iter().zip(&pointers[..2]) {
            head.store(*node, Relaxed);
        }
        for (array, node) in ARRAYS.iter().zip(&pointers[2..]) {
            array.0[0].store(*node, Relaxed);
        }
        Self { nodes, moved: Cell::new(0) }
    }

    /// Changes a node without any protection: it was taken.
    fn touch(&self, node: &Owned) {
        node.0.moves.set(node.0.moves.get() + 1);
        self.moved.set(self.moved.get() + 1);
    }

    /// Takes a node from a list and puts it into an array.
    fn to_array(&self) {
        let mut tally = Tally::default();
        let Some(node) = pop_from_list(&mut tally) else { return };
        self.touch(&node);
        assert!(push_to_array(node, &mut tally).is_ok(), "no array has less room than there are nodes");
    }

    /// Takes a node from an array and puts it into a list.
    fn to_list(&self) {
        let mut tally = Tally::default();
        let Some(node) = pop_from_array(&mut tally) else { return };
        self.touch(&node);
        push_to_list(node, &mut tally);
        assert!(tally.aborts <= 2, "no more than events");
    }

    /// Each node is there once, and they were moved as often as somebody moved one.
    fn check(&self, _: Done) {
        let mut found: Vec<*const Node> =
            ARRAYS.iter().flat_map(|array| &array.0).map(|entry| entry.load(Relaxed).cast_const()).collect();
        found.retain(|node| !node.is_null());
        for head in &LISTS {
            // SAFETY: lists hold such nodes.
            let mut next = unsafe { head.load(Relaxed).as_ref() };
            // A list that lost its end goes round.
            while let Some(node) = next.filter(|_| found.len() <= NODES) {
                found.push(node);
                // SAFETY: as above.
                next = unsafe { node.next.load(Relaxed).as_ref() };
            }
        }
        found.sort_unstable();
        let nodes: Vec<*const Node> = self.nodes.iter().map(ptr::from_ref).collect();
        assert_eq!(found, nodes, "what there is, and what there was");
        assert_eq!(self.nodes.iter().map(|node| node.moves.get()).sum::<u64>(), self.moved.get());
    }
}

/// Threads that share a CPU or have one each, to and fro, with handlers that do either.
pub fn searched() -> Vec<Result<Report, Box<Failure>>> {
    let nodes = |_| Node { next: AtomicPtr::default(), moves: Cell::new(0) };
    let nodes: &'static [Node] = (0..NODES).map(nodes).collect::<Vec<_>>().leak();
    let model = |other, handler: fn(&Buffers)| {
        let model = Model::new(move || Buffers::of(nodes)).thread(0, Buffers::to_array).thread(other, Buffers::to_list);
        model.handler(handler).check(Buffers::check).search(Bounds::events(2))
    };
    vec![model(0, Buffers::to_array), model(0, Buffers::to_list), model(1, Buffers::to_list)]
}
