//! A random section: what `rseq!` calls a window, as data.

use std::mem::offset_of;
use std::sync::atomic::{AtomicI16, AtomicI64, AtomicU8, AtomicU32};

use super::memory::{BYTES, ELEMENTS, Image, Inner, Item, Node};

/// A type of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ty {
    U8,
    I8,
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    Usize,
    Isize,
    /// `*mut Node`
    Node,
    /// `*mut u32`
    Words,
    /// `Option<NonNull<Node>>`
    Option,
}

impl Ty {
    pub const INTEGERS: [Self; 10] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::Usize,
        Self::Isize,
    ];

    pub fn bits(self) -> u32 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 8,
            Self::U16 | Self::I16 => 16,
            Self::U32 | Self::I32 => 32,
            _ => 64,
        }
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::Isize)
    }

    pub fn is_integer(self) -> bool {
        Self::INTEGERS.contains(&self)
    }

    pub fn is_unsigned(self) -> bool {
        self.is_integer() && !self.is_signed()
    }

    pub fn is_pointer(self) -> bool {
        matches!(self, Self::Node | Self::Words | Self::Option)
    }

    pub fn min(self) -> i128 {
        if self.is_signed() { -1 << (self.bits() - 1) } else { 0 }
    }

    pub fn max(self) -> i128 {
        match self {
            Self::Bool => 1,
            _ if self.is_signed() => (1 << (self.bits() - 1)) - 1,
            _ => (1 << self.bits()) - 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::Bool => "bool",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::Usize => "usize",
            Self::Isize => "isize",
            Self::Node => "*mut Node",
            Self::Words => "*mut u32",
            Self::Option => "Option<NonNull<Node>>",
        }
    }
}

/// The number of a value of the window.
pub type ValueId = usize;

