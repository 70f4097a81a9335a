//! i686, after the Intel SDM (volume 2), the System V ABI's Intel386 supplement (no red zone: the
//! stack may be pushed to) and the kernel's `tools/testing/selftests/rseq/rseq-x86.h` (signature).
//!
//! Stores are seen by other CPUs in program order and no earlier than what the thread did before
//! (SDM volume 3, 10.2.2), so a store is a release store as it is.
//!
//! There are six registers, and in four of them alone the lowest byte has a name. So the steps
//! compute in memory where they can, need next to no registers for themselves, and take the byte of
//! what is stored or ordered by its sign only; all else is done by 32 bits, on values that are kept
//! zero-extended.
//!
//! There is no address relative to the instruction pointer: a call to the next instruction leaves
//! that one's on the stack, and the linker knows the distance from there. In AT&T syntax, because
//! LLVM's Intel syntax has no differences of symbols: sources come first.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use rseq_abi::{area, descriptor};

use super::tables::{ByOperation, ByWidth, by_comparison, by_operation, by_width};
use super::x86_64::{JUMP_IF, SIGNATURE};
use super::{ELSEWHERE, Machine};
use crate::emit::asm::{Writer, copies, unsigned};
use crate::emit::code::{
    ABORT_HANDLER, Argument, Code, DESCRIPTOR, Label, Local, Name, POST_COMMIT, Reg, START, direct, emit,
};
use crate::ids::{PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation};

/// The emitter.
pub struct I686;

/// Values that are kept beside the general registers, or shifted there.
const X: [Name; 2] = [Name::Other("x0"), Name::Other("x1")];
/// The number of CPUs.
const CPUS: Name = Name::Other("cpus");
/// The instruction behind a call of itself.
const HERE: Local = Local::own(1);

/// All of a register of the block.
const fn all(name: Name) -> Reg {
    Reg::Chosen(name, None)
}

impl Machine for I686 {
    fn pointer_bits(&self) -> u32 {
        32
    }

    /// All but the stack's two, and those that the steps need for themselves.
    fn registers(&self, _program: &Program) -> usize {
        6
    }

    fn scratch(&self, _program: &Program, code: &Code) -> TokenStream {
        let general = [0, 1].map(Name::Scratch).map(|name| (name, self.class_of(name, code)));
        let others = [X[0], X[1], CPUS].map(|name| (name, quote_spanned!(Span::mixed_site()=> xmm_reg)));
        let used = general.into_iter().chain(others).filter(|(name, _)| code.uses(*name));
        used.map(|(name, class)| {
            let name = Ident::new(&name.to_string(), Span::mixed_site());
            quote_spanned!(Span::mixed_site()=> #name = out(#class) _,)
        })
        .collect()
    }

    fn borrows(&self, program: &Program) -> bool {
        copies(program)
    }

    /// Those of which the lowest byte is named are in the registers where it has a name.
    fn class_of(&self, name: Name, code: &Code) -> TokenStream {
        if code.uses_part(name, 'l') { quote_spanned!(Span::mixed_site()=> reg_abcd) } else { self.class() }
    }

    /// The stack is pushed to.
    fn options(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> att_syntax)
    }

    /// Branches reach everything, so it is all in one place.
    fn cold(&self) -> [&'static str; 2] {
        ELSEWHERE
    }

    fn signature(&self) -> &'static [&'static str] {
        SIGNATURE
    }

    fn jump(&self, code: &mut Code, label: Label) {
        emit!(code; "jmp {}", label); // go there
    }

    fn set_number(&self, code: &mut Code, to: Reg, number: usize) {
        emit!(code; "movl ${}, {}", number as i64, to); // to = number
    }

    fn disarm(&self, code: &mut Code, writer: &Writer<'_>, area: Register) {
        emit!(code; "movl $0, {}", behind(writer.reg(area), area::RSEQ_CS)); // area->rseq_cs = NULL
    }

    fn step(&self, code: &mut Code, writer: &Writer<'_>, step: &Step) {
        Steps(writer).step(code, step);
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "i686", "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "gs", "reg_abcd", "att_syntax", "movl", "movw", "movb", "movzbl",
            "movzwl", "leal", "pushl", "popl", "addl", "imull", "cmpl", "cmpw", "cmpb", "movd", "pslld", "psrld", "psrad", "andl", "shll", "sarl", "shrl",
        ]
    }
}

