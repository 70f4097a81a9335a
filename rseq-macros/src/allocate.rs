//! Which register of the machine holds which virtual one, and when: nothing is ever kept in memory.
//!
//! A window is a straight line that can only be left, so a register is taken from where it is
//! written to where it is read last, and the first one that is free will do (linear scan over
//! intervals).

use proc_macro2::Span;

use crate::ids::{List, MachineRegister, Register};
use crate::ir::{Access, Program};
use crate::{error, frame};

/// The registers of a window.
pub struct Allocation {
    /// The register of the machine that has each virtual one.
    pub of: List<Register, MachineRegister>,
    pub contents: List<MachineRegister, Contents>,
}

/// The contents of a register of the machine, which is an operand of the asm.
#[derive(Default, Clone)]
pub struct Contents {
    /// Put there by Rust before the window.
    pub input: Option<Register>,
    /// The window writes it.
    pub written: bool,
    /// Found there by Rust behind it.
    pub output: Option<Register>,
    /// Where it is free again.
    end: usize,
}

/// More virtual registers at once than the machine has.
pub struct TooMany {
    pub span: Span,
    pub names: Vec<String>,
}

/// From where to where a register is taken. Steps count twice, because one reads before it writes.
#[derive(Clone, Copy)]
struct Interval {
    register: Register,
    start: usize,
    end: usize,
    /// The register whose place it best takes.
    replaces: Option<Register>,
}

/// The registers of the program's window, on a machine that has at most so many for it. Where these
/// are few, inputs wait in memory; and nobody asks whose the places are if that takes one too many.
pub fn allocate(program: &mut Program, most: usize, are_few: bool) -> syn::Result<Allocation> {
    let mut allocation = scan(program, most);
    if allocation.is_err() && are_few {
        frame::spread(program);
        allocation = scan(program, most);
    }
    if allocation.is_err() && forget_index(program) {
        allocation = scan(program, most);
    }
    allocation.map_err(|too_many| syn::Error::new(too_many.span, error::too_many_values(&too_many.names, most)))
}

/// Has the window tell its index no more, which takes a register that it needs for something else:
/// true if it did.
fn forget_index(program: &mut Program) -> bool {
    let outputs = program.outputs.len();
    let window = &program.window;
    program.outputs.retain(|(value, _)| Some(*value) != window.index || window.is_named(*value));
    program.outputs.len() < outputs
}

/// Gives each register of the window one of the machine.
pub fn scan(program: &Program, most: usize) -> Result<Allocation, TooMany> {
    let intervals = intervals(program);
    let mut allocation = Allocation { of: program.registers.map(|_| MachineRegister(0)), contents: List::default() };
    for interval in &intervals {
        let free = allocation.free(interval);
        if free.0 == most {
            return Err(too_many(program, &intervals, interval));
        }
        allocation.take(program, free, interval);
    }
    for (_, register) in &program.outputs {
        let found = allocation.of[*register];
        allocation.contents[found].output = Some(*register);
    }
    Ok(allocation)
}

/// In the order in which they start.
fn intervals(program: &Program) -> Vec<Interval> {
    let over = 2 * program.steps.len() + 2;
    let unused = |register| Interval { register, start: 0, end: 0, replaces: None };
    let mut intervals = program.registers.map(unused);
    for (number, step) in program.steps.iter().enumerate() {
        let (reading, writing) = (2 * number + 1, 2 * number + 2);
        let mut replaced = None;
        for (register, access) in step.registers() {
            let interval = &mut intervals[register];
            match access {
                Access::Replaced | Access::ReadFirst => interval.end = interval.end.max(reading),
                Access::Written => *interval = Interval { register, start: reading, end: writing, replaces: replaced },
                Access::ReadLast => interval.end = interval.end.max(writing),
            }
            if access == Access::Replaced {
                replaced = Some(register);
            }
        }
    }
    for (_, register) in &program.outputs {
        intervals[*register].end = over;
    }
    // A value that no step uses needs no register.
    let mut used: Vec<Interval> = intervals.iter().copied().filter(|interval| interval.end > 0).collect();
    used.sort_by_key(|interval| interval.start);
    used
}

impl Allocation {
    /// That of the operand which a computation changes, if it is free by then, or else the first
    /// free one.
    fn free(&self, interval: &Interval) -> MachineRegister {
        let is_free = |register: &MachineRegister| {
            self.contents.get(register.0).is_none_or(|contents| contents.end <= interval.start)
        };
        let preferred = interval.replaces.map(|register| self.of[register]).filter(is_free);
        let mut all = (0..).map(MachineRegister);
        preferred.unwrap_or_else(|| all.find(is_free).expect("behind the last one is a free one"))
    }

    fn take(&mut self, program: &Program, register: MachineRegister, interval: &Interval) {
        if register.0 == self.contents.len() {
            self.contents.push(Contents::default());
        }
        let contents = &mut self.contents[register];
        contents.end = interval.end;
        if program.registers[interval.register].input.is_some() {
            contents.input = Some(interval.register);
        } else {
            contents.written = true;
        }
        self.of[interval.register] = register;
    }
}

fn too_many(program: &Program, intervals: &[Interval], beyond: &Interval) -> TooMany {
    let at_once = intervals.iter().filter(|other| other.start <= beyond.start && beyond.start < other.end);
    let names = at_once.map(|interval| program.registers[interval.register].name.clone()).collect();
    TooMany { span: program.registers[beyond.register].span, names }
}
