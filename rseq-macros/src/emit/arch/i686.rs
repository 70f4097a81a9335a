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

use super::Machine;
use crate::emit::asm::{Writer, copies, unsigned, uses};
use crate::ids::{ExitId, PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation};

/// The emitter.
pub struct I686;

impl Machine for I686 {
    fn pointer_bits(&self) -> u32 {
        32
    }

    /// All but the stack's two, and those that the steps need for themselves.
    fn registers(&self, _program: &Program) -> usize {
        6
    }

    fn scratch(&self, _program: &Program, lines: &[String]) -> TokenStream {
        let is_used = |name: &&str| uses(lines, name);
        let mut scratch = TokenStream::new();
        for name in ["t0", "t1"].into_iter().filter(is_used) {
            let (class, name) = (self.class_of(name, lines), Ident::new(name, Span::mixed_site()));
            scratch.extend(quote_spanned!(Span::mixed_site()=> #name = out(#class) _,));
        }
        for name in ["x0", "x1", "cpus"].into_iter().filter(is_used) {
            let name = Ident::new(name, Span::mixed_site());
            scratch.extend(quote_spanned!(Span::mixed_site()=> #name = out(xmm_reg) _,));
        }
        scratch
    }

    fn borrows(&self, program: &Program) -> bool {
        copies(program)
    }

    /// Those of which the lowest byte is named are in the registers where it has a name.
    fn class_of(&self, operand: &str, lines: &[String]) -> TokenStream {
        let byte = format!("{{{operand}:l}}");
        if lines.iter().any(|line| line.contains(&byte)) {
            quote_spanned!(Span::mixed_site()=> reg_abcd)
        } else {
            self.class()
        }
    }

    /// The stack is pushed to.
    fn options(&self) -> TokenStream {
        quote_spanned!(Span::mixed_site()=> att_syntax)
    }

    /// Branches reach everything, so it is all in one place.
    fn cold(&self) -> [&'static str; 2] {
        [".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits", ".popsection"]
    }

    fn signature(&self) -> &'static [&'static str] {
        &[
            ".byte 0x0f, 0xb9, 0x3d", // ud1, with the signature as its displacement
            ".long 0x53053053",       // the signature
        ]
    }

    fn jump(&self, label: &str) -> String {
        format!("jmp {label}") // go there
    }

    fn set_number(&self, operand: &str, number: usize) -> Vec<String> {
        vec![format!("movl ${number}, {{{operand}}}")] // operand = number
    }

    fn disarm(&self, writer: &Writer<'_>, area: Register) -> Vec<String> {
        vec![format!("movl $0, {}", Steps(writer).behind(area, 8))] // area->rseq_cs = NULL
    }

    fn step(&self, writer: &Writer<'_>, step: &Step) -> Vec<String> {
        Steps(writer).step(step)
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

/// Whether some step compares the CPU with the number of those that have slots, to which the way
/// must be known before the window.
fn checks_registration(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step, Step::CheckRegistered { .. }))
}

/// What is behind the mnemonic.
fn suffix(bits: u32) -> &'static str {
    match bits {
        8 => "b",
        16 => "w",
        _ => "l",
    }
}

/// The steps of one window.
struct Steps<'w>(&'w Writer<'w>);

impl Steps<'_> {
    /// All bits of a register.
    fn whole(&self, register: Register) -> String {
        format!("{{{}}}", self.0.operand(register))
    }

    /// An operand, zero-extended from so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> String {
        match operand {
            Operand::Register(register) => self.whole(register),
            Operand::Immediate(number) => format!("${}", unsigned(number, bits)),
        }
    }

    /// The lower bits of an operand.
    fn part(&self, operand: Operand, bits: u32) -> String {
        let modifier = match bits {
            8 => ":l",
            16 => ":x",
            _ => ":e",
        };
        match operand {
            Operand::Register(register) => format!("{{{}{modifier}}}", self.0.operand(register)),
            Operand::Immediate(_) => self.operand(operand, bits),
        }
    }

