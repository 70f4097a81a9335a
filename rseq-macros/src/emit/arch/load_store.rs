//! The steps of a window on machines that load from memory, compute between registers, and store.
//!
//! Such a machine tells the instructions; which a step takes, and in what order, is the same for
//! all. Values are kept zero-extended.
//!
//! The thread descriptor is published by several stores here, so its length is 0 in between:
//! whenever it is in force, it covers nothing, or start, length and abort handler are those of one
//! window. What rseq-core does for this when it arms and disarms stands there, in
//! `arch/by_stores.rs`.

use std::fmt::Display;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

use super::Machine;
use crate::emit::asm::{Writer, copies, shifts_by_register, signed, unsigned, uses};
use crate::ids::{PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation, Order};

/// What such a machine must tell. Operands are given as they stand in the asm (`{s0}`), results
/// come first; every line says in its comment what it does.
pub trait LoadStore: Sync {
    /// The width of pointers, and of the widest value.
    const POINTER_BITS: u32 = 64;
    /// How many registers the compiler can find for a window: those of the class of its operands
    /// without those that it keeps for itself, and one more left to it.
    const GENERAL: usize;
    /// What always holds 0, if there is such a register.
    const ZERO: Option<&'static str> = None;
    /// `compute` takes numbers below this one, other than counts of shifts, as they are in the
    /// place of `right`.
    const IMMEDIATES: u64 = 0;
    /// One register beside these that can hold numbers, but no addresses, if there is such a one.
    const NUMBERS: Option<&'static str> = None;
    /// Whether the address of FAST is in a register before the window, as the operand `{fast}`, and
    /// not the symbol.
    const FAST_IN_REGISTER: bool = false;
    /// [`Machine::cold`].
    const COLD: [&'static str; 2];
    /// [`Machine::signature`].
    const SIGNATURE: &'static [&'static str];

    /// The class of registers of operands and scratch registers: all of it can hold addresses.
    fn class(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg)
    }
    /// Further registers that the instructions here change, as operands of `asm!`.
    fn clobbers(&self) -> TokenStream {
        TokenStream::new()
    }
    /// The register of an operand.
    fn register(&self, operand: &str) -> String {
        format!("{{{operand}}}")
    }
    /// Goes to a label.
    fn jump(&self, label: &str) -> String;
    /// to = the address of a label or of a symbol of this image. Not in the window.
    fn address(&self, to: &str, label: &str) -> Vec<String>;
    /// to = the number of CPUs: what lies `{cpus_offset}` behind the symbol `{fast}`. In the
    /// window, with one more register to use.
    fn cpus(&self, to: &str, scratch: &str) -> Vec<String>;
    /// to = a number: an expression of the assembler's, at most 32 bits wide and with a sign, or
    /// not.
    fn number(&self, to: &str, expression: &str, is_signed: bool) -> Vec<String>;
    /// to = from.
    fn copy(&self, to: &str, from: &str) -> String;
    /// to = what is so many bytes behind base, zero-extended.
    fn load(&self, bits: u32, to: &str, base: &str, displacement: u32) -> String;
    /// What is so many bytes behind base = the lower bits of value.
    fn store(&self, bits: u32, value: &str, base: &str, displacement: u32) -> String;
    /// What makes some register hold 0, with one to use for it, and that register.
    fn zero(&self, scratch: &str) -> (Vec<String>, String) {
        match Self::ZERO {
            Some(zero) => (Vec::new(), zero.into()),
            None => (self.number(scratch, "0", false), scratch.into()), // scratch = 0
        }
    }
    /// What is so many bytes behind base = 0, with a register to use for it.
    fn clear(&self, bits: u32, base: &str, displacement: u32, scratch: &str) -> Vec<String> {
        let (mut lines, zero) = self.zero(scratch);
        lines.push(self.store(bits, &zero, base, displacement)); // base[displacement] = 0
        lines
    }
    /// What comes before a store so that other CPUs see it after all earlier ones, and the store.
    fn store_release(&self, bits: u32, value: &str, base: &str) -> Vec<String>;
    /// to = left operation right, on whole registers. Shifts take all bits of the count, which is
    /// below the width. `to` may be `left`, not `right`.
    fn compute(&self, operation: Operation, is_signed: bool, to: &str, left: &str, right: &str) -> Vec<String>;
    /// to = left << count or left >> count, for a constant: a number, or an operand that is one.
    fn shift(&self, operation: Operation, is_signed: bool, to: &str, left: &str, count: impl Display) -> Vec<String>;
    /// to = left * right. `to` may be `left`, not `right`.
    fn multiply(&self, to: &str, left: &str, right: &str) -> Vec<String>;
    /// to = the lower bits of from, extended to the whole register.
    fn extend(&self, bits: u32, is_signed: bool, to: &str, from: &str) -> Vec<String> {
        let unused = Self::POINTER_BITS - bits;
        let mut lines = self.shift(Operation::Shl, false, to, from, unused); // to = from, at the top
        lines.extend(self.shift(Operation::Shr, is_signed, to, to, unused)); // to = from, extended
        lines
    }
    /// Goes to the label if left comparison right, on whole registers.
    fn branch(&self, comparison: Comparison, is_signed: bool, left: &str, right: &str, label: &str) -> Vec<String>;
    /// Words of this machine.
    #[cfg(test)]
    fn words(&self) -> &'static [&'static str];
}

