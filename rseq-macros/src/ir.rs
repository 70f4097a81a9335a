//! The steps of a section's protocol, in the order in which a thread goes through them.
//!
//! The steps up to [`Step::Outside`] become ordinary Rust, those behind it the window: one piece of
//! asm. Which instructions a step takes is the emitters' business; no register or mnemonic appears
//! here.

use std::fmt;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Block, Expr, Ident};

use crate::resolve::{InsideId, OutsideId, Root, ValueId, Window};
use crate::syntax::ast::{Comparison, Keyword, Operation, Order};

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
    pub steps: Vec<Step>,
    /// The register of the thread's area: the last that a window needs.
    pub area: Register,
    /// What the steps of the window keep in registers: the index is the number of a [`Register`].
    pub registers: Vec<RegisterInfo>,
    /// The window as Rust has it, for types and for the portable mode.
    pub window: Window,
    /// The types that pointers in the window point to, as far as the steps need their sizes.
    pub pointees: Vec<PointeeSource>,
    /// The values that are used once the window is over.
    pub outputs: Vec<(ValueId, Register)>,
    pub abort: OnAbort,
    /// The macro's value once committed, `()` if there is none.
    pub result: Option<Expr>,
    /// What the emitter is to get wrong, for negative controls: nothing in what users write.
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

/// A virtual register. Each is written once, before the window or by one step of it.
pub type Register = usize;
/// The number of a statement's type.
pub type TypeId = usize;
/// The number of a type that a pointer points to.
pub type PointeeId = usize;

/// What a register is for.
pub struct RegisterInfo {
    /// As messages call it.
    pub name: String,
    pub span: Span,
    /// Where it comes from, if Rust computes it before the window.
    pub input: Option<Input>,
}

/// What Rust computes before the window.
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
    /// What this value points to.
    Behind(ValueId),
    /// An element of the field that this place selects from.
    ElementOf(InsideId),
}

impl Root {
    /// Where the type comes from of what is found there.
    pub fn pointee(&self) -> PointeeSource {
        match self {
            Self::Behind(value, _) | Self::ElementBehind(value, ..) => PointeeSource::Behind(*value),
            Self::Slot(id, ..) => PointeeSource::Slots(*id),
            Self::Element(id, ..) => PointeeSource::Elements(*id),
        }
    }
}

/// One step.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "there are a dozen in a section")]
pub enum Step {
    /// Whatever way `prepare` is left from here on, the section is disarmed.
    Guard,
    /// The thread descriptor comes into force; the index is read afterwards.
    Arm,
    /// The index gets its name.
    Index {
        name: Ident,
        kind: Option<Ident>,
    },
    /// The user's code. Whatever interrupts it takes the descriptor out of force.
    Prepare(Block),
    /// The expressions of the window that are ordinary Rust are evaluated, while still nothing is
    /// in a window.
    Outside,
    /// The thread descriptor becomes that of the window.
    Publish {
        descriptor: Register,
    },
    /// The window's own descriptor comes into force: a section without `prepare` begins.
    ArmWindow {
        area: Register,
        scratch: Register,
    },
    /// The window starts: from here every interruption goes to the abort handler.
    Start,
    /// Nothing interrupted the steps since [`Step::Arm`], else it goes to the abort handler.
    CheckArmed {
        area: Register,
        descriptor: Register,
    },
    /// The thread has the index that `prepare` saw, else it goes to the abort handler. Sees a move
    /// inside a system call, which newer kernels don't note.
    CheckIndex {
        area: Register,
        index: Register,
    },
    /// What Rust computed is fetched from memory, on machines of few registers.
    Fetch {
        to: Register,
        frame: Register,
        number: usize,
    },
    /// The thread is registered and its CPU has a slot, else it goes to the abort handler.
    CheckRegistered {
        area: Register,
        scratch: Register,
    },
    /// The index is read.
    ReadIndex {
        to: Register,
        area: Register,
    },
    /// The address of the index's slot, if it has one, else it goes to the abort handler.
    Slot {
        to: Register,
        slots: Register,
        index: Index,
        pointee: PointeeId,
    },
    /// The address of an element.
    Element {
        to: Register,
        base: Register,
        index: Operand,
        pointee: PointeeId,
    },
    /// The address of a field.
    Field {
        to: Register,
        at: Address,
    },
    Load {
        to: Register,
        at: Address,
        ty: TypeId,
    },
    Compute {
        to: Register,
        left: Operand,
        operation: Operation,
        right: Operand,
        ty: TypeId,
    },
    /// A scratch store.
    Store {
        at: Address,
        value: Operand,
        ty: TypeId,
    },
    Copy {
        from: Address,
        to: Address,
        length: Operand,
    },
    /// Leaves the window without committing, by the exit of this number, if the comparison holds.
    Exit {
        left: Operand,
        comparison: Comparison,
        right: Operand,
        ty: TypeId,
        exit: usize,
        area: Register,
    },
    /// The one store that publishes the section's work.
    CommitStore {
        at: Address,
        value: Operand,
        order: Order,
        ty: TypeId,
    },
    /// The one instruction that publishes the section's work, in place.
    CommitUpdate {
        at: Address,
        operation: Operation,
        value: Operand,
        ty: TypeId,
    },
    /// The window ends: the section has committed.
    Post,
    /// The descriptor goes out of force.
    Disarm {
        area: Register,
    },
}