/// `true` if some step compares the CPU with the number of those that have slots, to which the way
/// must be known before the window.
fn checks_registration(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step, Step::CheckRegistered { .. }))
}

/// Behind the mnemonic of what is in memory, or compared.
const SUFFIX: ByWidth = ["b", "w", "l", ""];
const COMPUTE: ByOperation = ["addl", "subl", "andl", "orl", "xorl", "shll", "shrl", "sarl"];
/// Beside the general registers.
const SHIFT_X: ByOperation = ["", "", "", "", "", "pslld", "psrld", "psrad"];

/// The memory so many bytes behind a register.
fn behind(base: Reg, displacement: u32) -> Argument {
    Argument::of("{}({})", displacement, base)
}

/// The bits above so many become 0.
fn zero_extend(code: &mut Code, to: Reg, bits: u32) {
    if bits < 32 {
        emit!(code; "andl ${}, {}", (1_u32 << bits) - 1, to); // to, zero-extended
    }
}

/// The steps of one window.
struct Steps<'w>(&'w Writer<'w>);

impl Steps<'_> {
    /// All bits of a register.
    fn whole(&self, register: Register) -> Reg {
        self.0.reg(register)
    }

    /// An operand, zero-extended from so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> Argument {
        match operand {
            Operand::Register(register) => self.whole(register).into(),
            Operand::Immediate(number) => Argument::Of("${}", unsigned(number, bits).into(), None),
        }
    }

    /// The lower bits of an operand.
    fn part(&self, operand: Operand, bits: u32) -> Argument {
        match (operand, bits) {
            (Operand::Immediate(_), _) => self.operand(operand, bits),
            (Operand::Register(register), 8) => self.whole(register).part('l').into(),
            (Operand::Register(register), 16) => self.whole(register).part('x').into(),
            (Operand::Register(register), _) => self.whole(register).part('e').into(),
        }
    }

    fn at(&self, address: Address) -> Argument {
        let base = self.whole(address.base);
        match address.offset {
            Some(offset) => Argument::of("({}, {})", base, self.whole(offset)),
            None => Argument::Of("({})", base.into(), None),
        }
    }

    /// A field of the area.
    fn area(&self, area: Register, field: u32) -> Argument {
        behind(self.whole(area), field)
    }

    /// Where the index is in the area.
    fn index(&self, area: Register) -> Argument {
        self.area(area, self.0.index())
    }

    fn step(&self, code: &mut Code, step: &Step) {
        let aborted = self.0.aborted();
        match *step {
            Step::Publish { descriptor } => self.publish(code, self.whole(descriptor)),
            Step::ArmWindow { area, scratch } => self.arm(code, area, self.whole(scratch)),
            Step::CheckArmed { area, descriptor } => emit! { code;
                "cmpl {}, {}", self.whole(descriptor), self.area(area, area::RSEQ_CS); // area->rseq_cs == descriptor ?
                "jne {}", aborted; // no: start again
            },
            Step::CheckIndex { area, index } => emit! { code;
                "cmpl {}, {}", self.whole(index), self.index(area); // area->cpu_id (or mm_cid) == index ?
                "jne {}", aborted; // no: start again
            },
            Step::CheckRegistered { area, scratch } => emit! { code;
                "movd {}, {}", all(CPUS), self.whole(scratch); // scratch = the number of CPUs
                "cmpl {}, {}", self.whole(scratch), self.area(area, area::CPU_ID); // area->cpu_id below it ?
                "jae {}", aborted; // no: start again
            },
            Step::Fetch { to, frame, number } => {
                emit!(code; "movl {}, {}", behind(self.whole(frame), 4 * number as u32), self.whole(to)); // to = frame[number]
            }
            Step::ReadIndex { to, area } => {
                emit!(code; "movl {}, {}", self.index(area), self.whole(to)); // to = area->cpu_id (or mm_cid)
            }
            Step::Slot { to, slots, index, pointee } => self.slot(code, to, slots, index, pointee),
            Step::Element { to, base, index, pointee } => self.element(code, to, base, index, pointee),
            Step::Field { to, at } => emit!(code; "leal {}, {}", self.at(at), self.whole(to)), // to = address
            Step::Load { to, at, ty } => self.load(code, self.whole(to), self.at(at), ty),
            Step::Compute { to, left, operation, right, ty } => self.compute(code, to, left, operation, right, ty),
            Step::Store { at, value, ty } | Step::CommitStore { at, value, ty, .. } => {
                self.change(code, "mov", at, value, ty); // *at = value
            }
            Step::CommitUpdate { at, operation, value, ty } => {
                self.change(code, operation.name(), at, value, ty); // *at op= value
            }
            Step::Copy { from, to, length } => self.copy(code, from, to, length),
            Step::Exit { left, comparison, right, ty, exit, .. } => {
                self.exit(code, left, comparison, right, ty, self.0.exit(exit));
            }
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => {}
        }
    }

    /// The thread descriptor becomes that of the window, and covers nothing until it is whole: see
    /// rseq-core's `arch/by_stores.rs`. By way of the stack, because all registers may hold
    /// operands.
    fn publish(&self, code: &mut Code, thread: Reg) {
        let [start, length, abort] =
            [descriptor::START, descriptor::POST_COMMIT_OFFSET, descriptor::ABORT].map(|field| behind(thread, field));
        emit! { code;
            "movl $0, {}", length;                                        // thread descriptor: length 0
            "call {}", HERE.ahead();                                      // the address of the next instruction is pushed
            "{}: pushl (%esp)", HERE;                                     // and once more
            "addl $({} - {}), (%esp)", START.ahead(), HERE.back();        // the window's start
            "popl {}", start;                                             // thread descriptor: start
            "addl $({} - {}), (%esp)", ABORT_HANDLER.back(), HERE.back(); // the abort handler
            "popl {}", abort;                                             // thread descriptor: abort
            "movl $({} - {}), {}", POST_COMMIT.ahead(), START.ahead(), length; // thread descriptor: post-commit offset
        }
    }

    fn arm(&self, code: &mut Code, area: Register, scratch: Reg) {
        emit! { code;
            "call {}", HERE.ahead();      // the address of the next instruction is pushed
            "{}: popl {}", HERE, scratch; // scratch = that address
        }
        if checks_registration(self.0.program) {
            emit!(code; "movd ({} + {} - {})({}), {}", Name::Fast, Name::CpusOffset, HERE.back(), scratch, all(CPUS)); // cpus = FAST.cpus
        }
        emit! { code;
            "addl $({} - {}), {}", DESCRIPTOR.back(), HERE.back(), scratch; // scratch = descriptor
            "movl {}, {}", scratch, self.area(area, area::RSEQ_CS);         // area->rseq_cs = scratch: armed
        }
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" is -1 or -2, and slots lie in one half of the address space.
    fn slot(&self, code: &mut Code, to: Register, slots: Register, index: Index, pointee: PointeeId) {
        let (to, slots) = (self.whole(to), self.whole(slots));
        let index = match index {
            Index::Read(index) => self.whole(index).into(),
            Index::InArea(area) => self.index(area),
        };
        emit! { code;
            "imull ${}, {}, {}", Name::Size(pointee), index, to; // to = index * size
            "cmpl {}, {}", behind(slots, 4), to;                 // to < slots->limit ?
            "jae {}", self.0.aborted();                          // no: start again
            "addl {}, {}", behind(slots, 0), to;                 // to += slots->first
        }
    }

    /// The address of an element: by the address unit for the sizes that it knows.
    fn element(&self, code: &mut Code, to: Register, base: Register, index: Operand, pointee: PointeeId) {
        let (to, base, size) = (self.whole(to), self.whole(base), Name::Size(pointee));
        let index = match index {
            Operand::Immediate(number) => {
                return emit!(code; "leal ({} * {}) & 0xffffffff({}), {}", unsigned(number, 32), size, base, to); // to = &base[number]
            }
            Operand::Register(index) => self.whole(index),
        };
        let mut condition = ".if";
        for bytes in [1_u32, 2, 4, 8] {
            direct!(code; "{} {} == {}", condition, size, bytes);
            emit!(code; "leal ({}, {}, {}), {}", base, index, bytes, to); // to = &base[index]
            condition = ".elseif";
        }
        direct!(code; ".else");
        emit! { code;
            "imull ${}, {}, {}", size, index, to; // to = index * size
            "addl {}, {}", base, to;              // to += base
        }
        direct!(code; ".endif");
    }

    fn load(&self, code: &mut Code, to: Reg, at: Argument, ty: TypeId) {
        self.0.by_width(code, ty, |code, bits| match bits {
            8 => emit!(code; "movzbl {}, {}", at, to),  // to = *at, zero-extended
            16 => emit!(code; "movzwl {}, {}", at, to), // to = *at, zero-extended
            _ => emit!(code; "movl {}, {}", at, to),    // to = *at
        });
    }

    /// A store, or an operation on what is in memory.
    fn change(&self, code: &mut Code, name: &'static str, at: Address, value: Operand, ty: TypeId) {
        let at = self.at(at);
        self.0.by_width(code, ty, |code, bits| {
            emit!(code; "{}{} {}, {}", name, by_width(&SUFFIX, bits), self.part(value, bits), at); // *at = value, or op= value
        });
    }

    /// `to = left op right`, zero-extended.
    fn compute(&self, code: &mut Code, to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId) {
        let to = self.whole(to);
        match left {
            Operand::Register(left) if self.whole(left) == to => {}
            Operand::Register(_) | Operand::Immediate(_) => self.0.by_width(code, ty, |code, bits| {
                emit!(code; "movl {}, {}", self.operand(left, bits), to); // to = left
            }),
        }
        if operation.is_shift() {
            return self.shift(code, to, operation, right, ty);
        }
        self.0.by_width(code, ty, |code, bits| {
            emit!(code; "{} {}, {}", by_operation(&COMPUTE, operation, false), self.operand(right, bits), to); // to op= right
            if matches!(operation, Operation::Add | Operation::Sub) {
                zero_extend(code, to, bits);
            }
        });
    }

    /// A shift by the lower bits of a count. To the left there is no difference between types with
    /// a sign and those without.
    fn shift(&self, code: &mut Code, to: Reg, operation: Operation, count: Operand, ty: TypeId) {
        let by_width = |code: &mut Code, is_signed: bool| {
            self.0.by_width(code, ty, |code, bits| {
                match count {
                    Operand::Immediate(count) => shift_by_number(code, to, operation, is_signed, count, bits),
                    Operand::Register(count) => {
                        shift_by_register(code, to, operation, is_signed, self.whole(count), bits);
                    }
                }
                zero_extend(code, to, bits);
            });
        };
        if operation == Operation::Shl { by_width(code, false) } else { self.0.by_sign(code, ty, by_width) }
    }

    /// By words as long as there are whole ones, then by bytes. An interruption finds `eip` in the
    /// window, wherever it is.
    ///
    /// Two registers that hold something else are borrowed for it, and distances of fields are
    /// added to what they are from, until it is done.
    fn copy(&self, code: &mut Code, from: Address, to: Address, length: Operand) {
        // The registers of the two addresses, and the distances from there.
        let mut places = [from, to].map(|at| match at.offset {
            Some(offset) if from.base == to.base => (offset, Some(at.base)),
            offset => (at.base, offset),
        });
        let [source, target] = places.map(|(place, _)| self.whole(place));
        if places[0] == places[1] {
            places[1].1 = None; // once is enough
        }
        let used: Vec<Register> = places.into_iter().map(|(place, _)| place).chain(length.register()).collect();
        let mut free = self.0.others(&used).chain([0, 1].map(Name::Scratch));
        let borrowed = [(); 2].map(|()| free.next().expect("there are two scratch registers"));
        let kept = || borrowed.into_iter().zip(X).filter(|(name, _)| matches!(name, Name::Value(_)));
        let added = || places.into_iter().filter_map(|(place, added)| Some((self.whole(place), self.whole(added?))));
        let ([copied, done], length) = (borrowed.map(all), self.operand(length, 32));
        let [words, bytes, over] = [2, 3, 4].map(Local::own);
        added().for_each(|(place, distance)| emit!(code; "addl {}, {}", distance, place)); // place += distance
        kept().for_each(|(name, x)| emit!(code; "movd {}, {}", all(name), all(x))); // kept = borrowed
        emit! { code;
            "movl $0, {}", done;                                 // done = 0
            "{}: leal 4({}), {}", words, done, copied;           // copied = what is done with one more word
            "cmpl {}, {}", length, copied;                       // more than there is ?
            "ja {}", bytes.ahead();                              // yes: by bytes
            "movl ({}, {}), {}", source, done, copied;           // copied = the next word
            "movl {}, ({}, {})", copied, target, done;           // store it
            "addl $4, {}", done;                                 // done, with it
            "jmp {}", words.back();                              // and on
            "{}: cmpl {}, {}", bytes, length, done;              // all done ?
            "je {}", over.ahead();                               // yes
            "movb ({}, {}), {}", source, done, copied.part('l'); // copied = the next byte
            "movb {}, ({}, {})", copied.part('l'), target, done; // store it
            "addl $1, {}", done;                                 // done, with it
            "jmp {}", bytes.back();                              // and on
        }
        code.label(over);
        kept().for_each(|(name, x)| emit!(code; "movd {}, {}", all(x), all(name))); // borrowed = kept
        added().for_each(|(place, distance)| emit!(code; "subl {}, {}", distance, place)); // place -= distance
    }

    fn exit(&self, code: &mut Code, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: Label) {
        let leave = |code: &mut Code, is_signed: bool| {
            self.0.by_width(code, ty, |code, bits| {
                let part = |operand| if is_signed { self.part(operand, bits) } else { self.operand(operand, bits) };
                let suffix = by_width(&SUFFIX, if is_signed { bits } else { 32 });
                emit!(code; "cmp{} {}, {}", suffix, part(right), part(left)); // left ? right
            });
            emit!(code; "{} {}", by_comparison(&JUMP_IF, comparison, is_signed), exit); // leave by this exit
        };
        if comparison.is_equality() { leave(code, false) } else { self.0.by_sign(code, ty, leave) }
    }
}

