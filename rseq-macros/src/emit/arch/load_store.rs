//! The steps of a window on machines that load from memory, compute between registers, and store.
//!
//! Such a machine tells the instructions; which a step takes, and in what order, is the same for
//! all. Values are kept zero-extended.
//!
//! The thread descriptor is published by several stores here, so its length is 0 in between:
//! whenever it is in force, it covers nothing, or start, length and abort handler are those of one
//! window. What rseq-core does for this when it arms and disarms stands there, in
//! `arch/by_stores.rs`.

use std::marker::PhantomData;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use rseq_abi::{area, descriptor};

use super::Machine;
use super::tables::{
    ByComparison, ByExtension, ByOperation, ByWidth, by_comparison, by_extension, by_operation, by_width,
};
use crate::emit::asm::{Writer, copies, shifts_by_register, unsigned};
use crate::emit::code::{Argument, Atom, Code, DESCRIPTOR, Label, Local, Name, Reg, direct, emit};
use crate::ids::{PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation, Order};

/// A machine's instructions. Results come first; every line says in its comment what it does.
/// Most instructions are written the same by most machines: of these a machine tells the mnemonics.
pub trait LoadStore: Sync {
    /// The width of pointers, and of the widest value.
    const POINTER_BITS: u32 = 64;
    /// How many registers the compiler can find for a window: those of the class of its operands
    /// without those that it keeps for itself, and one more left to it.
    const GENERAL: usize;
    /// The register that always holds 0, if there is one.
    const ZERO: Option<Reg> = None;
    /// `compute` takes numbers below this one, other than counts of shifts, as they are in the
    /// place of `right`.
    const IMMEDIATES: i64 = 0;
    /// One register beside these that can hold numbers, but no addresses, if there is such a one:
    /// as the assembler calls it, and as `asm!` does.
    const NUMBERS: Option<[&'static str; 2]> = None;
    /// `true` if the address of FAST is in a register before the window, as the operand `{fast}`,
    /// and not the symbol.
    const FAST_IN_REGISTER: bool = false;
    /// [`Machine::cold`].
    const COLD: [&'static str; 2];
    /// [`Machine::signature`].
    const SIGNATURE: &'static [&'static str];
    /// Goes to a label.
    const JUMP: &'static str;
    /// Copies a register.
    const COPY: &'static str;
    /// Load, zero-extended.
    const LOAD: ByWidth;
    /// Store the lower bits.
    const STORE: ByWidth;
    /// The barrier before a store that other CPUs must see after all earlier ones.
    const RELEASE: Option<&'static str> = None;
    /// Compute from two registers.
    const COMPUTE: ByOperation;
    /// Compute from a register and a number, where there is such an instruction; for a difference,
    /// one that adds its negative.
    const COMPUTE_BY_NUMBER: ByOperation;
    /// The mark in front of such a number.
    const MARK: &'static str = "";
    /// Multiplies two registers.
    const MULTIPLY: &'static str;
    /// Extend the lower bits, if it takes one instruction.
    const EXTEND: Option<ByExtension> = None;
    /// Compare two registers with a sign and without, if a branch doesn't do so itself.
    const COMPARE: [&'static str; 2] = [""; 2];
    /// Branch.
    const BRANCH: ByComparison;
    /// Words of this machine.
    #[cfg(test)]
    const WORDS: &'static [&'static str];

    /// The class of registers of operands and scratch registers: all of it can hold addresses.
    fn class() -> TokenStream {
        quote_spanned!(Span::mixed_site()=> reg)
    }
    /// Further registers that the instructions here change, as operands of `asm!`.
    fn clobbers() -> TokenStream {
        TokenStream::new()
    }
    /// The part of a register that loads and stores of so many bits name.
    fn part(_bits: u32, register: Reg) -> Reg {
        register
    }
    /// The memory so many bytes behind base, as loads and stores name it.
    fn at(base: Reg, displacement: u32) -> Argument {
        Argument::of("{}({})", displacement, base)
    }
    /// to = the address of a label of this image. Not in the window.
    fn address(code: &mut Code, to: Reg, label: Label);
    /// to = the number of CPUs: what lies `CpusOffset` behind the symbol `Fast`. In the window.
    fn cpus(code: &mut Code, to: Reg);
    /// to = a number, or a constant of the block: at most 32 bits wide and with a sign, or not.
    fn number(code: &mut Code, to: Reg, number: Atom, is_signed: bool);

    /// to = from.
    fn copy(code: &mut Code, to: Reg, from: Reg) {
        emit!(code; "{} {}, {}", Self::COPY, to, from); // to = from
    }
    /// to = what is so many bytes behind base, zero-extended.
    fn load(code: &mut Code, bits: u32, to: Reg, base: Reg, displacement: u32) {
        let mnemonic = by_width(&Self::LOAD, bits);
        emit!(code; "{} {}, {}", mnemonic, Self::part(bits, to), Self::at(base, displacement)); // to = base[displacement]
    }
    /// The memory so many bytes behind base = the lower bits of value.
    fn store(code: &mut Code, bits: u32, value: Reg, base: Reg, displacement: u32) {
        let mnemonic = by_width(&Self::STORE, bits);
        emit!(code; "{} {}, {}", mnemonic, Self::part(bits, value), Self::at(base, displacement)); // base[displacement] = value
    }
    /// Makes some register hold 0, with one to use for it, and says which.
    fn zero(code: &mut Code, scratch: Reg) -> Reg {
        Self::ZERO.unwrap_or_else(|| {
            Self::number(code, scratch, 0_u32.into(), false); // scratch = 0
            scratch
        })
    }
    /// The memory so many bytes behind base = 0, with a register to use for it.
    fn clear(code: &mut Code, bits: u32, base: Reg, displacement: u32, scratch: Reg) {
        let zero = Self::zero(code, scratch);
        Self::store(code, bits, zero, base, displacement); // base[displacement] = 0
    }
    /// *base = value, after all before it.
    fn store_release(code: &mut Code, bits: u32, value: Reg, base: Reg) {
        if let Some(release) = Self::RELEASE {
            emit!(code; "{}", release); // all before it is seen before what is stored after it
        }
        Self::store(code, bits, value, base, 0); // *base = value
    }
    /// to = left operation right, on whole registers. Shifts take all bits of the count, which is
    /// below the width. `to` may be `left`, not `right`.
    fn compute(code: &mut Code, operation: Operation, is_signed: bool, to: Reg, left: Reg, right: Reg) {
        let mnemonic = by_operation(&Self::COMPUTE, operation, is_signed);
        emit!(code; "{} {}, {}, {}", mnemonic, to, left, right); // to = left operation right
    }
    /// The same with a constant on the right: a number, or an operand that is one.
    fn compute_by_number(code: &mut Code, operation: Operation, is_signed: bool, to: Reg, left: Reg, number: Atom) {
        let mnemonic = by_operation(&Self::COMPUTE_BY_NUMBER, operation, is_signed);
        let minus = if operation == Operation::Sub { "-" } else { "" };
        emit!(code; "{} {}, {}, {}{}{}", mnemonic, to, left, Self::MARK, minus, number); // to = left operation number
    }
    /// to = left * right. `to` may be `left`, not `right`.
    fn multiply(code: &mut Code, to: Reg, left: Reg, right: Reg) {
        emit!(code; "{} {}, {}, {}", Self::MULTIPLY, to, left, right); // to = left * right
    }
    /// to = the lower bits of from, extended to the whole register.
    fn extend(code: &mut Code, bits: u32, is_signed: bool, to: Reg, from: Reg) {
        if let Some(table) = Self::EXTEND {
            emit!(code; "{} {}, {}", by_extension(&table, bits, is_signed), to, from); // to = from, extended
            return;
        }
        let unused = (Self::POINTER_BITS - bits).into();
        Self::compute_by_number(code, Operation::Shl, false, to, from, unused); // to = from, at the top
        Self::compute_by_number(code, Operation::Shr, is_signed, to, to, unused); // to = from, extended
    }
    /// Goes to the label if left comparison right, on whole registers.
    fn branch(code: &mut Code, comparison: Comparison, is_signed: bool, left: Reg, right: Reg, label: Label) {
        Self::compare_and_branch(code, comparison, is_signed, left, right, label);
    }
    /// The same by two instructions.
    fn compare_and_branch(
        code: &mut Code,
        comparison: Comparison,
        is_signed: bool,
        left: Reg,
        right: Reg,
        label: Label,
    ) {
        emit! { code;
            "{} {}, {}", Self::COMPARE[usize::from(!is_signed)], left, right; // left ? right
            "{} {}", by_comparison(&Self::BRANCH, comparison, is_signed), label; // so: go there
        }
    }
}

/// The machine with these instructions.
pub struct Steps<M>(pub M);

impl<M: LoadStore> Machine for Steps<M> {
    fn pointer_bits(&self) -> u32 {
        M::POINTER_BITS
    }