/// The index that selects a slot.
#[derive(Clone, Copy)]
pub enum Index {
    /// It was read before.
    Read(Register),
    /// It is read for this slot alone, from the thread's area.
    InArea(Register),
}

/// What a step of the window works on.
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

/// What follows an abort. In each case the section then starts again.
pub enum OnAbort {
    /// The processor is given away after a run of aborts.
    Relax,
    /// The user's code runs, with the number of aborts so far if it has a name for it.
    Run { count: Option<Ident>, body: Block },
}

impl Program {
    /// The steps of the window.
    pub fn in_window(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_in_window())
    }

    /// Whether the section has no `prepare`: its window arms and reads the index by itself.
    pub fn arms_in_window(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Arm))
    }

    /// Whether nothing of the user's runs between two attempts. Then all but the window is computed
    /// once, and the loop is the run-time half's.
    pub fn repeats_by_itself(&self) -> bool {
        self.arms_in_window() && matches!(self.abort, OnAbort::Relax)
    }

    /// The step that fetches the thread's area for the end of the window, if it waits in memory.
    pub fn fetches_area(&self) -> Option<&Step> {
        self.in_window().find(|step| step.writes() == Some(self.area))
    }

    /// Whether it is a negative control, of which nothing is asked that only debug builds ask: it may
    /// leave sections armed on purpose, and the more often it is in its window, the sooner it loses
    /// something.
    pub fn is_control(&self) -> bool {
        !self.flaws.is_empty()
    }

    pub fn has_flaw(&self, name: &str) -> bool {
        self.flaws.iter().any(|flaw| flaw == name)
    }

    pub fn exits(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Exit { .. })).count()
    }
}

impl Step {
    /// Part of the asm.
    pub fn is_in_window(&self) -> bool {
        !matches!(self, Self::Guard | Self::Arm | Self::Index { .. } | Self::Prepare(_) | Self::Outside)
    }

    /// Looks whether the window may go on, and writes nothing that it needs.
    pub fn is_check(&self) -> bool {
        matches!(self, Self::CheckArmed { .. } | Self::CheckIndex { .. })
    }

    /// The register that the step writes.
    pub fn writes(&self) -> Option<Register> {
        match self {
            Self::ArmWindow { scratch, .. } | Self::CheckRegistered { scratch, .. } => Some(*scratch),
            Self::Fetch { to, .. }
            | Self::ReadIndex { to, .. }
            | Self::Slot { to, .. }
            | Self::Element { to, .. }
            | Self::Field { to, .. }
            | Self::Load { to, .. }
            | Self::Compute { to, .. } => Some(*to),
            Self::Guard
            | Self::Arm
            | Self::Index { .. }
            | Self::Prepare(_)
            | Self::Outside
            | Self::Publish { .. }
            | Self::Start
            | Self::CheckArmed { .. }
            | Self::CheckIndex { .. }
            | Self::Store { .. }
            | Self::Copy { .. }
            | Self::Exit { .. }
            | Self::CommitStore { .. }
            | Self::CommitUpdate { .. }
            | Self::Post
            | Self::Disarm { .. } => None,
        }
    }

