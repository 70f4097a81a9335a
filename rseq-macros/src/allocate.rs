//! Which register of the machine holds which virtual one, and when: nothing is ever kept in memory.
//!
//! A window is a straight line that can only be left, so a register is taken from where it is
//! written to where it is read last, and the first one that is free will do (linear scan over
//! intervals).

use proc_macro2::Span;

use crate::ir::{Access, Program, Register};
use crate::{error, frame};

/// The registers of a window.
pub struct Allocation {
    /// Which slot each virtual register has.
    pub slots: Vec<usize>,
    pub contents: Vec<Slot>,
}

/// A register of the machine, as an operand of the asm.
#[derive(Default, Clone)]
pub struct Slot {
    /// What Rust puts there before the window.
    pub input: Option<Register>,
    /// Whether the window writes it.
    pub written: bool,
    /// What Rust finds there behind it.
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

/// Has the window tell its index no more, which takes a register that it needs for something else.
/// Whether that helps.
fn forget_index(program: &mut Program) -> bool {
    let outputs = program.outputs.len();
    let window = &program.window;
    program.outputs.retain(|(value, _)| Some(*value) != window.index || window.is_named(*value));
    program.outputs.len() < outputs
}

/// Gives each register of the window a slot.
pub fn scan(program: &Program, most: usize) -> Result<Allocation, TooMany> {
    let intervals = intervals(program);
    let mut allocation = Allocation { slots: vec![0; program.registers.len()], contents: Vec::new() };
    for interval in &intervals {
        let slot = allocation.free_slot(interval);
        if slot == most {
            return Err(too_many(program, &intervals, interval));
        }
        allocation.take(program, slot, interval);
    }
    for (_, register) in &program.outputs {
        let slot = allocation.slots[*register];
        allocation.contents[slot].output = Some(*register);
    }
    Ok(allocation)
}

/// In the order in which they start.
fn intervals(program: &Program) -> Vec<Interval> {
    let over = 2 * program.steps.len() + 2;
    let unused = |register| Interval { register, start: 0, end: 0, replaces: None };
    let mut intervals: Vec<Interval> = (0..program.registers.len()).map(unused).collect();
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
    // What no step uses needs no register.
    intervals.retain(|interval| interval.end > 0);
    intervals.sort_by_key(|interval| interval.start);
    intervals
}

impl Allocation {
    /// The slot of the operand that a computation changes, if that is free by then, or else the
    /// first free one.
    fn free_slot(&self, interval: &Interval) -> usize {
        let is_free = |slot: &usize| self.contents.get(*slot).is_none_or(|slot| slot.end <= interval.start);
        let preferred = interval.replaces.map(|register| self.slots[register]).filter(is_free);
        preferred.unwrap_or_else(|| (0..).find(is_free).expect("behind the last slot is a free one"))
    }

    fn take(&mut self, program: &Program, slot: usize, interval: &Interval) {
        if slot == self.contents.len() {
            self.contents.push(Slot::default());
        }
        let contents = &mut self.contents[slot];
        contents.end = interval.end;
        if program.registers[interval.register].input.is_some() {
            contents.input = Some(interval.register);
        } else {
            contents.written = true;
        }
        self.slots[interval.register] = slot;
    }
}

fn too_many(program: &Program, intervals: &[Interval], beyond: &Interval) -> TooMany {
    let at_once = intervals.iter().filter(|other| other.start <= beyond.start && beyond.start < other.end);
    let names = at_once.map(|interval| program.registers[interval.register].name.clone()).collect();
    TooMany { span: program.registers[beyond.register].span, names }
}