    fn registers(&self, program: &Program) -> usize {
        M::GENERAL + usize::from(numbers::<M>(program).is_some()) - scratch_registers(program)
    }

    fn scratch(&self, program: &Program, code: &Code) -> TokenStream {
        let (class, clobbers) = (M::class(), M::clobbers());
        let names = (0..scratch_registers(program)).map(Name::Scratch).filter(|name| code.uses(*name));
        let names = names.map(|name| Ident::new(&name.to_string(), Span::mixed_site()));
        let numbers = numbers::<M>(program).map(|[_, name]| name).into_iter();
        quote_spanned!(Span::mixed_site()=> #(#names = out(#class) _,)* #(out(#numbers) _,)* #clobbers)
    }

    fn class(&self) -> TokenStream {
        M::class()
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

    fn jump(&self, code: &mut Code, label: Label) {
        jump::<M>(code, label);
    }

    fn set_number(&self, code: &mut Code, to: Reg, number: usize) {
        M::number(code, to, Atom::Number(number as i64), false); // to = number
    }

    fn disarm(&self, code: &mut Code, writer: &Writer<'_>, area: Register) {
        let scratch = Window::<M>::of(writer).scratch(0);
        M::clear(code, M::POINTER_BITS, writer.reg(area), area::RSEQ_CS, scratch); // area->rseq_cs = NULL
    }

    fn step(&self, code: &mut Code, writer: &Writer<'_>, step: &Step) {
        Window::<M>::of(writer).step(code, step);
    }

    #[cfg(test)]
    fn words(&self) -> &'static [&'static str] {
        M::WORDS
    }
}

/// Goes to a label.
pub fn jump<M: LoadStore>(code: &mut Code, label: Label) {
    emit!(code; "{} {}", M::JUMP, label); // go there
}

/// Two for addresses and numbers, and two more for copies.
fn scratch_registers(program: &Program) -> usize {
    if copies(program) { 4 } else { 2 }
}

/// The number of the last scratch register of this window: where no address is ever in it, and no
/// count of a shift (which is as good as one).
fn numbers<M: LoadStore>(program: &Program) -> Option<[&'static str; 2]> {
    M::NUMBERS.filter(|_| copies(program) || !shifts_by_register(program))
}

/// The label of an instruction whose address is taken.
pub const HERE: Local = Local::own(1);
/// Copies: word by word,
const WORDS: Local = Local::own(2);
/// byte by byte,
const BYTES: Local = Local::own(3);
/// until nothing is left.
const COPIED: Local = Local::own(4);

/// The steps of one window.
struct Window<'w, M> {
    writer: &'w Writer<'w>,
    machine: PhantomData<M>,
}

impl<'w, M: LoadStore> Window<'w, M> {
    fn of(writer: &'w Writer<'w>) -> Self {
        Self { writer, machine: PhantomData }
    }

