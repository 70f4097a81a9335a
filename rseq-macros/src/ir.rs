//! The steps of a section's protocol, in the order in which a thread goes through them.
//!
//! Those before the window ([`Before`]) become ordinary Rust, the others ([`Step`]) the window: one
//! piece of asm. Which instructions a step takes is the emitters' business; no register or mnemonic
//! appears here.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;

use proc_macro2::Span;
use syn::{Block, Expr, Ident};

use crate::ids::{ExitId, InsideId, List, OutsideId, PointeeId, Register, TypeId, ValueId};
use crate::resolve::{Root, Window};
use crate::syntax::ast::{Comparison, Keyword, Operation, Order};
use crate::syntax::text;

/// A section, lowered.
pub struct Program {
    /// Where the section stands in the source.
    pub location: Location,
    /// The keyword that it begins with.
    pub begins_with: Keyword,
    /// The commit, as it was written.
    pub operation: String,
    /// The kind of index: `CpuId` or `MmCid`.
    pub mm_cid: bool,
    /// The steps before the window.
    pub before: Vec<Before>,
    /// The steps of the window.
    pub steps: Vec<Step>,
    /// The register of the thread's area: the last that a window needs.
    pub area: Register,
    /// The registers of the window's steps.
    pub registers: List<Register, RegisterInfo>,
    /// The window as Rust has it, for types and for the portable mode.
    pub window: Window,
    /// The types that pointers in the window point to, as far as the steps need their sizes.
    pub pointees: List<PointeeId, PointeeSource>,
    /// The values that are used once the window is over.
    pub outputs: Vec<(ValueId, Register)>,
    pub abort: OnAbort,
    /// The macro's value once committed, `()` if there is none.
    pub result: Option<Expr>,
    /// Mistakes that the emitter is to make, for negative controls: none in what users write.
    pub flaws: Vec<String>,
}

/// A place in the source: line and column count from 1. Outside of a compiler, as in unit tests,
/// the file has no name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        if file.is_empty() { Ok(()) } else { write!(f, "{file}:{line}:{column}") }
    }
}

/// A register's name, and where it comes from.
pub struct RegisterInfo {
    /// As messages call it.
    pub name: String,
    pub span: Span,
    /// Where it comes from, if Rust computes it before the window.
    pub input: Option<Input>,
}

/// A window input: Rust computes it before the window.
pub enum Input {
    /// The thread descriptor.
    Descriptor,
    /// The thread's area.
    Area,
    /// The thread's area, as windows that arm by themselves address it.
    OwnArea,
    /// The index that `prepare` saw.
    Index,
    /// The address of a place.
    Place(OutsideId),
    /// A value.
    Operand(OutsideId),
    /// The two words by which a window finds its slot.
    Slots(OutsideId),
    /// The address of the first element, or of the field of it that this place names.
    Elements(OutsideId, Option<InsideId>),
    /// The distance of the field that this place names, from the start of what it is in.
    Offset(InsideId),
    /// The address of memory that has these registers' values one after the other: they aren't
    /// there by themselves.
    Frame(Vec<Register>),
}

/// Where the type comes from that a pointer points to.
#[derive(PartialEq, Eq)]
pub enum PointeeSource {
    /// That of the slots.
    Slots(OutsideId),
    /// That of the elements.
    Elements(OutsideId),
    /// That behind this pointer, a value of the window.
    Behind(ValueId),
    /// An element of the field that this place selects from.
    ElementOf(InsideId),
}

impl PointeeSource {
    /// Where the type comes from of what is found at the root of a place.
    pub fn of(root: &Root) -> Self {
        match root {
            Root::Behind(value, _) | Root::ElementBehind(value, ..) => Self::Behind(*value),
            Root::Slot(id, ..) => Self::Slots(*id),
            Root::Element(id, ..) => Self::Elements(*id),
        }
    }
}