/// The steps of such a machine.
pub struct Steps<M>(pub M);

impl<M: LoadStore> Machine for Steps<M> {
    fn pointer_bits(&self) -> u32 {
        M::POINTER_BITS
    }

    fn registers(&self, program: &Program) -> usize {
        M::GENERAL + usize::from(self.numbers(program).is_some()) - scratch_registers(program)
    }

    fn scratch(&self, program: &Program, lines: &[String]) -> TokenStream {
        let (class, clobbers) = (self.0.class(), self.0.clobbers());
        let is_used = |name: &String| uses(lines, name);
        let names = (0..scratch_registers(program)).map(|number| format!("t{number}")).filter(is_used);
        let names = names.map(|name| Ident::new(&name, Span::mixed_site()));
        let numbers = self.numbers(program).map(|(_, register)| register.trim_start_matches('%')).into_iter();
        quote_spanned!(Span::mixed_site()=> #(#names = out(#class) _,)* #(out(#numbers) _,)* #clobbers)
    }

    fn class(&self) -> TokenStream {
        self.0.class()
    }

    fn fast_in_register(&self) -> bool {
        M::FAST_IN_REGISTER
    }

    fn cold(&self) -> [&'static str; 2] {
        M::COLD
    }

    fn signature(&self) -> &'static [&'static str] {
        M::SIGNATURE
    }

    fn jump(&self, label: &str) -> String {
        self.0.jump(label)
    }

    fn set_number(&self, operand: &str, number: usize) -> Vec<String> {
        self.0.number(&self.0.register(operand), &number.to_string(), false)
    }

    fn disarm(&self, writer: &Writer<'_>, area: Register) -> Vec<String> {
        self.0.clear(M::POINTER_BITS, &self.name(writer, area), 8, &self.scratch_register("t0")) // area->rseq_cs = NULL
    }

    fn step(&self, writer: &Writer<'_>, step: &Step) -> Vec<String> {
        let lines = self.lines(writer, step);
        match self.numbers(writer.program) {
            Some((scratch, register)) => lines.iter().map(|line| line.replace(&scratch, register)).collect(),
            None => lines,
        }
    }

    #[cfg(test)]
    fn words(&self) -> &'static [&'static str] {
        self.0.words()
    }
}

/// Two for addresses and numbers, and two more for copies.
fn scratch_registers(program: &Program) -> usize {
    if copies(program) { 4 } else { 2 }
}

impl<M: LoadStore> Steps<M> {
    /// What stands for the last scratch register of this window, and its name: where no address is
    /// ever in it, and no count of a shift (which is as good as one).
    fn numbers(&self, program: &Program) -> Option<(String, &'static str)> {
        let last = if copies(program) { "t3" } else { "t1" };
        let register = M::NUMBERS.filter(|_| copies(program) || !shifts_by_register(program))?;
        Some((self.scratch_register(last), register))
    }