    /// The instructions of a step.
    fn step(&self, code: &mut Code, step: &Step) {
        let (reg, t0, aborted) = (|register| self.writer.reg(register), self.scratch(0), self.writer.aborted());
        match *step {
            Step::Publish { descriptor } => self.publish(code, reg(descriptor)),
            Step::ArmWindow { area, scratch } => {
                M::address(code, reg(scratch), DESCRIPTOR.back()); // scratch = descriptor
                // area->rseq_cs = scratch: armed
                M::store(code, M::POINTER_BITS, reg(scratch), reg(area), area::RSEQ_CS);
            }
            Step::CheckArmed { area, descriptor } => {
                M::load(code, M::POINTER_BITS, t0, reg(area), area::RSEQ_CS); // t0 = area->rseq_cs
                M::branch(code, Comparison::Ne, false, t0, reg(descriptor), aborted); // another: start again
            }
            Step::CheckIndex { area, index } => {
                self.index(code, t0, area); // t0 = area->cpu_id (or mm_cid)
                M::branch(code, Comparison::Ne, false, t0, reg(index), aborted); // another: start again
            }
            Step::CheckRegistered { area, scratch } => {
                M::load(code, 32, reg(scratch), reg(area), area::CPU_ID); // scratch = area->cpu_id
                M::cpus(code, t0); // t0 = the number of CPUs
                M::branch(code, Comparison::Ge, false, reg(scratch), t0, aborted); // not below: start again
            }
            Step::Fetch { to, frame, number } => {
                let displacement = number as u32 * M::POINTER_BITS / 8;
                M::load(code, M::POINTER_BITS, reg(to), reg(frame), displacement); // to = frame[number]
            }
            Step::ReadIndex { to, area } => self.index(code, reg(to), area), // to = area->cpu_id (or mm_cid)
            Step::Slot { to, slots, index, pointee } => self.slot(code, to, slots, index, pointee),
            Step::Element { to, base, index, pointee } => self.element(code, to, base, index, pointee),
            Step::Field { to, at } => self.sum(code, reg(to), at), // to = address
            Step::Load { to, at, ty } => {
                let base = self.at(code, at, t0);
                self.writer.by_width(code, ty, |code, bits| M::load(code, bits, reg(to), base, 0)); // to = *at
            }
            Step::Compute { to, left, operation, right, ty } if operation.is_shift() => {
                self.shift(code, reg(to), left, operation, right, ty);
            }
            Step::Compute { to, left, operation, right, ty } => {
                self.compute(code, reg(to), left, operation, right, ty);
            }
            Step::Store { at, value, ty } => self.store(code, at, value, Order::Relaxed, ty),
            Step::CommitStore { at, value, order, ty } => self.store(code, at, value, order, ty),
            Step::CommitUpdate { at, operation, value, ty } => self.update(code, at, operation, value, ty),
            Step::Copy { from, to, length } => self.copy(code, from, to, length),
            Step::Exit { left, comparison, right, ty, exit, .. } => {
                self.exit(code, left, comparison, right, ty, self.writer.exit(exit));
            }
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => {}
        }
    }