/// A step before the window.
#[allow(clippy::large_enum_variant, reason = "there are five in a section")]
pub enum Before {
    /// Whatever way `prepare` is left from here on, the section is disarmed.
    Guard,
    /// The thread descriptor comes into force; the index is read afterwards.
    Arm,
    /// The index gets its name.
    Index { name: Ident, kind: Option<Ident> },
    /// The user's code. Whatever interrupts it takes the descriptor out of force.
    Prepare(Block),
    /// The expressions of the window that are ordinary Rust are evaluated, while still nothing is
    /// in a window.
    Outside,
}

/// A step of the window.
#[rustfmt::skip]
#[derive(Clone, Copy)]
pub enum Step {
    /// The thread descriptor becomes that of the window.
    Publish { descriptor: Register },
    /// The window's own descriptor comes into force: a section without `prepare` begins.
    ArmWindow { area: Register, scratch: Register },
    /// The window starts: from here every interruption goes to the abort handler.
    Start,
    /// Nothing interrupted the steps since [`Before::Arm`], else it goes to the abort handler.
    CheckArmed { area: Register, descriptor: Register },
    /// The thread has the index that `prepare` saw, else it goes to the abort handler. Sees a move
    /// inside a system call, which newer kernels don't note.
    CheckIndex { area: Register, index: Register },
    /// An input is fetched from memory, on machines of few registers.
    Fetch { to: Register, frame: Register, number: usize },
    /// The thread is registered and its CPU has a slot, else it goes to the abort handler.
    CheckRegistered { area: Register, scratch: Register },
    /// The index is read.
    ReadIndex { to: Register, area: Register },
    /// The address of the index's slot, if it has one, else it goes to the abort handler.
    Slot { to: Register, slots: Register, index: Index, pointee: PointeeId },
    /// The address of an element.
    Element { to: Register, base: Register, index: Operand, pointee: PointeeId },
    /// The address of a field.
    Field { to: Register, at: Address },
    Load { to: Register, at: Address, ty: TypeId },
    Compute { to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId },
    /// A scratch store.
    Store { at: Address, value: Operand, ty: TypeId },
    Copy { from: Address, to: Address, length: Operand },
    /// Leaves the window without committing, by the exit of this number, if the comparison holds.
    Exit { left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: ExitId, area: Register },
    /// The one store that publishes the section's work.
    CommitStore { at: Address, value: Operand, order: Order, ty: TypeId },
    /// The one instruction that publishes the section's work, in place.
    CommitUpdate { at: Address, operation: Operation, value: Operand, ty: TypeId },
    /// The window ends: the section has committed.
    Post,
    /// The descriptor goes out of force.
    Disarm { area: Register },
}

/// The index that selects a slot.
#[derive(Clone, Copy)]
pub enum Index {
    /// It was read before.
    Read(Register),
    /// It is read for this slot alone, from the thread's area.
    InArea(Register),
}

/// An operand of a step of the window.
#[derive(Clone, Copy)]
pub enum Operand {
    Register(Register),
    /// A number that fits into 32 bits with its sign.
    Immediate(i64),
}

/// A place in memory.
#[derive(Clone, Copy)]
pub struct Address {
    pub base: Register,
    pub offset: Option<Register>,
}

/// The way on after an abort. In each case the section then starts again.
pub enum OnAbort {
    /// The processor is given away after a run of aborts.
    Relax,
    /// The user's code runs, with the number of aborts so far if it has a name for it.
    Run { count: Option<Ident>, body: Block },
}

impl Program {
    /// A section without `prepare`: its window arms and reads the index by itself.
    pub fn arms_in_window(&self) -> bool {
        !self.before.iter().any(|step| matches!(step, Before::Arm))
    }

    /// A section of which nothing of the user's runs between two attempts. Then all but the window
    /// is computed once, and the loop is the run-time half's.
    pub fn repeats_by_itself(&self) -> bool {
        self.arms_in_window() && matches!(self.abort, OnAbort::Relax)
    }