    /// The registers that the step reads before it writes: what it writes may take their place.
    pub fn reads_first(&self) -> Vec<Register> {
        match self {
            Self::Load { at, .. } | Self::Field { at, .. } => at.registers(),
            Self::Compute { left, .. } => left.register().into_iter().collect(),
            Self::Element { index, .. } => index.register().into_iter().collect(),
            Self::Slot { index, .. } => vec![index.register()],
            Self::ReadIndex { area, .. } => vec![*area],
            Self::Fetch { frame, .. } => vec![*frame],
            Self::Guard
            | Self::Arm
            | Self::Index { .. }
            | Self::Prepare(_)
            | Self::Outside
            | Self::Publish { .. }
            | Self::ArmWindow { .. }
            | Self::Start
            | Self::CheckArmed { .. }
            | Self::CheckIndex { .. }
            | Self::CheckRegistered { .. }
            | Self::Store { .. }
            | Self::Copy { .. }
            | Self::Exit { .. }
            | Self::CommitStore { .. }
            | Self::CommitUpdate { .. }
            | Self::Post
            | Self::Disarm { .. } => Vec::new(),
        }
    }

    /// The registers that the step reads after it wrote, or that it reads without writing any.
    pub fn reads_last(&self) -> Vec<Register> {
        match self {
            Self::Guard
            | Self::Arm
            | Self::Index { .. }
            | Self::Prepare(_)
            | Self::Outside
            | Self::Start
            | Self::Post
            | Self::Load { .. }
            | Self::Field { .. }
            | Self::Fetch { .. }
            | Self::ReadIndex { .. } => Vec::new(),
            Self::Publish { descriptor } => vec![*descriptor],
            Self::ArmWindow { area, .. } | Self::CheckRegistered { area, .. } | Self::Disarm { area } => vec![*area],
            Self::CheckArmed { area, descriptor } => vec![*area, *descriptor],
            Self::CheckIndex { area, index } => vec![*area, *index],
            Self::Slot { slots, .. } => vec![*slots],
            Self::Element { base, .. } => vec![*base],
            Self::Compute { right, .. } => right.register().into_iter().collect(),
            Self::Store { at, value, .. }
            | Self::CommitStore { at, value, .. }
            | Self::CommitUpdate { at, value, .. } => at.registers().into_iter().chain(value.register()).collect(),
            Self::Copy { from, to, length } => {
                from.registers().into_iter().chain(to.registers()).chain(length.register()).collect()
            }
            Self::Exit { left, right, area, .. } => {
                left.register().into_iter().chain(right.register()).chain([*area]).collect()
            }
        }
    }
}

impl Step {
    /// The registers that the step reads, so that it reads others.
    pub fn reads_mut(&mut self) -> Vec<&mut Register> {
        match self {
            Self::Guard
            | Self::Arm
            | Self::Index { .. }
            | Self::Prepare(_)
            | Self::Outside
            | Self::Start
            | Self::Post => Vec::new(),
            Self::Fetch { frame, .. } => vec![frame],
            Self::Publish { descriptor } => vec![descriptor],
            Self::ArmWindow { area, .. }
            | Self::CheckRegistered { area, .. }
            | Self::ReadIndex { area, .. }
            | Self::Disarm { area } => vec![area],
            Self::CheckArmed { area, descriptor } => vec![area, descriptor],
            Self::CheckIndex { area, index } => vec![area, index],
            Self::Slot { slots, index: Index::Read(index) | Index::InArea(index), .. } => vec![slots, index],
            Self::Element { base, index, .. } => [base].into_iter().chain(index.register_mut()).collect(),
            Self::Load { at, .. } | Self::Field { at, .. } => at.registers_mut(),
            Self::Compute { left, right, .. } => left.register_mut().into_iter().chain(right.register_mut()).collect(),
            Self::Store { at, value, .. }
            | Self::CommitStore { at, value, .. }
            | Self::CommitUpdate { at, value, .. } => {
                at.registers_mut().into_iter().chain(value.register_mut()).collect()
            }
            Self::Copy { from, to, length } => {
                let places = from.registers_mut().into_iter().chain(to.registers_mut());
                places.chain(length.register_mut()).collect()
            }
            Self::Exit { left, right, area, .. } => {
                left.register_mut().into_iter().chain(right.register_mut()).chain([area]).collect()
            }
        }
    }
}

impl Index {
    fn register(self) -> Register {
        match self {
            Self::Read(register) | Self::InArea(register) => register,
        }
    }
}

impl Operand {
    pub fn register(self) -> Option<Register> {
        match self {
            Self::Register(register) => Some(register),
            Self::Immediate(_) => None,
        }
    }

