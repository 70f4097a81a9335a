//! The sections of the example, on lists and arrays per CPU.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed};

// Not `rseq::rseq`: the tests compile this file once more, for their model.
use super::rseq;
use super::{ARRAYS, CAPACITY, LISTS, Node, Owned, Tally};

/// A stack: its nodes first, nulls behind them.
///
/// How many nodes there are is nowhere written down. A section has a single store that is undone
/// with it; a count beside the entries would take a second one, made in `prepare`, which an
/// interrupted section leaves behind for the others. So a push commits the pointer to the first
/// entry without one, a pop commits null to the last entry with one, and either is the whole
/// change.
pub struct Array(pub [AtomicPtr<Node>; CAPACITY]);

impl Default for Array {
    fn default() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY])
    }
}

impl Array {
    /// The number of nodes. Something else at most if the section that asks has been interrupted,
    /// and then it aborts.
    fn depth(&self) -> usize {
        self.0.partition_point(|entry| !entry.load(Relaxed).is_null())
    }
}

// Orders: a head is read with acquire order and stored with release order by pushes and pops alike,
// so each section on a list sees all that the owners of its nodes did before. An entry of an array
// holds one node at a time, so there it is enough that the push releases and the pop acquires.
//
// A section that gives up in `prepare` (nothing there, no room) commits nothing, so nothing tells
// it whether it was interrupted: its answer may be out of date. That costs a round, no node.

/// Makes a node the first of its CPU's list.
pub fn push_to_list(node: Owned, tally: &mut Tally) {
    let cpu = rseq! {
        prepare |cpu| {
            let head = &LISTS[cpu];
            // Not undone by an abort, which is no matter: the node is still this thread's alone.
            node.0.next.store(head.load(Acquire), Relaxed);
        }
        commit store_release(head, node.pointer())
        => cpu
        abort { tally.aborts += 1; }
    };
    tally.committed(cpu);
}

/// Takes the first node of its CPU's list.
pub fn pop_from_list(tally: &mut Tally) -> Option<Owned> {
    let (cpu, node) = rseq! {
        prepare |cpu| {
            let head = &LISTS[cpu];
            // The node may be another thread's by now if this section was interrupted since. Its
            // memory is a node all the same, because no node is ever freed; what is read from it
            // then is not committed. SAFETY: a list holds pointers to nodes of `fill` alone, which
            // are never freed and never borrowed mutably as a whole.
            let node = unsafe { head.load(Acquire).as_ref() }?;
            let next = node.next.load(Relaxed);
        }
        commit store_release(head, next)
        => (cpu, node)
        abort { tally.aborts += 1; }
    };
    tally.committed(cpu);
    Some(Owned(node))
}

/// Puts a node behind the last one of its CPU's array. Gives it back if there is no room.
pub fn push_to_array(node: Owned, tally: &mut Tally) -> Result<(), Owned> {
    let cpu = rseq! {
        prepare |cpu| {
            let array = &ARRAYS[cpu];
            let Some(free) = array.0.get(array.depth()) else { return Err(node) };
        }
        commit store_release(free, node.pointer())
        => cpu
        abort { tally.aborts += 1; }
    };
    tally.committed(cpu);
    Ok(())
}

/// Takes the last node of its CPU's array.
pub fn pop_from_array(tally: &mut Tally) -> Option<Owned> {
    let (cpu, node) = rseq! {
        prepare |cpu| {
            let array = &ARRAYS[cpu];
            let top = &array.0[array.depth().checked_sub(1)?];
            // SAFETY: an array holds nulls and pointers to nodes of `fill` alone, which are never
            // freed and never borrowed mutably as a whole.
            let node = unsafe { top.load(Acquire).as_ref() }?;
        }
        commit store(top, ptr::null_mut())
        => (cpu, node)
        abort { tally.aborts += 1; }
    };
    tally.committed(cpu);
    Some(Owned(node))
}