    /// A register for addresses and numbers, if there is none for numbers alone.
    fn scratch(&self, number: usize) -> Reg {
        match numbers::<M>(self.writer.program) {
            Some([register, _]) if number + 1 == scratch_registers(self.writer.program) => Reg::Fixed(register),
            _ => Reg::Chosen(Name::Scratch(number), None),
        }
    }

    /// The register of an operand, as so many bits have it; numbers get into the scratch register.
    fn operand(&self, code: &mut Code, operand: Operand, bits: u32, scratch: Reg) -> Reg {
        match operand {
            Operand::Register(register) => self.writer.reg(register),
            Operand::Immediate(0) => M::zero(code, scratch),
            Operand::Immediate(number) => {
                self.immediate(code, scratch, number, bits); // scratch = number
                scratch
            }
        }
    }

    /// A number, zero-extended from so many bits.
    fn immediate(&self, code: &mut Code, to: Reg, number: i64, bits: u32) {
        match bits {
            64 => M::number(code, to, number.into(), number < 0), // to = number
            _ => M::number(code, to, unsigned(number, bits).into(), false), // to = number
        }
    }

    /// to = base + offset.
    fn sum(&self, code: &mut Code, to: Reg, at: Address) {
        let base = self.writer.reg(at.base);
        match at.offset {
            Some(offset) => {
                M::compute(code, Operation::Add, false, to, base, self.writer.reg(offset)); // to = base + offset
            }
            None => M::copy(code, to, base), // to = base
        }
    }

    /// The address of a place; a sum gets into the scratch register.
    fn at(&self, code: &mut Code, at: Address, scratch: Reg) -> Reg {
        if at.offset.is_none() {
            return self.writer.reg(at.base);
        }
        self.sum(code, scratch, at); // scratch = base + offset
        scratch
    }

    /// to = area->cpu_id (or mm_cid).
    fn index(&self, code: &mut Code, to: Reg, area: Register) {
        M::load(code, 32, to, self.writer.reg(area), self.writer.index());
    }

