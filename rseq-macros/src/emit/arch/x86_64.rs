//! x86-64, after the Intel SDM (volume 2) and the kernel's `include/uapi/linux/rseq.h` (layout of
//! the descriptor and the area).
//!
//! Stores are seen by other CPUs in program order and no earlier than what the thread did before
//! (SDM volume 3, 10.2.2), so a store is a release store as it is.
//!
//! Values are kept zero-extended. Their widths are known to the assembler alone, as the constants
//! `b0`, `b1` .., so each step is written for all widths and `.if` chooses: a directive of both GNU
//! as and LLVM's assembler. Partial registers keep what is above them, which is zero.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use rseq_abi::{area, descriptor};

use super::tables::{ByComparison, ByOperation, ByWidth, by_comparison, by_operation, by_width};
use super::{ELSEWHERE, Machine};
use crate::emit::asm::{Writer, copies, shifts_by_register, signed, unsigned};
use crate::emit::code::{ABORT_HANDLER, Argument, Atom, Code, DESCRIPTOR, Label, Local, Name, Reg, direct, emit};
use crate::ids::{PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation};

/// The emitter.
pub struct X86_64;

/// An undefined instruction, `ud1`, with the signature as its displacement.
pub const SIGNATURE: &[&str] = &[
    ".byte 0x0f, 0xb9, 0x3d", // ud1
    ".long 0x53053053",       // the signature
];
/// Jump if a comparison holds.
pub const JUMP_IF: ByComparison = ["je", "jne", "jl", "jle", "jg", "jge", "jb", "jbe", "ja", "jae"];

const COMPUTE: ByOperation = ["add", "sub", "and", "or", "xor", "shl", "shr", "sar"];

/// Start and length of the descriptor, on their way to the thread's.
const PUBLISHED: Reg = Reg::Chosen(Name::Other("published"), None);
/// The bytes that a copy has loaded.
const COPIED: Reg = Reg::Chosen(Name::Other("copied"), None);

impl Machine for X86_64 {
    fn pointer_bits(&self) -> u32 {
        64
    }

    /// All but the stack's two, one for the compiler, and those that the steps need for themselves.
    fn registers(&self, program: &Program) -> usize {
        const GENERAL: usize = 13;
        let published = usize::from(!program.arms_in_window());
        GENERAL - published - if copies(program) { 3 } else { usize::from(shifts_by_register(program)) }
    }

    fn scratch(&self, program: &Program, _code: &Code) -> TokenStream {
        let mut scratch = TokenStream::new();
        if program.steps.iter().any(|step| matches!(step, Step::Publish { .. })) {
            let handler =
                (!program.has_flaw("missing_clobber")).then(|| quote_spanned!(Span::mixed_site()=> out("r11") _,));
            scratch = quote_spanned!(Span::mixed_site()=> published = out(xmm_reg) _, #handler);
        }
        if copies(program) {
            scratch.extend(
                quote_spanned!(Span::mixed_site()=> copied = out(xmm_reg) _, out("rcx") _, out("rsi") _, out("rdi") _,),
            );
        } else if shifts_by_register(program) {
            scratch.extend(quote_spanned!(Span::mixed_site()=> out("rcx") _,));
        }
        scratch
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
        let to = to.part('e');
        match number {
            0 => emit!(code; "xor {}, {}", to, to),            // to = 0
            _ => emit!(code; "mov {}, {}", to, number as i64), // to = number
        }
    }

    fn disarm(&self, code: &mut Code, writer: &Writer<'_>, area: Register) {
        emit!(code; "mov qword ptr {}, 0", Steps(writer).area(area, area::RSEQ_CS)); // area->rseq_cs = NULL
    }

    fn step(&self, code: &mut Code, writer: &Writer<'_>, step: &Step) {
        Steps(writer).step(code, step);
    }

    #[cfg(test)]
    #[rustfmt::skip]
    fn words(&self) -> &'static [&'static str] {
        &[
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eax", "ebx", "ecx", "edx", "xmm", "xmm0",
            "xmm_reg", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "fs", "gs", "mov", "movq", "movups",
            "movzx", "movlps", "movhps", "lea", "cmp", "jne", "jmp", "je", "jz", "jnz", "ud1", "lock", "xchg", "cmpxchg", "qword",
            "dword", "pushsection", "x86", "x86_64", "imul", "jae", "ja", "jb", "movsb", "sar", "cl",
        ]
    }
}