    fn at(&self, address: Address) -> String {
        let base = self.whole(address.base);
        match address.offset {
            Some(offset) => format!("({base}, {})", self.whole(offset)),
            None => format!("({base})"),
        }
    }

    /// What is so many bytes behind a register.
    fn behind(&self, base: Register, displacement: u32) -> String {
        format!("{displacement}({})", self.whole(base))
    }

    /// Where the index is in the area.
    fn index(&self, area: Register) -> String {
        self.behind(area, if self.0.program.mm_cid { 24 } else { 4 })
    }

    fn step(&self, step: &Step) -> Vec<String> {
        let aborted = self.0.aborted();
        match step {
            Step::Publish { descriptor } => self.publish(*descriptor),
            Step::ArmWindow { area, scratch } => self.arm(*area, *scratch),
            Step::CheckArmed { area, descriptor } => vec![
                format!("cmpl {}, {}", self.whole(*descriptor), self.behind(*area, 8)), // area->rseq_cs == descriptor ?
                format!("jne {aborted}"),                                               // no: start again
            ],
            Step::CheckIndex { area, index } => vec![
                format!("cmpl {}, {}", self.whole(*index), self.index(*area)), // area->cpu_id (or mm_cid) == index ?
                format!("jne {aborted}"),                                      // no: start again
            ],
            Step::CheckRegistered { area, scratch } => vec![
                format!("movd {{cpus}}, {}", self.whole(*scratch)), // scratch = the number of CPUs
                format!("cmpl {}, {}", self.whole(*scratch), self.behind(*area, 4)), // area->cpu_id below it ?
                format!("jae {aborted}"),                           // no: start again
            ],
            Step::Fetch { to, frame, number } => {
                vec![format!("movl {}, {}", self.behind(*frame, 4 * *number as u32), self.whole(*to))] // to = frame[number]
            }
            Step::ReadIndex { to, area } => {
                vec![format!("movl {}, {}", self.index(*area), self.whole(*to))] // to = area->cpu_id (or mm_cid)
            }
            Step::Slot { to, slots, index, pointee } => self.slot(*to, *slots, *index, *pointee),
            Step::Element { to, base, index, pointee } => self.element(*to, *base, *index, *pointee),
            Step::Field { to, at } => vec![format!("leal {}, {}", self.at(*at), self.whole(*to))], // to = address
            Step::Load { to, at, ty } => self.load(*to, *at, *ty),
            Step::Compute { to, left, operation, right, ty } => self.compute(*to, *left, *operation, *right, *ty),
            Step::Store { at, value, ty } | Step::CommitStore { at, value, ty, .. } => {
                self.change("mov", *at, *value, *ty) // *at = value
            }
            Step::CommitUpdate { at, operation, value, ty } => self.change(operation.name(), *at, *value, *ty), // *at op= value
            Step::Copy { from, to, length } => self.copy(*from, *to, *length),
            Step::Exit { left, comparison, right, ty, exit, .. } => self.exit(*left, *comparison, *right, *ty, *exit),
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => Vec::new(),
        }
    }

    /// The thread descriptor becomes that of the window, and covers nothing until it is whole: see
    /// rseq-core's `arch/by_stores.rs`. By way of the stack, because all registers may hold
    /// operands.
    fn publish(&self, descriptor: Register) -> Vec<String> {
        vec![
            format!("movl $0, {}", self.behind(descriptor, 16)), // thread descriptor: length 0
            "call 61f".into(),                                   // the address of the next instruction is pushed
            "61: pushl (%esp)".into(),                           // and once more
            "addl $(23f - 61b), (%esp)".into(),                  // the window's start
            format!("popl {}", self.behind(descriptor, 8)),      // thread descriptor: start
            "addl $(25b - 61b), (%esp)".into(),                  // the abort handler
            format!("popl {}", self.behind(descriptor, 24)),     // thread descriptor: abort
            format!("movl $(24f - 23f), {}", self.behind(descriptor, 16)), // thread descriptor: post-commit offset
        ]
    }