    /// The step that fetches the thread's area for the end of the window, if it waits in memory.
    pub fn fetches_area(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.registers().contains(&(self.area, Access::Written)))
    }

    /// A negative control, of which nothing is asked that only debug builds ask: it may leave
    /// sections armed on purpose, and the more often it is in its window, the sooner it loses
    /// something.
    pub fn is_control(&self) -> bool {
        !self.flaws.is_empty()
    }

    pub fn has_flaw(&self, name: &str) -> bool {
        self.flaws.iter().any(|flaw| flaw == name)
    }

    pub fn exits(&self) -> impl ExactSizeIterator<Item = ExitId> + use<> {
        (0..self.steps.iter().filter(|step| matches!(step, Step::Exit { .. })).count()).map(ExitId)
    }
}

impl Step {
    /// Looks whether the window may go on, and writes nothing that it needs.
    pub fn is_check(&self) -> bool {
        matches!(self, Self::CheckArmed { .. } | Self::CheckIndex { .. })
    }

    /// Visits every register of the step, in the order in which it accesses them.
    pub fn visit(&mut self, visit: &mut dyn FnMut(&mut Register, Access)) {
        use Access::{ReadFirst, ReadLast, Replaced, Written};
        match self {
            Self::Start | Self::Post => {}
            Self::Publish { descriptor: register } | Self::Disarm { area: register } => visit(register, ReadLast),
            Self::CheckArmed { area, descriptor: other } | Self::CheckIndex { area, index: other } => {
                visit(area, ReadLast);
                visit(other, ReadLast);
            }
            Self::ArmWindow { area, scratch } | Self::CheckRegistered { area, scratch } => {
                visit(scratch, Written);
                visit(area, ReadLast);
            }
            Self::Fetch { to, frame: from, .. } | Self::ReadIndex { to, area: from } => {
                visit(from, ReadFirst);
                visit(to, Written);
            }
            Self::Slot { to, slots, index: Index::Read(index) | Index::InArea(index), .. } => {
                visit(index, ReadFirst);
                visit(to, Written);
                visit(slots, ReadLast);
            }
            Self::Element { to, base, index, .. } => {
                index.visit(ReadFirst, visit);
                visit(to, Written);
                visit(base, ReadLast);
            }
            Self::Field { to, at } | Self::Load { to, at, .. } => {
                at.visit([Replaced, ReadFirst], visit);
                visit(to, Written);
            }
            Self::Compute { to, left, right, .. } => {
                left.visit(Replaced, visit);
                visit(to, Written);
                right.visit(ReadLast, visit);
            }
            Self::Store { at, value, .. }
            | Self::CommitStore { at, value, .. }
            | Self::CommitUpdate { at, value, .. } => {
                at.visit([ReadLast; 2], visit);
                value.visit(ReadLast, visit);
            }
            Self::Copy { from, to, length } => {
                from.visit([ReadLast; 2], visit);
                to.visit([ReadLast; 2], visit);
                length.visit(ReadLast, visit);
            }
            Self::Exit { left, right, area, .. } => {
                left.visit(ReadLast, visit);
                right.visit(ReadLast, visit);
                visit(area, ReadLast);
            }
        }
    }

    /// The same registers, to look at.
    pub fn registers(mut self) -> Vec<(Register, Access)> {
        let mut registers = Vec::new();
        self.visit(&mut |register, access| registers.push((*register, access)));
        registers
    }
}

/// How a step accesses a register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is read before the step writes, which best takes its place.
    Replaced,
    /// It is read before the step writes, which may take its place.
    ReadFirst,
    /// It is written.
    Written,
    /// It is read after the step wrote, or by a step that writes nothing.
    ReadLast,
}

impl Operand {
    pub fn register(self) -> Option<Register> {
        match self {
            Self::Register(register) => Some(register),
            Self::Immediate(_) => None,
        }
    }

    fn visit(&mut self, access: Access, visit: &mut dyn FnMut(&mut Register, Access)) {
        match self {
            Self::Register(register) => visit(register, access),
            Self::Immediate(_) => {}
        }
    }
}

impl Address {
    pub fn at(base: Register) -> Self {
        Self { base, offset: None }
    }