    /// The instructions of a step.
    fn lines(&self, writer: &Writer<'_>, step: &Step) -> Vec<String> {
        let name = |register| self.name(writer, register);
        match step {
            Step::Publish { descriptor } => self.publish(&name(*descriptor)),
            Step::ArmWindow { area, scratch } => {
                let mut lines = self.0.address(&name(*scratch), "22b"); // scratch = descriptor
                lines.push(self.0.store(M::POINTER_BITS, &name(*scratch), &name(*area), 8)); // area->rseq_cs = scratch: armed
                lines
            }
            Step::CheckArmed { area, descriptor } => {
                let in_force = self.scratch_register("t0");
                let mut lines = vec![self.0.load(M::POINTER_BITS, &in_force, &name(*area), 8)]; // t0 = area->rseq_cs
                let aborted = writer.aborted();
                lines.extend(self.0.branch(Comparison::Ne, false, &in_force, &name(*descriptor), aborted)); // another: start again
                lines
            }
            Step::CheckIndex { area, index } => {
                let now = self.scratch_register("t0");
                let mut lines = vec![self.index(writer, &now, *area)]; // t0 = area->cpu_id (or mm_cid)
                lines.extend(self.0.branch(Comparison::Ne, false, &now, &name(*index), writer.aborted())); // another: start again
                lines
            }
            Step::CheckRegistered { area, scratch } => {
                let (cpu, cpus) = (name(*scratch), self.scratch_register("t0"));
                let mut lines = vec![self.0.load(32, &cpu, &name(*area), 4)]; // scratch = area->cpu_id
                lines.extend(self.0.cpus(&cpus, &self.scratch_register("t1"))); // t0 = the number of CPUs
                lines.extend(self.0.branch(Comparison::Ge, false, &cpu, &cpus, writer.aborted())); // not below: start again
                lines
            }
            Step::Fetch { to, frame, number } => {
                let displacement = *number as u32 * M::POINTER_BITS / 8;
                vec![self.0.load(M::POINTER_BITS, &name(*to), &name(*frame), displacement)] // to = frame[number]
            }
            Step::ReadIndex { to, area } => vec![self.index(writer, &name(*to), *area)], // to = area->cpu_id (or mm_cid)
            Step::Slot { to, slots, index, pointee } => self.slot(writer, *to, *slots, *index, *pointee),
            Step::Element { to, base, index, pointee } => self.element(writer, *to, *base, *index, *pointee),
            Step::Field { to, at } => match at.offset {
                Some(offset) => self.0.compute(Operation::Add, false, &name(*to), &name(at.base), &name(offset)), // to = address
                None => vec![self.0.copy(&name(*to), &name(at.base))], // to = address
            },
            Step::Load { to, at, ty } => {
                let (mut lines, base) = self.at(writer, *at, "t0");
                lines.extend(writer.by_width(*ty, |bits| vec![self.0.load(bits, &name(*to), &base, 0)])); // to = *at
                lines
            }
            Step::Compute { to, left, operation, right, ty } => {
                self.compute(writer, *to, *left, *operation, *right, *ty)
            }
            Step::Store { at, value, ty } => self.store(writer, *at, *value, Order::Relaxed, *ty),
            Step::CommitStore { at, value, order, ty } => self.store(writer, *at, *value, *order, *ty),
            Step::CommitUpdate { at, operation, value, ty } => self.update(writer, *at, *operation, *value, *ty),
            Step::Copy { from, to, length } => self.copy(writer, *from, *to, *length),
            Step::Exit { left, comparison, right, ty, exit, .. } => {
                self.exit(writer, *left, *comparison, *right, *ty, &writer.exit(*exit))
            }
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => Vec::new(),
        }
    }

    fn name(&self, writer: &Writer<'_>, register: Register) -> String {
        self.0.register(&writer.operand(register))
    }

    fn scratch_register(&self, name: &str) -> String {
        self.0.register(name)
    }

    /// The register of an operand, as so many bits have it; numbers get into the scratch register.
    fn operand(&self, writer: &Writer<'_>, operand: Operand, bits: u32, scratch: &str) -> (Vec<String>, String) {
        match operand {
            Operand::Register(register) => (Vec::new(), self.name(writer, register)),
            Operand::Immediate(0) => self.0.zero(&self.scratch_register(scratch)),
            Operand::Immediate(number) => {
                let to = self.scratch_register(scratch);
                (self.immediate(&to, number, bits), to) // scratch = number
            }
        }
    }