    fn arm(&self, area: Register, scratch: Register) -> Vec<String> {
        let scratch = self.whole(scratch);
        let mut lines = vec![
            "call 61f".into(),             // the address of the next instruction is pushed
            format!("61: popl {scratch}"), // scratch = that address
        ];
        if checks_registration(self.0.program) {
            lines.push(format!("movd ({{fast}} + {{cpus_offset}} - 61b)({scratch}), {{cpus}}")); // cpus = FAST.cpus
        }
        lines.push(format!("addl $(22b - 61b), {scratch}")); // scratch = descriptor
        lines.push(format!("movl {scratch}, {}", self.behind(area, 8))); // area->rseq_cs = scratch: armed
        lines
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" is -1 or -2, and slots lie in one half of the address space.
    fn slot(&self, to: Register, slots: Register, index: Index, pointee: PointeeId) -> Vec<String> {
        let to = self.whole(to);
        let index = match index {
            Index::Read(index) => self.whole(index),
            Index::InArea(area) => self.index(area),
        };
        vec![
            format!("imull ${{p{pointee}}}, {index}, {to}"), // to = index * size
            format!("cmpl {}, {to}", self.behind(slots, 4)), // to < slots->limit ?
            format!("jae {}", self.0.aborted()),             // no: start again
            format!("addl {}, {to}", self.behind(slots, 0)), // to += slots->first
        ]
    }

    /// The address of an element: by the address unit for the sizes that it knows.
    fn element(&self, to: Register, base: Register, index: Operand, pointee: PointeeId) -> Vec<String> {
        let (to, base) = (self.whole(to), self.whole(base));
        let index = match index {
            Operand::Immediate(number) => {
                return vec![
                    format!("leal ({} * {{p{pointee}}}) & 0xffffffff({base}), {to}", unsigned(number, 32)), // to = &base[number]
                ];
            }
            Operand::Register(index) => self.whole(index),
        };
        let mut lines = Vec::new();
        for size in [1, 2, 4, 8] {
            lines.push(format!("{} {{p{pointee}}} == {size}", if size == 1 { ".if" } else { ".elseif" }));
            lines.push(format!("leal ({base}, {index}, {size}), {to}")); // to = &base[index]
        }
        lines.push(".else".into());
        lines.push(format!("imull ${{p{pointee}}}, {index}, {to}")); // to = index * size
        lines.push(format!("addl {base}, {to}")); // to += base
        lines.push(".endif".into());
        lines
    }

    fn load(&self, to: Register, at: Address, ty: TypeId) -> Vec<String> {
        let (to, at) = (self.whole(to), self.at(at));
        self.0.by_width(ty, |bits| {
            vec![match bits {
                8 => format!("movzbl {at}, {to}"),  // to = *at, zero-extended
                16 => format!("movzwl {at}, {to}"), // to = *at, zero-extended
                _ => format!("movl {at}, {to}"),    // to = *at
            }]
        })
    }

    /// A store, or an operation on what is in memory.
    fn change(&self, name: &str, at: Address, value: Operand, ty: TypeId) -> Vec<String> {
        let at = self.at(at);
        self.0.by_width(ty, |bits| vec![format!("{name}{} {}, {at}", suffix(bits), self.part(value, bits))]) // *at = value, or op= value
    }

    /// `to = left op right`, zero-extended.
    fn compute(&self, to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId) -> Vec<String> {
        let whole = self.whole(to);
        let mut lines = Vec::new();
        match left {
            Operand::Register(left) if self.0.is_same(left, to) => {}
            Operand::Register(_) | Operand::Immediate(_) => lines.extend(self.0.by_width(ty, |bits| {
                vec![format!("movl {}, {whole}", self.operand(left, bits))] // to = left
            })),
        }
        if operation.is_shift() {
            lines.extend(self.shift(&whole, operation, right, ty));
            return lines;
        }
        lines.extend(self.0.by_width(ty, |bits| {
            let mut lines = vec![format!("{}l {}, {whole}", operation.name(), self.operand(right, bits))]; // to op= right
            if matches!(operation, Operation::Add | Operation::Sub) {
                lines.extend(zero_extend(&whole, bits));
            }
            lines
        }));
        lines
    }

    /// A shift by the lower bits of a count. By one in a register it is done beside the general
    /// registers, of which one alone could have the count: there shifts look at all bits of it, so
    /// it loses the upper ones.
    fn shift(&self, to: &str, operation: Operation, count: Operand, ty: TypeId) -> Vec<String> {
        let count = match count {
            Operand::Register(count) => return self.shift_by_register(to, operation, &self.whole(count), ty),
            Operand::Immediate(count) => count,
        };
        let by_width = |is_signed: bool| {
            self.0.by_width(ty, |bits| {
                let mut lines = Vec::new();
                if is_signed && bits < 32 {
                    lines.push(format!("shll ${}, {to}", 32 - bits)); // to, at the top
                    lines.push(format!("sarl ${}, {to}", 32 - bits)); // to, with its sign
                }
                let mnemonic = match (operation == Operation::Shl, is_signed) {
                    (true, _) => "shll",
                    (false, true) => "sarl",
                    (false, false) => "shrl",
                };
                lines.push(format!("{mnemonic} ${}, {to}", count & i64::from(bits - 1))); // to op= count
                lines.extend(zero_extend(to, bits));
                lines
            })
        };
        self.by_sign_of_shift(operation, ty, by_width)
    }

    fn shift_by_register(&self, to: &str, operation: Operation, count: &str, ty: TypeId) -> Vec<String> {
        let by_width = |is_signed: bool| {
            self.0.by_width(ty, |bits| {
                let unused = 32 - bits.ilog2();
                let mut lines = vec![
                    format!("movd {count}, {{x0}}"),    // x0 = count
                    format!("pslld ${unused}, {{x0}}"), // the bits that count, at the top
                    format!("psrld ${unused}, {{x0}}"), // x0 = count modulo the width
                    format!("movd {to}, {{x1}}"),       // x1 = to
                ];
                if is_signed && bits < 32 {
                    lines.push(format!("pslld ${}, {{x1}}", 32 - bits)); // x1, at the top
                    lines.push(format!("psrad ${}, {{x1}}", 32 - bits)); // x1, with its sign
                }
                let mnemonic = match (operation == Operation::Shl, is_signed) {
                    (true, _) => "pslld",
                    (false, true) => "psrad",
                    (false, false) => "psrld",
                };
                lines.push(format!("{mnemonic} {{x0}}, {{x1}}")); // x1 op= x0
                lines.push(format!("movd {{x1}}, {to}")); // to = x1
                lines.extend(zero_extend(to, bits));
                lines
            })
        };
        self.by_sign_of_shift(operation, ty, by_width)
    }

    /// The lines for types with a sign, and for those without; to the left there is no difference.
    fn by_sign_of_shift(&self, operation: Operation, ty: TypeId, lines: impl Fn(bool) -> Vec<String>) -> Vec<String> {
        if operation == Operation::Shl { lines(false) } else { self.0.by_sign(ty, lines(true), lines(false)) }
    }

    /// By words as long as there are whole ones, then by bytes. An interruption finds `eip` in the
    /// window, wherever it is.
    ///
    /// Two registers that hold something else are borrowed for it, and distances of fields are
    /// added to what they are from, until it is done.
    fn copy(&self, from: Address, to: Address, length: Operand) -> Vec<String> {
        // What the two addresses are in, and what is added to it.
        let mut places = [from, to].map(|at| match at.offset {
            Some(offset) if from.base == to.base => (offset, Some(at.base)),
            offset => (at.base, offset),
        });
        let [source, target] = places.map(|(place, _)| self.whole(place));
        if places[0] == places[1] {
            places[1].1 = None; // once is enough
        }
        let used: Vec<Register> = places.into_iter().map(|(place, _)| place).chain(length.register()).collect();
        let borrowed: Vec<String> = self.0.others(&used).chain(["t0".into(), "t1".into()]).take(2).collect();
        let length = self.operand(length, 32);
        let (copied, done) = (format!("{{{}}}", borrowed[0]), format!("{{{}}}", borrowed[1]));
        let kept = || borrowed.iter().enumerate().filter(|(_, name)| name.starts_with('s'));
        let distances = |change: &str| -> Vec<String> {
            let added = places.into_iter().filter_map(|(place, added)| Some((place, added?)));
            added.map(|(place, added)| format!("{change} {}, {}", self.whole(added), self.whole(place))).collect() // place += or -= distance
        };
        let mut lines = distances("addl");
        lines.extend(kept().map(|(number, name)| format!("movd {{{name}}}, {{x{number}}}"))); // kept = borrowed
        lines.extend([
            format!("movl $0, {done}"),                                // done = 0
            format!("62: leal 4({done}), {copied}"),                   // copied = what is done with one more word
            format!("cmpl {length}, {copied}"),                        // more than there is ?
            "ja 63f".into(),                                           // yes: by bytes
            format!("movl ({source}, {done}), {copied}"),              // copied = the next word
            format!("movl {copied}, ({target}, {done})"),              // store it
            format!("addl $4, {done}"),                                // done, with it
            "jmp 62b".into(),                                          // and on
            format!("63: cmpl {length}, {done}"),                      // all done ?
            "je 64f".into(),                                           // yes
            format!("movb ({source}, {done}), {{{}:l}}", borrowed[0]), // copied = the next byte
            format!("movb {{{}:l}}, ({target}, {done})", borrowed[0]), // store it
            format!("addl $1, {done}"),                                // done, with it
            "jmp 63b".into(),                                          // and on
            "64:".into(),
        ]);
        lines.extend(kept().map(|(number, name)| format!("movd {{x{number}}}, {{{name}}}"))); // borrowed = kept
        lines.extend(distances("subl"));
        lines
    }

    fn exit(&self, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: ExitId) -> Vec<String> {
        let target = self.0.exit(exit);
        let unsigned = |jump: &str| {
            let mut lines = self.0.by_width(ty, |bits| {
                vec![format!("cmpl {}, {}", self.operand(right, bits), self.operand(left, bits))] // left ? right
            });
            lines.push(format!("{jump} {target}")); // leave by this exit
            lines
        };
        let signed = |jump: &str| {
            let mut lines = self.0.by_width(ty, |bits| {
                vec![format!("cmp{} {}, {}", suffix(bits), self.part(right, bits), self.part(left, bits))] // left ? right
            });
            lines.push(format!("{jump} {target}")); // leave by this exit
            lines
        };
        match comparison {
            Comparison::Eq => unsigned("je"),
            Comparison::Ne => unsigned("jne"),
            Comparison::Lt => self.0.by_sign(ty, signed("jl"), unsigned("jb")),
            Comparison::Le => self.0.by_sign(ty, signed("jle"), unsigned("jbe")),
            Comparison::Gt => self.0.by_sign(ty, signed("jg"), unsigned("ja")),
            Comparison::Ge => self.0.by_sign(ty, signed("jge"), unsigned("jae")),
        }
    }
}

/// What is above so many bits becomes 0.
fn zero_extend(to: &str, bits: u32) -> Option<String> {
    (bits < 32).then(|| format!("andl ${}, {to}", (1_u32 << bits) - 1)) // to, zero-extended
}