    fn register_mut(&mut self) -> Option<&mut Register> {
        match self {
            Self::Register(register) => Some(register),
            Self::Immediate(_) => None,
        }
    }
}

impl Address {
    pub fn at(base: Register) -> Self {
        Self { base, offset: None }
    }

    fn registers(self) -> Vec<Register> {
        [self.base].into_iter().chain(self.offset).collect()
    }

    fn registers_mut(&mut self) -> Vec<&mut Register> {
        [&mut self.base].into_iter().chain(&mut self.offset).collect()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "section {}", self.location)?;
        for step in &self.steps {
            self.fmt_step(step, f)?;
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
    /// A step on one line, as messages call it.
    pub fn text(&self, step: &Step) -> String {
        struct Text<'s>(&'s Program, &'s Step);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_step(self.1, f)
            }
        }
        Text(self, step).to_string().trim().to_owned()
    }

    fn fmt_step(&self, step: &Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |register: &Register| self.registers[*register].name.clone();
        let operand = |operand: &Operand| match operand {
            Operand::Register(register) => name(register),
            Operand::Immediate(number) => number.to_string(),
        };
        let at = |address: &Address| match &address.offset {
            Some(offset) => format!("[{} + {}]", name(&address.base), name(offset)),
            None => format!("[{}]", name(&address.base)),
        };
        match step {
            Step::Guard => writeln!(f, "    guard: disarm on every way out"),
            Step::Arm => writeln!(f, "    arm"),
            Step::Index { name, kind: None } => writeln!(f, "    {name} = index"),
            Step::Index { name, kind: Some(kind) } => writeln!(f, "    {name} = index: {kind}"),
            Step::Prepare(body) => writeln!(f, "    prepare {}", text(body)),
            Step::Outside => {
                for outside in &self.window.outside {
                    writeln!(f, "    evaluate {}", text(&outside.code))?;
                }
                Ok(())
            }
            Step::Publish { .. } => writeln!(f, "    publish"),
            Step::ArmWindow { .. } => writeln!(f, "    arm"),
            Step::Start => writeln!(f, "start:"),
            Step::CheckArmed { .. } => writeln!(f, "    armed, else to aborted"),
            Step::CheckIndex { .. } => writeln!(f, "    on the CPU of the index, else to aborted"),
            Step::CheckRegistered { .. } => writeln!(f, "    registered, else to aborted"),
            Step::Fetch { to, .. } => writeln!(f, "    fetch {}", name(to)),
            Step::ReadIndex { to, .. } => writeln!(f, "    {} = index", name(to)),
            Step::Slot { to, slots, .. } => writeln!(f, "    {} = slot of {}, else to aborted", name(to), name(slots)),
            Step::Element { to, base, index, .. } => {
                writeln!(f, "    {} = &{}[{}]", name(to), name(base), operand(index))
            }
            Step::Field { to, at: address } => writeln!(f, "    {} = &{}", name(to), at(address)),
            Step::Load { to, at: address, .. } => writeln!(f, "    {} = load {}", name(to), at(address)),
            Step::Compute { to, left, operation, right, .. } => {
                writeln!(f, "    {} = {} {} {}", name(to), operand(left), operation.symbol(), operand(right))
            }
            Step::Store { at: address, value, .. } => {
                writeln!(f, "    scratch store {} to {}", operand(value), at(address))
            }
            Step::Copy { from, to, length } => {
                writeln!(f, "    copy {} bytes from {} to {}", operand(length), at(from), at(to))
            }
            Step::Exit { left, comparison, right, exit, .. } => {
                writeln!(f, "    if {} {} {}: exit {exit}", operand(left), comparison.symbol(), operand(right))
            }
            Step::CommitStore { at: address, value, order, .. } => {
                let release = if *order == Order::Release { ", release" } else { "" };
                writeln!(f, "    store {} to {}{release}", operand(value), at(address))
            }
            Step::CommitUpdate { at: address, operation, value, .. } => {
                writeln!(f, "    {} {}= {}", at(address), operation.symbol(), operand(value))
            }
            Step::Post => writeln!(f, "post:"),
            Step::Disarm { .. } => writeln!(f, "    disarm"),
        }
    }
}

/// The user's tokens on one line.
pub fn text(code: &impl ToTokens) -> String {
    let mut tokens = TokenStream::new();
    code.to_tokens(&mut tokens);
    on_one_line(&tokens.to_string())
}

/// A text without its line breaks and indentation.
pub fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