    fn visit(&mut self, [of_base, of_offset]: [Access; 2], visit: &mut dyn FnMut(&mut Register, Access)) {
        visit(&mut self.base, of_base);
        if let Some(offset) = &mut self.offset {
            visit(offset, of_offset);
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "section {}", self.location)?;
        for line in self.before.iter().flat_map(|step| self.lines(step)) {
            writeln!(f, "    {line}")?;
        }
        for step in &self.steps {
            let indent = if matches!(step, Step::Start | Step::Post) { "" } else { "    " };
            writeln!(f, "{indent}{}", self.text(step))?;
        }
        match &self.abort {
            OnAbort::Relax => writeln!(f, "aborted:\n    relax after a run of aborts, then start again")?,
            OnAbort::Run { count: None, body } => writeln!(f, "aborted:\n    {}, then start again", text(body))?,
            OnAbort::Run { count: Some(count), body } => {
                writeln!(f, "aborted:\n    {count} = aborts so far; {}, then start again", text(body))?;
            }
        }
        match &self.result {
            Some(result) => write!(f, "committed:\n    {}", text(result)),
            None => write!(f, "committed:\n    ()"),
        }
    }
}

impl Program {
    /// A step before the window, on a line for each thing that it does.
    pub fn lines(&self, step: &Before) -> Vec<String> {
        match step {
            Before::Guard => vec!["guard: disarm on every way out".into()],
            Before::Arm => vec!["arm".into()],
            Before::Index { name, kind: None } => vec![format!("{name} = index")],
            Before::Index { name, kind: Some(kind) } => vec![format!("{name} = index: {kind}")],
            Before::Prepare(body) => vec![format!("prepare {}", text(body))],
            Before::Outside => {
                self.window.outside.iter().map(|outside| format!("evaluate {}", text(&outside.code))).collect()
            }
        }
    }

    /// A step of the window on one line, as messages call it.
    pub fn text(&self, step: &Step) -> String {
        let name = |register: Register| &self.registers[register].name;
        let operand = |operand| match operand {
            Operand::Register(register) => name(register).clone(),
            Operand::Immediate(number) => number.to_string(),
        };
        let at = |address: Address| match address.offset {
            Some(offset) => format!("[{} + {}]", name(address.base), name(offset)),
            None => format!("[{}]", name(address.base)),
        };
        match *step {
            Step::Publish { .. } => "publish".into(),
            Step::ArmWindow { .. } => "arm".into(),
            Step::Start => "start:".into(),
            Step::CheckArmed { .. } => "armed, else to aborted".into(),
            Step::CheckIndex { .. } => "on the CPU of the index, else to aborted".into(),
            Step::CheckRegistered { .. } => "registered, else to aborted".into(),
            Step::Fetch { to, .. } => format!("fetch {}", name(to)),
            Step::ReadIndex { to, .. } => format!("{} = index", name(to)),
            Step::Slot { to, slots, .. } => format!("{} = slot of {}, else to aborted", name(to), name(slots)),
            Step::Element { to, base, index, .. } => format!("{} = &{}[{}]", name(to), name(base), operand(index)),
            Step::Field { to, at: address } => format!("{} = &{}", name(to), at(address)),
            Step::Load { to, at: address, .. } => format!("{} = load {}", name(to), at(address)),
            Step::Compute { to, left, operation, right, .. } => {
                format!("{} = {} {} {}", name(to), operand(left), operation.symbol(), operand(right))
            }
            Step::Store { at: address, value, .. } => format!("scratch store {} to {}", operand(value), at(address)),
            Step::Copy { from, to, length } => {
                format!("copy {} bytes from {} to {}", operand(length), at(from), at(to))
            }
            Step::Exit { left, comparison, right, exit, .. } => {
                format!("if {} {} {}: exit {exit}", operand(left), comparison.symbol(), operand(right))
            }
            Step::CommitStore { at: address, value, order, .. } => {
                let release = if order == Order::Release { ", release" } else { "" };
                format!("store {} to {}{release}", operand(value), at(address))
            }
            Step::CommitUpdate { at: address, operation, value, .. } => {
                format!("{} {}= {}", at(address), operation.symbol(), operand(value))
            }
            Step::Post => "post:".into(),
            Step::Disarm { .. } => "disarm".into(),
        }
    }
}