    /// The same for the right side of a computation: small numbers get into no register.
    fn right(&self, writer: &Writer<'_>, operand: Operand, bits: u32, scratch: &str) -> (Vec<String>, String) {
        match operand {
            Operand::Immediate(number) if unsigned(number, bits) < M::IMMEDIATES => {
                (Vec::new(), unsigned(number, bits).to_string())
            }
            Operand::Register(_) | Operand::Immediate(_) => self.operand(writer, operand, bits, scratch),
        }
    }

    /// A number, zero-extended from so many bits.
    fn immediate(&self, to: &str, number: i64, bits: u32) -> Vec<String> {
        if bits == 64 {
            self.0.number(to, &signed(number, bits).to_string(), number < 0) // to = number
        } else {
            self.0.number(to, &unsigned(number, bits).to_string(), false) // to = number
        }
    }

    /// The address of a place; a sum gets into the scratch register.
    fn at(&self, writer: &Writer<'_>, at: Address, scratch: &str) -> (Vec<String>, String) {
        let base = self.name(writer, at.base);
        let Some(offset) = at.offset else { return (Vec::new(), base) };
        let to = self.scratch_register(scratch);
        (self.0.compute(Operation::Add, false, &to, &base, &self.name(writer, offset)), to) // scratch = base + offset
    }

    /// to = area->cpu_id (or mm_cid).
    fn index(&self, writer: &Writer<'_>, to: &str, area: Register) -> String {
        self.0.load(32, to, &self.name(writer, area), if writer.program.mm_cid { 24 } else { 4 })
    }