fn shift_by_number(code: &mut Code, to: Reg, operation: Operation, is_signed: bool, count: i64, bits: u32) {
    if is_signed && bits < 32 {
        emit! { code;
            "shll ${}, {}", 32 - bits, to; // to, at the top
            "sarl ${}, {}", 32 - bits, to; // to, with its sign
        }
    }
    let mnemonic = by_operation(&COMPUTE, operation, is_signed);
    emit!(code; "{} ${}, {}", mnemonic, count & i64::from(bits - 1), to); // to op= count
}

/// By a count in a register, beside the general registers, of which one alone could have the count:
/// there shifts look at all bits of it, so it loses the upper ones.
fn shift_by_register(code: &mut Code, to: Reg, operation: Operation, is_signed: bool, count: Reg, bits: u32) {
    let ([x0, x1], unused) = (X.map(all), 32 - bits.ilog2());
    emit! { code;
        "movd {}, {}", count, x0;    // x0 = count
        "pslld ${}, {}", unused, x0; // the bits that count, at the top
        "psrld ${}, {}", unused, x0; // x0 = count modulo the width
        "movd {}, {}", to, x1;       // x1 = to
    }
    if is_signed && bits < 32 {
        emit! { code;
            "pslld ${}, {}", 32 - bits, x1; // x1, at the top
            "psrad ${}, {}", 32 - bits, x1; // x1, with its sign
        }
    }
    emit! { code;
        "{} {}, {}", by_operation(&SHIFT_X, operation, is_signed), x0, x1; // x1 op= x0
        "movd {}, {}", x1, to;                                             // to = x1
    }
}