    /// The thread descriptor becomes that of the window, and covers nothing until it is whole.
    fn publish(&self, code: &mut Code, descriptor: Reg) {
        let (bits, from, word) = (M::POINTER_BITS, self.scratch(0), self.scratch(1));
        M::clear(code, bits, descriptor, descriptor::POST_COMMIT_OFFSET, from); // thread descriptor: length 0
        M::address(code, from, DESCRIPTOR.back()); // t0 = descriptor
        for field in [descriptor::START, descriptor::ABORT, descriptor::POST_COMMIT_OFFSET] {
            M::load(code, bits, word, from, field); // t1 = descriptor: start, abort, post-commit offset
            M::store(code, bits, word, descriptor, field); // thread descriptor: the same
        }
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" is a huge number, and its product with the size of a slot is too, in 64 bits
    /// and, because slots lie in one half of the address space, in 32.
    fn slot(&self, code: &mut Code, to: Register, slots: Register, index: Index, pointee: PointeeId) {
        let (to, slots, word) = (self.writer.reg(to), self.writer.reg(slots), self.scratch(0));
        let index = match index {
            Index::Read(index) => self.writer.reg(index),
            Index::InArea(area) => {
                self.index(code, to, area); // to = area->cpu_id (or mm_cid)
                to
            }
        };
        M::compute_by_number(code, Operation::Shl, false, to, index, Name::Power(pointee).into()); // to = index * size
        M::load(code, M::POINTER_BITS, word, slots, M::POINTER_BITS / 8); // t0 = slots->limit
        M::branch(code, Comparison::Ge, false, to, word, self.writer.aborted()); // not below: start again
        M::load(code, M::POINTER_BITS, word, slots, 0); // t0 = slots->first
        M::compute(code, Operation::Add, false, to, to, word); // to += slots->first
    }

    /// The address of an element: by a shift for the sizes of the simple types.
    fn element(&self, code: &mut Code, to: Register, base: Register, index: Operand, pointee: PointeeId) {
        let (to, base, t0, size) = (self.writer.reg(to), self.writer.reg(base), self.scratch(0), Name::Size(pointee));
        let index = self.operand(code, index, M::POINTER_BITS, self.scratch(1));
        let mut condition = ".if";
        for power in 1..5_u32 {
            direct!(code; "{} {} == {}", condition, size, 1_u32 << power);
            M::compute_by_number(code, Operation::Shl, false, to, index, power.into()); // to = index * size
            condition = ".elseif";
        }
        direct!(code; ".elseif {} == 1", size);
        M::copy(code, to, index); // to = index
        direct!(code; ".else");
        M::number(code, t0, size.into(), false); // t0 = size
        M::multiply(code, to, index, t0); // to = index * size
        direct!(code; ".endif");
        M::compute(code, Operation::Add, false, to, to, base); // to += base
    }

    /// to = left operation right; small numbers get into no register.
    fn change(&self, code: &mut Code, operation: Operation, to: Reg, left: Reg, right: Operand, bits: u32) {
        match right {
            Operand::Immediate(number) if (0..M::IMMEDIATES).contains(&unsigned(number, bits)) => {
                // to = left operation number
                M::compute_by_number(code, operation, false, to, left, unsigned(number, bits).into());
            }
            Operand::Register(_) | Operand::Immediate(_) => {
                let right = self.operand(code, right, bits, self.scratch(1)); // t1 = right
                M::compute(code, operation, false, to, left, right); // to = left operation right
            }
        }
    }

    /// to = left operation right, zero-extended.
    fn compute(&self, code: &mut Code, to: Reg, left: Operand, operation: Operation, right: Operand, ty: TypeId) {
        self.writer.by_width(code, ty, |code, bits| {
            let left = self.operand(code, left, bits, self.scratch(0)); // t0 = left
            self.change(code, operation, to, left, right, bits); // to = left operation right
            if bits < M::POINTER_BITS && matches!(operation, Operation::Add | Operation::Sub) {
                M::extend(code, bits, false, to, to); // to, zero-extended
            }
        });
    }

    /// A shift by the lower bits of a count.
    fn shift(&self, code: &mut Code, to: Reg, left: Operand, operation: Operation, count: Operand, ty: TypeId) {
        let (t0, t1) = (self.scratch(0), self.scratch(1));
        let by_width = |code: &mut Code, is_signed: bool| {
            self.writer.by_width(code, ty, |code, bits| {
                let mut left = self.operand(code, left, bits, t0);
                if is_signed && bits < M::POINTER_BITS {
                    M::extend(code, bits, true, t0, left); // t0 = left, with its sign
                    left = t0;
                }
                match count {
                    Operand::Immediate(number) => {
                        let count = (number as u32 & (bits - 1)).into();
                        M::compute_by_number(code, operation, is_signed, to, left, count); // to = left operation count
                    }
                    Operand::Register(register) => {
                        M::number(code, t1, (bits - 1).into(), false); // t1 = width - 1
                        // t1 = count modulo the width
                        M::compute(code, Operation::And, false, t1, t1, self.writer.reg(register));
                        M::compute(code, operation, is_signed, to, left, t1); // to = left operation t1
                    }
                }
                if bits < M::POINTER_BITS {
                    M::extend(code, bits, false, to, to); // to, zero-extended
                }
            });
        };
        if operation == Operation::Shl { by_width(code, false) } else { self.writer.by_sign(code, ty, by_width) }
    }

    fn store(&self, code: &mut Code, at: Address, value: Operand, order: Order, ty: TypeId) {
        let (base, t1) = (self.at(code, at, self.scratch(0)), self.scratch(1));
        self.writer.by_width(code, ty, |code, bits| match (value, order) {
            (Operand::Immediate(0), Order::Relaxed) => M::clear(code, bits, base, 0, t1), // *at = 0
            (_, Order::Relaxed) => {
                let value = self.operand(code, value, bits, t1);
                M::store(code, bits, value, base, 0); // *at = value
            }
            (_, Order::Release) => {
                let value = self.operand(code, value, bits, t1);
                M::store_release(code, bits, value, base); // *at = value, after all before it
            }
        });
    }

    /// The commit is the store alone: what is loaded before it is nobody else's to change, in the
    /// window.
    fn update(&self, code: &mut Code, at: Address, operation: Operation, value: Operand, ty: TypeId) {
        let (base, t0) = (self.writer.reg(at.base), self.scratch(0));
        self.writer.by_width(code, ty, |code, bits| {
            M::load(code, bits, t0, base, 0); // t0 = *at
            self.change(code, operation, t0, t0, value, bits); // t0 = t0 operation value
            M::store(code, bits, t0, base, 0); // *at = t0
        });
    }

    /// By words as long as there are whole ones, then by bytes. An interruption finds the thread in
    /// the window, wherever it is.
    ///
    /// All these machines load and store words that aren't aligned, or their kernels do it for
    /// them.
    fn copy(&self, code: &mut Code, from: Address, to: Address, length: Operand) {
        let (bits, [source, target, left, byte]) = (M::POINTER_BITS, [0, 1, 2, 3].map(|number| self.scratch(number)));
        self.sum(code, source, from); // t0 = from
        self.sum(code, target, to); // t1 = to
        match length {
            Operand::Register(length) => M::copy(code, left, self.writer.reg(length)), // t2 = length
            Operand::Immediate(number) => self.immediate(code, left, number, bits),    // t2 = length
        }
        for (label, bits, next) in [(WORDS, bits, BYTES), (BYTES, 8, COPIED)] {
            let bytes = (bits / 8).into();
            code.label(label);
            M::number(code, byte, bytes, false); // t3 = the bytes of a word, or 1
            M::branch(code, Comparison::Lt, false, left, byte, next.ahead()); // not so many left: by bytes, or done
            M::compute(code, Operation::Sub, false, left, left, byte); // t2 -= t3
            M::load(code, bits, byte, source, 0); // t3 = the next word or byte
            M::store(code, bits, byte, target, 0); // store it
            for place in [source, target] {
                M::number(code, byte, bytes, false); // t3 = its bytes
                M::compute(code, Operation::Add, false, place, place, byte); // t0 or t1 = behind it
            }
            jump::<M>(code, label.back()); // and on
        }
        code.label(COPIED);
    }

    fn exit(&self, code: &mut Code, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, label: Label) {
        let by_width = |code: &mut Code, is_signed: bool| {
            self.writer.by_width(code, ty, |code, bits| {
                let both = [(left, self.scratch(0)), (right, self.scratch(1))];
                let mut compared = both.map(|(operand, scratch)| self.operand(code, operand, bits, scratch));
                if is_signed && bits < M::POINTER_BITS {
                    for (operand, (_, scratch)) in compared.iter_mut().zip(both) {
                        M::extend(code, bits, true, scratch, *operand); // scratch = operand, with its sign
                        *operand = scratch;
                    }
                }
                let [left, right] = compared;
                M::branch(code, comparison, is_signed, left, right, label); // leave by this exit
            });
        };
        if comparison.is_equality() { by_width(code, false) } else { self.writer.by_sign(code, ty, by_width) }
    }
}