/// A section, as `rseq!` compiles it.
#[derive(Clone, Debug)]
pub struct Section {
    /// `true` if there is a `prepare`. It changes the first argument, so that what comes later
    /// shows whether it ran.
    pub prepare: bool,
    pub index: Option<Index>,
    /// `true` if `critical` is written where it is empty.
    pub empty_critical: bool,
    pub values: Vec<Value>,
    pub steps: Vec<Step>,
    pub commit: Commit,
    pub result: Names,
    pub abort: Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    Cpu,
    /// `|cpu: CpuId|`
    CpuWritten,
    MmCid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abort {
    None,
    Plain,
    Counting,
}

/// A value of the window.
#[derive(Clone, Debug)]
pub struct Value {
    pub name: String,
    pub ty: Ty,
    /// Its type is written.
    pub annotated: bool,
    /// It is no larger, whatever is in memory.
    pub at_most: u64,
    /// A pointer that was compared with `null`.
    pub not_null: bool,
}

/// The values that a result names, and whether it names the index.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub values: Vec<ValueId>,
    pub index: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    Load { to: ValueId, place: Place },
    Compute { to: ValueId, left: Operand, operation: Operation, right: Operand },
    Store { place: Place, value: Operand },
    Copy { from: Bytes, to: Bytes, length: Operand },
    Exit { ty: Ty, left: Operand, comparison: Comparison, right: Operand, names: Names },
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub form: Form,
    pub place: Place,
    pub value: Operand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Store,
    StoreRelease,
    Update(Operation),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Add,
    Sub,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

impl Operation {
    pub fn is_shift(self) -> bool {
        matches!(self, Self::Shl | Self::Shr)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug)]
pub enum Operand {
    Value(ValueId),
    Literal(Literal),
    Null,
    Outside(Ty, Outside),
}

/// A number in the source.
#[derive(Clone, Debug)]
pub struct Literal {
    pub number: i128,
    pub hexadecimal: bool,
    /// The type behind it.
    pub suffix: Option<Ty>,
}

/// An expression of ordinary Rust, evaluated before the window.
#[derive(Clone, Debug)]
pub enum Outside {
    /// An argument, converted.
    Argument(usize),
    /// An argument's lower bits.
    Masked(usize, u64),
    Min,
    Max,
    /// The value of a field before the window.
    Field(Param, &'static Field),
    /// The address of a node, or of its `plain`.
    Address(usize),
}

/// A value that ordinary Rust can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Param {
    /// One of the three nodes.
    Node(usize),
    /// The slot, which `prepare` found.
    Slot,
}

/// Where to load from or store to.
#[derive(Clone, Debug)]
pub enum Place {
    /// `&(*pointer).inner.u64`
    Field { root: Root, field: &'static Field },
    /// `&(*pointer).items[operand].u32`
    Element { root: Root, array: &'static Array, through: Through, index: Operand, part: &'static Field },
    /// `&HITS[cpu]`
    Hits,
    /// `&BIG[cpu].value`
    Big,
    /// `pointer`, or `&raw mut pointer[operand]`
    Word { pointer: ValueId, index: Option<Operand> },
}

impl Place {
    pub fn ty(&self) -> Ty {
        match self {
            Self::Field { field, .. } => field.ty,
            Self::Element { part, .. } => part.ty,
            Self::Hits => Ty::U64,
            Self::Big | Self::Word { .. } => Ty::U32,
        }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub enum Root {
    Param(Param),
    /// `SLOTS[cpu]`, found in the window.
    Slot,
    /// `*pointer`
    Behind(ValueId),
    /// `pointer[operand]`
    ElementBehind(ValueId, Operand),
    /// `a[value]`, where `a` is a raw pointer to a node.
    ElementOf(usize, ValueId),
}

/// How ordinary Rust names an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Through {
    Itself,
    Slice,
    RawPointer,
}

/// `source` or `target` of a node, from some byte on.
#[derive(Clone, Debug)]
pub struct Bytes {
    pub root: Root,
    pub index: Option<Operand>,
}

/// A field of a node or of an element.
#[derive(PartialEq, Eq, Debug)]
pub struct Field {
    /// Empty for the element itself.
    pub path: &'static str,
    pub at: usize,
    pub ty: Ty,
}

/// An array of a node.
#[derive(PartialEq, Eq, Debug)]
pub struct Array {
    pub path: &'static str,
    pub at: usize,
    /// The type of its elements, and their size.
    pub element: &'static str,
    pub size: usize,
    pub length: usize,
    pub parts: &'static [Field],
}

macro_rules! fields {
    ($whole:ty: $($path:literal = $($field:ident).+ : $ty:ident),* $(,)?) => {
        &[$(Field { path: $path, at: offset_of!($whole, $($field).+), ty: Ty::$ty }),*]
    };
}

/// The fields of a node.
pub const FIELDS: &[Field] = fields! { Node:
    "u64" = u64: U64,
    "i64" = i64: I64,
    "usize" = usize: Usize,
    "isize" = isize: Isize,
    "u32" = u32: U32,
    "i32" = i32: I32,
    "u16" = u16: U16,
    "i16" = i16: I16,
    "u8" = u8: U8,
    "i8" = i8: I8,
    "bool" = bool: Bool,
    "inner.u64" = inner.u64: U64,
    "inner.u32" = inner.u32: U32,
    "inner.u16" = inner.u16: U16,
    "inner.i8" = inner.i8: I8,
    "inner.u8" = inner.u8: U8,
    "node" = node: Node,
    "words" = words: Words,
    "option" = option: Option,
};

/// The fields behind which a section finds something.
pub fn pointer_field(ty: Ty) -> &'static Field {
    FIELDS.iter().find(|field| field.ty == ty).expect("there is one of each type")
}

macro_rules! whole {
    ($ty:ident) => {
        &[Field { path: "", at: 0, ty: Ty::$ty }]
    };
}

macro_rules! array {
    ($name:literal, $field:ident, $element:ty, $length:expr, $parts:expr) => {
        Array {
            path: $name,
            at: offset_of!(Node, $field),
            element: stringify!($element),
            size: size_of::<$element>(),
            length: $length,
            parts: $parts,
        }
    };
}

/// The arrays of a node.
pub const ARRAYS: &[Array] = &[
    array!("u32s", u32s, AtomicU32, ELEMENTS, whole!(U32)),
    array!("i64s", i64s, AtomicI64, ELEMENTS, whole!(I64)),
    array!("i16s", i16s, AtomicI16, ELEMENTS, whole!(I16)),
    array!("u8s", u8s, AtomicU8, ELEMENTS, whole!(U8)),
    array!(
        "items",
        items,
        Item,
        ELEMENTS,
        fields! { Item: "u32" = u32: U32, "i32" = i32: I32, "u16" = u16: U16, "i8" = i8: I8, "u8" = u8: U8 }
    ),
    array!("target", target, AtomicU8, BYTES, whole!(U8)),
];

/// Where in the image the fields of the slots are.
pub const SLOT: usize = offset_of!(Image, slot);
pub const HITS: usize = offset_of!(Image, hits);
pub const BIG: usize = offset_of!(Image, big);

const _: () = {
    assert!(size_of::<Inner>() == 16 && size_of::<Item>() == 12);
    assert!(size_of::<Node>() == offset_of!(Node, plain) + 4 * ELEMENTS, "no padding at the end");
};
