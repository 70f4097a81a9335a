//! The memory and the results of random sections. A part both of the generated program, where
//! sections run, and of the test, which takes the layout from here.

use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

/// A field of every type that a section can load. There is no padding, so that every byte can be
/// compared.
#[repr(C)]
#[derive(Default)]
pub struct Node {
    pub u64: AtomicU64,
    pub i64: AtomicI64,
    pub usize: AtomicUsize,
    pub isize: AtomicIsize,
    /// Null, or one of the first [`TARGETS`] nodes.
    pub node: AtomicPtr<Node>,
    /// Null, or the `plain` of one of those.
    pub words: AtomicPtr<u32>,
    pub inner: Inner,
    pub i64s: [AtomicI64; ELEMENTS],
    pub u32: AtomicU32,
    pub i32: AtomicI32,
    pub u32s: [AtomicU32; ELEMENTS],
    pub items: [Item; ELEMENTS],
    pub u16: AtomicU16,
    pub i16: AtomicI16,
    pub i16s: [AtomicI16; ELEMENTS],
    pub u8: AtomicU8,
    pub i8: AtomicI8,
    pub bool: AtomicBool,
    pub spare: AtomicU8,
    pub u8s: [AtomicU8; ELEMENTS],
    pub source: [AtomicU8; BYTES],
    pub target: [AtomicU8; BYTES],
    /// Fields that are no atomics come last: in slots, to which there are shared references, nobody
    /// changes it.
    pub option: Option<NonNull<Node>>,
    pub plain: [u32; ELEMENTS],
}

/// A structure in a structure.
#[repr(C)]
#[derive(Default)]
pub struct Inner {
    pub u64: AtomicU64,
    pub u32: AtomicU32,
    pub u16: AtomicU16,
    pub i8: AtomicI8,
    pub u8: AtomicU8,
}

/// An element whose size is no power of two.
#[repr(C)]
#[derive(Default)]
pub struct Item {
    pub u32: AtomicU32,
    pub i32: AtomicI32,
    pub u16: AtomicU16,
    pub i8: AtomicI8,
    pub u8: AtomicU8,
}

/// A slot so large that finding it takes other instructions.
#[repr(C)]
pub struct Big {
    pub before: [u64; 5000],
    pub value: AtomicU32,
}

impl Default for Big {
    fn default() -> Self {
        Self { before: [0; 5000], value: AtomicU32::new(0) }
    }
}

/// All memory of a section, as bytes go from the test to the program and back. In these bytes
/// pointers count from [`BASE`], wherever the nodes lie.
#[repr(C)]
pub struct Image {
    pub nodes: [Node; NODES],
    /// The contents of each slot before the section, and of the section's own afterwards.
    pub slot: Node,
    pub hits: AtomicU64,
    pub big: AtomicU64,
}

/// How many elements the arrays of a node have.
pub const ELEMENTS: usize = 8;
/// How many bytes `copy` can take.
pub const BYTES: usize = 32;
pub const NODES: usize = 8;
/// Pointers point to so many nodes; there are as many behind those for indices.
pub const TARGETS: usize = 4;
/// The address of the first node, in images and results.
pub const BASE: u64 = 0x10_0000;
/// How many values a section returns at most.
pub const VALUES: usize = 12;
/// How many numbers a section gets as its argument.
pub const ARGUMENTS: usize = 4;
/// The number of the way out that commits; the exits count from 0.
pub const COMMITTED: u64 = u32::MAX as u64;

/// How many aborts of a section can be asked for, one in each attempt.
pub const ABORTS: usize = 2;
/// In the place of an abort: none.
pub const NEVER: u64 = u64::MAX;

/// The request: a section's number, its argument, where its attempts are aborted (as the model
/// counts: half statements), and its memory, as bytes.
pub const REQUEST: usize = 8 + 8 * ARGUMENTS + 8 * ABORTS + size_of::<Image>();
/// The reply: a [`Fault`], the way out, the values and the memory.
pub const REPLY: usize = 16 + 8 * VALUES + size_of::<Image>();

/// Faults of any section, whatever it computes.
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// More slots than one changed.
    SeveralSlots,
    /// The index that it returned isn't that of the slot that changed.
    OtherIndex,
    /// The same section with the same memory had different results.
    Unsteady,
}