    /// The thread descriptor becomes that of the window, and covers nothing until it is whole.
    fn publish(&self, descriptor: &str) -> Vec<String> {
        let bits = M::POINTER_BITS;
        let (from, word) = (self.scratch_register("t0"), self.scratch_register("t1"));
        let mut lines = self.0.clear(bits, descriptor, 16, &from); // thread descriptor: length 0
        lines.extend(self.0.address(&from, "22b")); // t0 = descriptor
        for field in [8, 24, 16] {
            lines.push(self.0.load(bits, &word, &from, field)); // t1 = descriptor: start, abort, post-commit offset
            lines.push(self.0.store(bits, &word, descriptor, field)); // thread descriptor: the same
        }
        lines
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" is a huge number, and its product with the size of a slot is too, in 64 bits
    /// and, because slots lie in one half of the address space, in 32.
    fn slot(
        &self,
        writer: &Writer<'_>,
        to: Register,
        slots: Register,
        index: Index,
        pointee: PointeeId,
    ) -> Vec<String> {
        let (to, slots, word) = (self.name(writer, to), self.name(writer, slots), self.scratch_register("t0"));
        let mut lines = Vec::new();
        let index = match index {
            Index::Read(index) => self.name(writer, index),
            Index::InArea(area) => {
                lines.push(self.index(writer, &to, area)); // to = area->cpu_id (or mm_cid)
                to.clone()
            }
        };
        lines.extend(self.0.shift(Operation::Shl, false, &to, &index, format!("{{n{pointee}}}"))); // to = index * size
        lines.push(self.0.load(M::POINTER_BITS, &word, &slots, M::POINTER_BITS / 8)); // t0 = slots->limit
        lines.extend(self.0.branch(Comparison::Ge, false, &to, &word, writer.aborted())); // not below: start again
        lines.push(self.0.load(M::POINTER_BITS, &word, &slots, 0)); // t0 = slots->first
        lines.extend(self.0.compute(Operation::Add, false, &to, &to, &word)); // to += slots->first
        lines
    }

    /// The address of an element: by a shift for the sizes of the simple types.
    fn element(
        &self,
        writer: &Writer<'_>,
        to: Register,
        base: Register,
        index: Operand,
        pointee: PointeeId,
    ) -> Vec<String> {
        let (to, base, size) = (self.name(writer, to), self.name(writer, base), self.scratch_register("t0"));
        let (mut lines, index) = self.operand(writer, index, M::POINTER_BITS, "t1");
        for (power, bytes) in [2, 4, 8, 16].into_iter().enumerate() {
            lines.push(format!("{} {{p{pointee}}} == {bytes}", if power == 0 { ".if" } else { ".elseif" }));
            lines.extend(self.0.shift(Operation::Shl, false, &to, &index, 1 + power as u32)); // to = index * size
        }
        lines.push(format!(".elseif {{p{pointee}}} == 1"));
        lines.push(self.0.copy(&to, &index)); // to = index
        lines.push(".else".into());
        lines.extend(self.0.number(&size, &format!("{{p{pointee}}}"), false)); // t0 = size
        lines.extend(self.0.multiply(&to, &index, &size)); // to = index * size
        lines.push(".endif".into());
        lines.extend(self.0.compute(Operation::Add, false, &to, &to, &base)); // to += base
        lines
    }

    /// `to = left operation right`, zero-extended.
    fn compute(
        &self,
        writer: &Writer<'_>,
        to: Register,
        left: Operand,
        operation: Operation,
        right: Operand,
        ty: TypeId,
    ) -> Vec<String> {
        let to = self.name(writer, to);
        if operation.is_shift() {
            return self.shift(writer, &to, left, operation, right, ty);
        }
        writer.by_width(ty, |bits| {
            let (mut lines, left) = self.operand(writer, left, bits, "t0");
            let (number, right) = self.right(writer, right, bits, "t1");
            lines.extend(number); // t1 = right
            lines.extend(self.0.compute(operation, false, &to, &left, &right)); // to = left operation right
            if bits < M::POINTER_BITS && matches!(operation, Operation::Add | Operation::Sub) {
                lines.extend(self.0.extend(bits, false, &to, &to)); // to, zero-extended
            }
            lines
        })
    }

    /// A shift by the lower bits of a count.
    fn shift(
        &self,
        writer: &Writer<'_>,
        to: &str,
        left: Operand,
        operation: Operation,
        count: Operand,
        ty: TypeId,
    ) -> Vec<String> {
        let one_sign = |is_signed: bool| {
            writer.by_width(ty, |bits| {
                let (mut lines, mut left) = self.operand(writer, left, bits, "t0");
                if is_signed && bits < M::POINTER_BITS {
                    let extended = self.scratch_register("t0");
                    lines.extend(self.0.extend(bits, true, &extended, &left)); // t0 = left, with its sign
                    left = extended;
                }
                match count {
                    Operand::Immediate(number) => {
                        let count = number as u32 & (bits - 1);
                        lines.extend(self.0.shift(operation, is_signed, to, &left, count)); // to = left operation count
                    }
                    Operand::Register(register) => {
                        let masked = self.scratch_register("t1");
                        lines.extend(self.0.number(&masked, &(bits - 1).to_string(), false)); // t1 = width - 1
                        let count = self.name(writer, register);
                        lines.extend(self.0.compute(Operation::And, false, &masked, &masked, &count)); // t1 = count modulo the width
                        lines.extend(self.0.compute(operation, is_signed, to, &left, &masked)); // to = left operation t1
                    }
                }
                if bits < M::POINTER_BITS {
                    lines.extend(self.0.extend(bits, false, to, to)); // to, zero-extended
                }
                lines
            })
        };
        if operation == Operation::Shl {
            return one_sign(false);
        }
        writer.by_sign(ty, one_sign(true), one_sign(false))
    }

    fn store(&self, writer: &Writer<'_>, at: Address, value: Operand, order: Order, ty: TypeId) -> Vec<String> {
        let (mut lines, base) = self.at(writer, at, "t0");
        lines.extend(writer.by_width(ty, |bits| {
            if let (Operand::Immediate(0), Order::Relaxed) = (value, order) {
                return self.0.clear(bits, &base, 0, &self.scratch_register("t1")); // *at = 0
            }
            let (mut lines, value) = self.operand(writer, value, bits, "t1");
            match order {
                Order::Relaxed => lines.push(self.0.store(bits, &value, &base, 0)), // *at = value
                Order::Release => lines.extend(self.0.store_release(bits, &value, &base)), // *at = value, after all before it
            }
            lines
        }));
        lines
    }

    /// The commit is the store alone: what is loaded before it is nobody else's to change, in the
    /// window.
    fn update(
        &self,
        writer: &Writer<'_>,
        at: Address,
        operation: Operation,
        value: Operand,
        ty: TypeId,
    ) -> Vec<String> {
        let (base, word) = (self.name(writer, at.base), self.scratch_register("t0"));
        writer.by_width(ty, |bits| {
            let mut lines = vec![self.0.load(bits, &word, &base, 0)]; // t0 = *at
            let (number, value) = self.right(writer, value, bits, "t1");
            lines.extend(number); // t1 = value
            lines.extend(self.0.compute(operation, false, &word, &word, &value)); // t0 = t0 operation value
            lines.push(self.0.store(bits, &word, &base, 0)); // *at = t0
            lines
        })
    }

    /// By words as long as there are whole ones, then by bytes. An interruption finds the thread in
    /// the window, wherever it is.
    ///
    /// All these machines load and store words that aren't aligned, or their kernels do it for
    /// them.
    fn copy(&self, writer: &Writer<'_>, from: Address, to: Address, length: Operand) -> Vec<String> {
        let [source, target, left, byte] = ["t0", "t1", "t2", "t3"].map(|name| self.scratch_register(name));
        let bits = M::POINTER_BITS;
        let bytes = (bits / 8).to_string();
        let mut lines = Vec::new();
        for (at, to) in [(from, &source), (to, &target)] {
            let base = self.name(writer, at.base);
            lines.extend(match at.offset {
                Some(offset) => self.0.compute(Operation::Add, false, to, &base, &self.name(writer, offset)), // to = base + offset
                None => vec![self.0.copy(to, &base)], // to = base
            });
        }
        lines.extend(match length {
            Operand::Register(length) => vec![self.0.copy(&left, &self.name(writer, length))], // t2 = length
            Operand::Immediate(number) => self.immediate(&left, number, bits),                 // t2 = length
        });
        let add = |lines: &mut Vec<String>, operation, to: &str, number: &str| {
            lines.extend(self.0.number(&byte, number, false)); // t3 = number
            lines.extend(self.0.compute(operation, false, to, to, &byte)); // to += or -= number
        };
        lines.push("62:".into());
        lines.extend(self.0.number(&byte, &bytes, false)); // t3 = a word's bytes
        lines.extend(self.0.branch(Comparison::Lt, false, &left, &byte, "63f")); // no whole word left: by bytes
        lines.extend(self.0.compute(Operation::Sub, false, &left, &left, &byte)); // t2 -= a word's bytes
        lines.push(self.0.load(bits, &byte, &source, 0)); // t3 = the next word
        lines.push(self.0.store(bits, &byte, &target, 0)); // store it
        add(&mut lines, Operation::Add, &source, &bytes); // t0 = behind it
        add(&mut lines, Operation::Add, &target, &bytes); // t1 = behind it
        lines.push(self.0.jump("62b")); // and on
        lines.push("63:".into());
        lines.extend(self.0.number(&byte, "1", false)); // t3 = 1
        lines.extend(self.0.branch(Comparison::Lt, false, &left, &byte, "64f")); // nothing left: done
        lines.extend(self.0.compute(Operation::Sub, false, &left, &left, &byte)); // t2 -= 1
        lines.push(self.0.load(8, &byte, &source, 0)); // t3 = the next byte
        lines.push(self.0.store(8, &byte, &target, 0)); // store it
        add(&mut lines, Operation::Add, &source, "1"); // t0 = behind it
        add(&mut lines, Operation::Add, &target, "1"); // t1 = behind it
        lines.push(self.0.jump("63b")); // and on
        lines.push("64:".into());
        lines
    }

    fn exit(
        &self,
        writer: &Writer<'_>,
        left: Operand,
        comparison: Comparison,
        right: Operand,
        ty: TypeId,
        label: &str,
    ) -> Vec<String> {
        let one_sign = |is_signed: bool| {
            writer.by_width(ty, |bits| {
                let mut lines = Vec::new();
                let mut compared = [(left, "t0"), (right, "t1")].map(|(operand, scratch)| {
                    let (number, name) = self.operand(writer, operand, bits, scratch);
                    lines.extend(number); // scratch = number
                    name
                });
                if is_signed && bits < M::POINTER_BITS {
                    compared = [(&compared[0], "t0"), (&compared[1], "t1")].map(|(name, scratch)| {
                        let extended = self.scratch_register(scratch);
                        lines.extend(self.0.extend(bits, true, &extended, name)); // scratch = operand, with its sign
                        extended
                    });
                }
                let [left, right] = &compared;
                lines.extend(self.0.branch(comparison, is_signed, left, right, label)); // leave by this exit
                lines
            })
        };
        if matches!(comparison, Comparison::Eq | Comparison::Ne) {
            return one_sign(false);
        }
        writer.by_sign(ty, one_sign(true), one_sign(false))
    }
}