/// The steps of one window.
struct Steps<'w>(&'w Writer<'w>);

impl Steps<'_> {
    /// All 64 bits of a register.
    fn whole(&self, register: Register) -> Reg {
        self.0.reg(register)
    }

    /// The lower 32 bits.
    fn word(&self, register: Register) -> Reg {
        self.part(register, 32)
    }

    /// The lower bits of a register: 8, 16, 32 or 64.
    fn part(&self, register: Register, bits: u32) -> Reg {
        self.0.reg(register).part(match bits {
            8 => 'l',
            16 => 'x',
            32 => 'e',
            _ => 'r',
        })
    }

    /// An operand of so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> Atom {
        match operand {
            Operand::Register(register) => self.part(register, bits).into(),
            Operand::Immediate(number) => signed(number, bits).into(),
        }
    }

    fn at(&self, address: Address) -> Argument {
        let base = self.whole(address.base);
        match address.offset {
            Some(offset) => Argument::of("[{} + {}]", base, self.whole(offset)),
            None => Argument::Of("[{}]", base.into(), None),
        }
    }

    /// A field of the thread's area: behind a pointer, or from the thread pointer.
    fn area(&self, area: Register, field: u32) -> Argument {
        let template = if self.0.program.arms_in_window() { "fs:[{} + {}]" } else { "[{} + {}]" };
        Argument::of(template, self.whole(area), field)
    }

    /// Where the index is in the area.
    fn index(&self, area: Register) -> Argument {
        self.area(area, self.0.index())
    }

    fn step(&self, code: &mut Code, step: &Step) {
        let aborted = self.0.aborted();
        match *step {
            Step::Publish { descriptor } => self.publish(code, self.whole(descriptor)),
            Step::ArmWindow { area, scratch } => emit! { code;
                "lea {}, [rip + {}]", self.whole(scratch), DESCRIPTOR.back(); // scratch = descriptor
                "mov {}, {}", self.area(area, area::RSEQ_CS), self.whole(scratch); // area->rseq_cs = scratch: armed
            },
            Step::CheckArmed { area, descriptor } => emit! { code;
                "cmp {}, {}", self.area(area, area::RSEQ_CS), self.whole(descriptor); // area->rseq_cs == descriptor ?
                "jne {}", aborted; // no: start again
            },
            Step::CheckIndex { area, index } => emit! { code;
                "cmp {}, {}", self.index(area), self.word(index); // area->cpu_id (or mm_cid) == index ?
                "jne {}", aborted; // no: start again
            },
            Step::CheckRegistered { area, scratch } => emit! { code;
                "mov {}, {}", self.word(scratch), self.area(area, area::CPU_ID); // scratch = area->cpu_id
                "cmp {}, [rip + {} + {}]", self.whole(scratch), Name::Fast, Name::CpusOffset; // below the number of CPUs ?
                "jae {}", aborted; // no: start again
            },
            Step::ReadIndex { to, area } => {
                emit!(code; "mov {}, {}", self.word(to), self.index(area)); // to = area->cpu_id (or mm_cid)
            }
            Step::Slot { to, slots, index, pointee } => self.find_slot(code, to, slots, index, pointee),
            Step::Element { to, base, index, pointee } => self.element(code, to, base, index, pointee),
            Step::Field { to, at } => emit!(code; "lea {}, {}", self.whole(to), self.at(at)), // to = address
            Step::Load { to, at, ty } => self.load(code, to, at, ty),
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
            Step::Fetch { .. } => unreachable!("only machines with few registers fetch what waits in memory"),
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => {}
        }
    }

    /// One store for start and length together, so that the thread descriptor covers one window or
    /// another, never a mixture.
    fn publish(&self, code: &mut Code, descriptor: Reg) {
        let (start, length) = (descriptor::START, descriptor::POST_COMMIT_OFFSET);
        emit! { code;
            "lea r11, [rip + {}]", ABORT_HANDLER.back(); // r11 = this section's abort handler, where the thread descriptor's goes on to
            "movups {}, [rip + {} + {}]", PUBLISHED, DESCRIPTOR.back(), start; // published = descriptor: start, post-commit offset
        }
        if self.0.program.has_flaw("publish_in_two") {
            return emit! { code;
                "movhps [{} + {}], {}", descriptor, length, PUBLISHED; // thread descriptor: post-commit offset
                "movlps [{} + {}], {}", descriptor, start, PUBLISHED; // thread descriptor: start
            };
        }
        emit!(code; "movups [{} + {}], {}", descriptor, start, PUBLISHED); // thread descriptor: start, post-commit offset
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" has its highest 30 bits of 32 set, so whatever of it the shift leaves in 64 bits
    /// is larger than an address.
    fn find_slot(&self, code: &mut Code, to: Register, slots: Register, index: Index, pointee: PointeeId) {
        let (whole, slots) = (self.whole(to), self.whole(slots));
        match index {
            Index::Read(index) => emit!(code; "mov {}, {}", whole, self.whole(index)), // to = index
            Index::InArea(area) => emit!(code; "mov {}, {}", self.word(to), self.index(area)), // to = area->cpu_id (or mm_cid)
        }
        emit! { code;
            "shl {}, {}", whole, Name::Power(pointee); // to *= size
            "cmp {}, [{} + 8]", whole, slots;          // to < slots->limit ?
            "jae {}", self.0.aborted();                // no: start again
            "add {}, [{}]", whole, slots;              // to += slots->first
        }
    }

    /// The address of an element: by the address unit for the sizes that it knows.
    fn element(&self, code: &mut Code, to: Register, base: Register, index: Operand, pointee: PointeeId) {
        let (to, base, size) = (self.whole(to), self.whole(base), Name::Size(pointee));
        let index = match index {
            Operand::Immediate(number) => {
                direct!(code; ".if {} * {} <= 0x7fffffff", number, size);
                emit!(code; "lea {}, [{} + {} * {}]", to, base, number, size); // to = &base[number]
                direct!(code; ".else");
                emit! { code;
                    "movabs {}, {} * {}", to, number, size; // to = number * size, which no displacement can hold
                    "add {}, {}", to, base;                 // to += base
                }
                return direct!(code; ".endif");
            }
            Operand::Register(index) => self.whole(index),
        };
        let mut condition = ".if";
        for bytes in [1_u32, 2, 4, 8] {
            direct!(code; "{} {} == {}", condition, size, bytes);
            emit!(code; "lea {}, [{} + {} * {}]", to, base, index, bytes); // to = &base[index]
            condition = ".elseif";
        }
        direct!(code; ".else");
        emit! { code;
            "imul {}, {}, {}", to, index, size; // to = index * size
            "add {}, {}", to, base;             // to += base
        }
        direct!(code; ".endif");
    }

    /// Few bytes go sixteen at a time, because the processor takes a while to begin a repetition.
    /// They are loaded by eight and stored by sixteen: so what was stored just before, or is loaded
    /// just after, needn't go by way of the cache, whether it goes by eight or by sixteen. An
    /// interruption finds `rip` in the window, wherever it is.
    fn copy(&self, code: &mut Code, from: Address, to: Address, length: Operand) {
        let [sixteen, eight, few, bytes, done] = [2, 3, 4, 5, 6].map(Local::own);
        emit! { code;
            "lea rsi, {}", self.at(from);             // rsi = from
            "lea rdi, {}", self.at(to);               // rdi = to
            "mov rcx, {}", self.operand(length, 64);  // rcx = length
            "cmp rcx, 256";                           // many ?
            "ja {}", bytes.ahead();                   // yes: all at once
            "{}: sub rcx, 16", sixteen;               // sixteen more ?
            "jb {}", eight.ahead();                   // no: rcx has the rest in its lower bits
            "movq {}, qword ptr [rsi]", COPIED;       // copied, low = the next eight
            "movhps {}, qword ptr [rsi + 8]", COPIED; // copied, high = eight more
            "movups [rdi], {}", COPIED;               // store them
            "add rsi, 16";                            // rsi = behind them
            "add rdi, 16";                            // rdi = behind them
            "jmp {}", sixteen.back();                 // and on
            "{}: test cl, 8", eight;                  // eight more ?
            "je {}", few.ahead();                     // no
            "movq {}, qword ptr [rsi]", COPIED;       // copied = the next eight
            "movq qword ptr [rdi], {}", COPIED;       // store them
            "add rsi, 8";                             // rsi = behind them
            "add rdi, 8";                             // rdi = behind them
            "{}: and ecx, 7", few;                    // rcx = what is left
            "je {}", done.ahead();                    // nothing: done
            "{}: rep movsb", bytes;                   // copy rcx bytes
        }
        code.label(done);
    }

    fn load(&self, code: &mut Code, to: Register, at: Address, ty: TypeId) {
        let (word, at) = (self.word(to), self.at(at));
        self.0.by_width(code, ty, |code, bits| match bits {
            8 => emit!(code; "movzx {}, byte ptr {}", word, at), // to = *at, zero-extended
            16 => emit!(code; "movzx {}, word ptr {}", word, at), // to = *at, zero-extended
            32 => emit!(code; "mov {}, {}", word, at),           // to = *at, zero-extended
            _ => emit!(code; "mov {}, {}", self.whole(to), at),  // to = *at
        });
    }

    /// A store, or an operation on what is in memory.
    fn change(&self, code: &mut Code, mnemonic: &'static str, at: Address, value: Operand, ty: TypeId) {
        const POINTER: ByWidth = ["byte ptr", "word ptr", "dword ptr", "qword ptr"];
        let at = self.at(at);
        self.0.by_width(code, ty, |code, bits| {
            emit!(code; "{} {} {}, {}", mnemonic, by_width(&POINTER, bits), at, self.operand(value, bits)); // *at = value, or op= value
        });
    }

    /// `to = left op right`, in the part of the register that has the type's width.
    fn compute(&self, code: &mut Code, to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId) {
        match left {
            Operand::Register(left) if self.whole(left) == self.whole(to) => {}
            Operand::Register(left) => emit!(code; "mov {}, {}", self.whole(to), self.whole(left)), // to = left
            // Zero-extended from the type's width.
            Operand::Immediate(number) => self.0.by_width(code, ty, |code, bits| {
                emit!(code; "mov {}, {}", self.part(to, bits.max(32)), unsigned(number, bits)); // to = number
            }),
        }
        if operation.is_shift() {
            return self.shift(code, to, operation, right, ty);
        }
        let mnemonic = by_operation(&COMPUTE, operation, false);
        self.0.by_width(code, ty, |code, bits| {
            emit!(code; "{} {}, {}", mnemonic, self.part(to, bits), self.operand(right, bits)); // to op= right
        });
    }

    /// A shift by the lower bits of a count: the machine looks at five or six, which are too many
    /// for the narrow types.
    fn shift(&self, code: &mut Code, to: Register, operation: Operation, count: Operand, ty: TypeId) {
        if let Operand::Register(count) = count {
            emit!(code; "mov ecx, {}", self.word(count)); // ecx = count
            self.0.by_width(code, ty, |code, bits| match bits {
                8 => emit!(code; "and ecx, 7"),   // count modulo the width
                16 => emit!(code; "and ecx, 15"), // count modulo the width
                _ => direct!(code; ".balign 1"),  // nothing: the machine does so
            });
        }
        let shift = |code: &mut Code, is_signed: bool| {
            let mnemonic = by_operation(&COMPUTE, operation, is_signed);
            self.0.by_width(code, ty, |code, bits| {
                let count = match count {
                    Operand::Register(_) => Reg::Fixed("cl").into(),
                    Operand::Immediate(number) => Atom::Number(number & i64::from(bits - 1)),
                };
                emit!(code; "{} {}, {}", mnemonic, self.part(to, bits), count); // to op= count
            });
        };
        if operation == Operation::Shl { shift(code, false) } else { self.0.by_sign(code, ty, shift) }
    }

    fn exit(&self, code: &mut Code, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: Label) {
        self.0.by_width(code, ty, |code, bits| {
            let left = self.operand(left, bits);
            match right {
                Operand::Immediate(0) if comparison.is_equality() => emit!(code; "test {}, {}", left, left), // left == 0 ?
                Operand::Register(_) | Operand::Immediate(_) => {
                    emit!(code; "cmp {}, {}", left, self.operand(right, bits)); // left ? right
                }
            }
        });
        let jump = |code: &mut Code, is_signed| {
            emit!(code; "{} {}", by_comparison(&JUMP_IF, comparison, is_signed), exit); // leave by this exit
        };
        if comparison.is_equality() { jump(code, false) } else { self.0.by_sign(code, ty, jump) }
    }
}
