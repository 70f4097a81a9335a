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

use super::Machine;
use crate::emit::asm::{Writer, copies, shifts_by_register, signed, unsigned};
use crate::ids::{ExitId, PointeeId, Register, TypeId};
use crate::ir::{Address, Index, Operand, Program, Step};
use crate::syntax::ast::{Comparison, Operation};

/// The emitter.
pub struct X86_64;

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

    fn scratch(&self, program: &Program, _lines: &[String]) -> TokenStream {
        let mut scratch = if program.steps.iter().any(|step| matches!(step, Step::Publish { .. })) {
            let handler =
                (!program.has_flaw("missing_clobber")).then(|| quote_spanned!(Span::mixed_site()=> out("r11") _,));
            quote_spanned!(Span::mixed_site()=> published = out(xmm_reg) _, #handler)
        } else {
            TokenStream::new()
        };
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
        [".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits", ".popsection"]
    }

    fn signature(&self) -> &'static [&'static str] {
        &[
            ".byte 0x0f, 0xb9, 0x3d", // ud1, with the signature as its displacement
            ".long 0x53053053",       // the signature
        ]
    }

    fn jump(&self, label: &str) -> String {
        format!("jmp {label}")
    }

    fn set_number(&self, operand: &str, number: usize) -> Vec<String> {
        vec![match number {
            0 => format!("xor {{{operand}:e}}, {{{operand}:e}}"), // operand = 0
            _ => format!("mov {{{operand}:e}}, {number}"),        // operand = number
        }]
    }

    fn disarm(&self, writer: &Writer<'_>, area: Register) -> Vec<String> {
        vec![format!("mov qword ptr {}, 0", Steps(writer).area(area, 8))] // area->rseq_cs = NULL
    }

    fn step(&self, writer: &Writer<'_>, step: &Step) -> Vec<String> {
        Steps(writer).step(step)
    }

    #[cfg(feature = "mutants")]
    fn mutate(&self, lines: &mut Vec<String>, flaw: &str) {
        if flaw == "publish_in_two"
            && let Some(publish) = lines.iter().position(|line| line.ends_with("+ 8], {published}"))
        {
            let low = lines[publish].replace("movups", "movlps");
            lines[publish] = low.replace("movlps", "movhps").replace("+ 8]", "+ 16]"); // thread descriptor: post-commit offset
            lines.insert(publish + 1, low); // thread descriptor: start
        }
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
    fn whole(&self, register: Register) -> String {
        format!("{{{}}}", self.0.operand(register))
    }

    /// The lower 32 bits.
    fn word(&self, register: Register) -> String {
        format!("{{{}:e}}", self.0.operand(register))
    }

    /// The lower bits of a register: 8, 16, 32 or 64.
    fn part(&self, register: Register, bits: u32) -> String {
        let modifier = match bits {
            8 => ":l",
            16 => ":x",
            32 => ":e",
            _ => ":r",
        };
        format!("{{{}{modifier}}}", self.0.operand(register))
    }

    /// An operand of so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> String {
        match operand {
            Operand::Register(register) => self.part(register, bits),
            Operand::Immediate(number) => signed(number, bits).to_string(),
        }
    }

    fn at(&self, address: Address) -> String {
        match address.offset {
            Some(offset) => format!("[{} + {}]", self.whole(address.base), self.whole(offset)),
            None => format!("[{}]", self.whole(address.base)),
        }
    }

    /// A field of the thread's area: behind a pointer, or from the thread pointer.
    fn area(&self, area: Register, offset: u32) -> String {
        let segment = if self.0.program.arms_in_window() { "fs:" } else { "" };
        format!("{segment}[{} + {offset}]", self.whole(area))
    }

    /// Where the index is in the area.
    fn index(&self, area: Register) -> String {
        self.area(area, if self.0.program.mm_cid { 24 } else { 4 })
    }

    fn step(&self, step: &Step) -> Vec<String> {
        let aborted = self.0.aborted();
        match step {
            // One store for start and length together, so that the thread descriptor covers one
            // window or another, never a mixture.
            Step::Publish { descriptor } => vec![
                "lea r11, [rip + 25b]".into(), // r11 = this section's abort handler, where the thread descriptor's goes on to
                "movups {published}, [rip + 22b + 8]".into(), // published = descriptor: start, post-commit offset
                format!("movups [{} + 8], {{published}}", self.whole(*descriptor)), // thread descriptor: start, post-commit offset
            ],
            Step::ArmWindow { area, scratch } => vec![
                format!("lea {}, [rip + 22b]", self.whole(*scratch)), // scratch = descriptor
                format!("mov {}, {}", self.area(*area, 8), self.whole(*scratch)), // area->rseq_cs = scratch: armed
            ],
            Step::CheckArmed { area, descriptor } => vec![
                format!("cmp {}, {}", self.area(*area, 8), self.whole(*descriptor)), // area->rseq_cs == descriptor ?
                format!("jne {aborted}"),                                            // no: start again
            ],
            Step::CheckIndex { area, index } => vec![
                format!("cmp {}, {}", self.index(*area), self.word(*index)), // area->cpu_id (or mm_cid) == index ?
                format!("jne {aborted}"),                                    // no: start again
            ],
            Step::CheckRegistered { area, scratch } => vec![
                format!("mov {}, {}", self.word(*scratch), self.area(*area, 4)), // scratch = area->cpu_id
                format!("cmp {}, [rip + {{fast}} + {{cpus_offset}}]", self.whole(*scratch)), // below the number of CPUs ?
                format!("jae {aborted}"),                                                    // no: start again
            ],
            Step::ReadIndex { to, area } => {
                vec![format!("mov {}, {}", self.word(*to), self.index(*area))] // to = area->cpu_id (or mm_cid)
            }
            Step::Slot { to, slots, index, pointee } => self.find_slot(*to, *slots, *index, *pointee),
            Step::Element { to, base, index, pointee } => self.element(*to, *base, *index, *pointee),
            Step::Field { to, at } => vec![format!("lea {}, {}", self.whole(*to), self.at(*at))], // to = address
            Step::Load { to, at, ty } => self.load(*to, *at, *ty),
            Step::Compute { to, left, operation, right, ty } => self.compute(*to, *left, *operation, *right, *ty),
            Step::Store { at, value, ty } | Step::CommitStore { at, value, ty, .. } => self.store(*at, *value, *ty),
            Step::CommitUpdate { at, operation, value, ty } => self.update(*at, *operation, *value, *ty),
            Step::Copy { from, to, length } => self.copy(*from, *to, *length),
            Step::Exit { left, comparison, right, ty, exit, .. } => self.exit(*left, *comparison, *right, *ty, *exit),
            Step::Fetch { .. } => unreachable!("only machines with few registers fetch what waits in memory"),
            // The same for every machine: see `Writer::step`.
            Step::Start | Step::Post | Step::Disarm { .. } => Vec::new(),
        }
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not
    /// registered" has its highest 30 bits of 32 set, so whatever of it the shift leaves in 64 bits
    /// is larger than an address.
    fn find_slot(&self, to: Register, slots: Register, index: Index, pointee: PointeeId) -> Vec<String> {
        let whole = self.whole(to);
        let mut lines = vec![
            match index {
                Index::Read(index) => format!("mov {whole}, {}", self.whole(index)), // to = index
                Index::InArea(area) => format!("mov {}, {}", self.word(to), self.index(area)), // to = area->cpu_id (or mm_cid)
            },
            format!("shl {whole}, {{n{pointee}}}"), // to *= size
        ];
        lines.push(format!("cmp {whole}, [{} + 8]", self.whole(slots))); // to < slots->limit ?
        lines.push(format!("jae {}", self.0.aborted())); // no: start again
        lines.push(format!("add {whole}, [{}]", self.whole(slots))); // to += slots->first
        lines
    }

    /// The address of an element: by the address unit for the sizes that it knows.
    fn element(&self, to: Register, base: Register, index: Operand, pointee: PointeeId) -> Vec<String> {
        let (to, base) = (self.whole(to), self.whole(base));
        let index = match index {
            Operand::Immediate(number) => {
                return vec![
                    format!(".if {number} * {{p{pointee}}} <= 0x7fffffff"),
                    format!("lea {to}, [{base} + {number} * {{p{pointee}}}]"), // to = &base[number]
                    ".else".into(),
                    format!("movabs {to}, {number} * {{p{pointee}}}"), // to = number * size, which no displacement can hold
                    format!("add {to}, {base}"),                       // to += base
                    ".endif".into(),
                ];
            }
            Operand::Register(index) => self.whole(index),
        };
        let mut lines = Vec::new();
        for size in [1, 2, 4, 8] {
            let word = if size == 1 { ".if" } else { ".elseif" };
            lines.push(format!("{word} {{p{pointee}}} == {size}"));
            lines.push(format!("lea {to}, [{base} + {index} * {size}]")); // to = &base[index]
        }
        lines.push(".else".into());
        lines.push(format!("imul {to}, {index}, {{p{pointee}}}")); // to = index * size
        lines.push(format!("add {to}, {base}")); // to += base
        lines.push(".endif".into());
        lines
    }

    /// Few bytes go sixteen at a time, because the processor takes a while to begin a repetition.
    /// They are loaded by eight and stored by sixteen: so what was stored just before, or is loaded
    /// just after, needn't go by way of the cache, whether it goes by eight or by sixteen. An
    /// interruption finds `rip` in the window, wherever it is.
    fn copy(&self, from: Address, to: Address, length: Operand) -> Vec<String> {
        vec![
            format!("lea rsi, {}", self.at(from)),            // rsi = from
            format!("lea rdi, {}", self.at(to)),              // rdi = to
            format!("mov rcx, {}", self.operand(length, 64)), // rcx = length
            "cmp rcx, 256".into(),                            // many ?
            "ja 65f".into(),                                  // yes: all at once
            "62: sub rcx, 16".into(),                         // sixteen more ?
            "jb 63f".into(),                                  // no: rcx has the rest in its lower bits
            "movq {copied}, qword ptr [rsi]".into(),          // copied, low = the next eight
            "movhps {copied}, qword ptr [rsi + 8]".into(),    // copied, high = eight more
            "movups [rdi], {copied}".into(),                  // store them
            "add rsi, 16".into(),                             // rsi = behind them
            "add rdi, 16".into(),                             // rdi = behind them
            "jmp 62b".into(),                                 // and on
            "63: test cl, 8".into(),                          // eight more ?
            "je 64f".into(),                                  // no
            "movq {copied}, qword ptr [rsi]".into(),          // copied = the next eight
            "movq qword ptr [rdi], {copied}".into(),          // store them
            "add rsi, 8".into(),                              // rsi = behind them
            "add rdi, 8".into(),                              // rdi = behind them
            "64: and ecx, 7".into(),                          // rcx = what is left
            "je 66f".into(),                                  // nothing: done
            "65: rep movsb".into(),                           // copy rcx bytes
            "66:".into(),
        ]
    }

    /// One line for each width, of which the assembler takes the one that the type has.
    fn by_width(&self, ty: TypeId, line: impl Fn(u32) -> String) -> Vec<String> {
        self.0.by_width(ty, |bits| vec![line(bits)])
    }

    fn load(&self, to: Register, at: Address, ty: TypeId) -> Vec<String> {
        let (whole, word, at) = (self.whole(to), self.word(to), self.at(at));
        self.by_width(ty, |bits| match bits {
            8 => format!("movzx {word}, byte ptr {at}"),  // to = *at, zero-extended
            16 => format!("movzx {word}, word ptr {at}"), // to = *at, zero-extended
            32 => format!("mov {word}, {at}"),            // to = *at, zero-extended
            _ => format!("mov {whole}, {at}"),            // to = *at
        })
    }

    fn store(&self, at: Address, value: Operand, ty: TypeId) -> Vec<String> {
        let at = self.at(at);
        self.by_width(ty, |bits| format!("mov {} {at}, {}", pointer(bits), self.operand(value, bits))) // *at = value
    }

    fn update(&self, at: Address, operation: Operation, value: Operand, ty: TypeId) -> Vec<String> {
        let (at, name) = (self.at(at), operation.name());
        self.by_width(ty, |bits| format!("{name} {} {at}, {}", pointer(bits), self.operand(value, bits))) // *at op= value
    }

    /// `to = left op right`, in the part of the register that has the type's width.
    fn compute(&self, to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId) -> Vec<String> {
        let mut lines = Vec::new();
        match left {
            Operand::Register(left) if self.0.is_same(left, to) => {}
            Operand::Register(left) => lines.push(format!("mov {}, {}", self.whole(to), self.whole(left))), // to = left
            // Zero-extended from the type's width.
            Operand::Immediate(number) => lines.extend(self.by_width(ty, |bits| {
                format!("mov {}, {}", self.part(to, bits.max(32)), unsigned(number, bits).cast_signed()) // to = number
            })),
        }
        if operation.is_shift() {
            lines.extend(self.shift(to, operation, right, ty));
        } else {
            let name = operation.name();
            lines.extend(self.by_width(ty, |bits| {
                format!("{name} {}, {}", self.part(to, bits), self.operand(right, bits)) // to op= right
            }));
        }
        lines
    }

    /// A shift by the lower bits of a count: the machine looks at five or six, which are too many
    /// for the narrow types.
    fn shift(&self, to: Register, operation: Operation, count: Operand, ty: TypeId) -> Vec<String> {
        let mut lines = Vec::new();
        if let Operand::Register(count) = count {
            lines.push(format!("mov ecx, {}", self.word(count))); // ecx = count
            lines.extend(self.by_width(ty, |bits| match bits {
                8 => "and ecx, 7".into(),   // count modulo the width
                16 => "and ecx, 15".into(), // count modulo the width
                _ => ".balign 1".into(),    // nothing: the machine does so
            }));
        }
        let shift = |mnemonic: &str| {
            self.by_width(ty, |bits| match count {
                Operand::Register(_) => format!("{mnemonic} {}, cl", self.part(to, bits)), // to op= count
                Operand::Immediate(number) => {
                    let count = number & i64::from(bits - 1);
                    format!("{mnemonic} {}, {count}", self.part(to, bits)) // to op= count
                }
            })
        };
        if operation == Operation::Shl {
            lines.extend(shift("shl"));
        } else {
            lines.push(format!(".if {{signed{ty}}}"));
            lines.extend(shift("sar"));
            lines.push(".else".into());
            lines.extend(shift("shr"));
            lines.push(".endif".into());
        }
        lines
    }

    fn exit(&self, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: ExitId) -> Vec<String> {
        let equality = matches!(comparison, Comparison::Eq | Comparison::Ne);
        let mut lines = self.by_width(ty, |bits| {
            let (left, right) = (self.operand(left, bits), (right, self.operand(right, bits)));
            match right {
                (Operand::Immediate(0), _) if equality => format!("test {left}, {left}"), // left == 0 ?
                (_, right) => format!("cmp {left}, {right}"),                             // left ? right
            }
        });
        let [signed, unsigned] = match comparison {
            Comparison::Eq => ["je", "je"],
            Comparison::Ne => ["jne", "jne"],
            Comparison::Lt => ["jl", "jb"],
            Comparison::Le => ["jle", "jbe"],
            Comparison::Gt => ["jg", "ja"],
            Comparison::Ge => ["jge", "jae"],
        };
        let target = self.0.exit(exit);
        if equality {
            lines.push(format!("{signed} {target}")); // leave by this exit
            return lines;
        }
        lines.push(format!(".if {{signed{ty}}}"));
        lines.push(format!("{signed} {target}")); // leave by this exit
        lines.push(".else".into());
        lines.push(format!("{unsigned} {target}")); // leave by this exit
        lines.push(".endif".into());
        lines
    }
}

fn pointer(bits: u32) -> &'static str {
    match bits {
        8 => "byte ptr",
        16 => "word ptr",
        32 => "dword ptr",
        _ => "qword ptr",
    }
}
