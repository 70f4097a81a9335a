//! x86-64, after the Intel SDM (volume 2) and the kernel's `include/uapi/linux/rseq.h` (layout of the descriptor and the area).
//!
//! Stores are seen by other CPUs in program order and no earlier than what the thread did before (SDM volume 3, 10.2.2), so a store is a
//! release store as it is.
//!
//! Values are kept zero-extended. Their widths are known to the assembler alone, as the constants `b0`, `b1` .., so each step is written for all
//! widths and `.if` chooses: a directive of both GNU as and LLVM's assembler. Partial registers keep what is above them, which is zero.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use super::Ways;
use crate::allocate::Allocation;
use crate::ir::{Address, Index, Operand, Program, Register, Step, TypeId};
use crate::syntax::ast::{Comparison, Operation};

/// How many registers a window may use: all but the stack's two, one for the compiler, and those that its steps need for themselves.
pub fn registers(program: &Program) -> usize {
    const GENERAL: usize = 13;
    let published = usize::from(!program.arms_in_window());
    GENERAL - published - if copies(program) { 3 } else { usize::from(shifts_by_register(program)) }
}

/// Registers that the window changes beside its operands.
pub fn scratch(program: &Program) -> TokenStream {
    let mut scratch = if program.in_window().any(|step| matches!(step, Step::Publish { .. })) {
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

fn copies(program: &Program) -> bool {
    program.in_window().any(|step| matches!(step, Step::Copy { .. }))
}

fn shifts_by_register(program: &Program) -> bool {
    let by_register = |step: &Step| matches!(step, Step::Compute { operation, right: Operand::Register(_), .. } if operation.is_shift());
    program.in_window().any(by_register)
}

/// The asm of a window. Its operands: `s0`, `s1` .. the slots of the allocation, `b0` .. the sizes of types and `signed0` .. whether they are signed, `p0` .. the
/// sizes of slots and elements, `fast` and `cpus_offset` the number of CPUs; `aborted`, `exit0` .. where it goes, if these are labels.
pub fn window(program: &Program, allocation: &Allocation, ways: Ways) -> Vec<String> {
    let writer = Writer { program, allocation, ways };
    let mut lines = writer.sections();
    lines.extend(program.in_window().flat_map(|step| writer.step(step)));
    if let Ways::Number(_) = ways {
        lines.push("29:".into());
    }
    mutate(&mut lines, &program.flaws);
    lines
}

struct Writer<'p> {
    program: &'p Program,
    allocation: &'p Allocation,
    ways: Ways,
}

impl Writer<'_> {
    /// The constant descriptor and what refers to it. Labels: 22 the descriptor, 23 start, 24 post-commit, 25 abort handler, 29 the end, 30 and
    /// the following the exits, 62 to 66 those of a copy. The arrays are retained (`R`) because nothing in the code refers to them; the descriptors are kept by both.
    fn sections(&self) -> Vec<String> {
        let mut lines = vec![".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits".into()];
        let mut exits = Vec::new();
        let disarms = self.program.in_window().any(|step| matches!(step, Step::Disarm { .. }));
        for step in self.program.in_window() {
            if let Step::Exit { exit, area, .. } = step {
                lines.push(format!("{}:", 30 + exit));
                lines.extend(disarms.then(|| self.disarm(*area))); // area->rseq_cs = NULL
                lines.extend(self.leave(*exit));
                exits.push(format!(".quad 23f, {}b", 30 + exit)); // for tools: ... or to here
            }
        }
        lines.push(".byte 0x0f, 0xb9, 0x3d".into()); // ud1, with the signature as its displacement
        lines.push(".long 0x53053053".into()); // the signature, by which the kernel knows an abort handler
        lines.push("25:".into());
        lines.extend(self.abort());
        lines.extend(
            [
                ".popsection",
                ".pushsection __rseq_cs, \"aw\", @progbits",
                ".balign 32",
                "22: .long 0, 0",            // descriptor: version, flags
                ".quad 23f, 24f - 23f, 25b", // descriptor: start, post-commit offset, abort
                ".popsection",
                ".pushsection __rseq_cs_ptr_array, \"awR\", @progbits",
                ".balign 8",
                ".quad 22b", // for tools: here is a descriptor
                ".popsection",
                ".pushsection __rseq_exit_point_array, \"awR\", @progbits",
                ".balign 8",
            ]
            .map(str::to_owned),
        );
        lines.push(format!(".quad 23f, {}", self.aborted())); // for tools: the window that starts there can be left to here
        lines.extend(exits);
        lines.push(".popsection".into());
        lines
    }

    /// Where to go to start again.
    fn aborted(&self) -> &'static str {
        match self.ways {
            Ways::Labels => "{aborted}",
            Ways::Number(_) => "25b",
        }
    }

    /// What the abort handler does: start again.
    fn abort(&self) -> Vec<String> {
        match self.ways {
            Ways::Labels => vec!["jmp {aborted}".into()],
            Ways::Number(slot) => vec![format!("xor {{s{slot}:e}}, {{s{slot}:e}}"), "jmp 29f".into()], // 0: aborted
        }
    }

    /// What follows when an exit has disarmed.
    fn leave(&self, exit: usize) -> Vec<String> {
        match self.ways {
            Ways::Labels => vec![format!("jmp {{exit{exit}}}")],
            Ways::Number(slot) => {
                let number = super::exit_number(exit);
                vec![format!("mov {{s{slot}:e}}, {number}"), "jmp 29f".into()] // the exit's number
            }
        }
    }

    fn slot(&self, register: Register) -> usize {
        self.allocation.slots[register]
    }

    /// All 64 bits of a register.
    fn whole(&self, register: Register) -> String {
        format!("{{s{}}}", self.slot(register))
    }

    /// The lower 32 bits.
    fn word(&self, register: Register) -> String {
        format!("{{s{}:e}}", self.slot(register))
    }

    /// The lower bits of a register: 8, 16, 32 or 64.
    fn part(&self, register: Register, bits: u32) -> String {
        let modifier = match bits {
            8 => ":l",
            16 => ":x",
            32 => ":e",
            _ => ":r",
        };
        format!("{{s{}{modifier}}}", self.slot(register))
    }

    /// An operand of so many bits.
    fn operand(&self, operand: Operand, bits: u32) -> String {
        match operand {
            Operand::Register(register) => self.part(register, bits),
            Operand::Immediate(number) => truncated(number, bits).to_string(),
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
        let segment = if self.program.arms_in_window() { "fs:" } else { "" };
        format!("{segment}[{} + {offset}]", self.whole(area))
    }

    fn disarm(&self, area: Register) -> String {
        format!("mov qword ptr {}, 0", self.area(area, 8)) // area->rseq_cs = NULL
    }

    /// Where the index is in the area.
    fn index(&self, area: Register) -> String {
        self.area(area, if self.program.mm_cid { 24 } else { 4 })
    }

    fn step(&self, step: &Step) -> Vec<String> {
        let aborted = self.aborted();
        match step {
            // One store for start and length together, so that the thread descriptor covers one window or another, never a mixture.
            Step::Publish { descriptor } => vec![
                "lea r11, [rip + 25b]".into(), // r11 = this section's abort handler, where the thread descriptor's goes on to
                "movups {published}, [rip + 22b + 8]".into(), // published = descriptor: start, post-commit offset
                format!("movups [{} + 8], {{published}}", self.whole(*descriptor)), // thread descriptor: start, post-commit offset
            ],
            Step::ArmWindow { area, scratch } => vec![
                format!("lea {}, [rip + 22b]", self.whole(*scratch)), // scratch = descriptor
                format!("mov {}, {}", self.area(*area, 8), self.whole(*scratch)), // area->rseq_cs = scratch: armed
            ],
            Step::Start => vec!["23:".into()],
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
            Step::Post => vec!["24:".into()],
            Step::Disarm { area } => vec![self.disarm(*area)],
            Step::Guard | Step::Arm | Step::Index { .. } | Step::Prepare(_) | Step::Outside => Vec::new(),
        }
    }

    /// The address of a slot. The product can't be mistaken for a small one: an id that says "not registered" is negative, and the size of a slot for
    /// which the product is made in 32 bits is small enough that those of all valid ids are below it.
    fn find_slot(&self, to: Register, slots: Register, index: Index, pointee: usize) -> Vec<String> {
        let (whole, word) = (self.whole(to), self.word(to));
        let mut lines = match index {
            Index::Read(index) => vec![format!("imul {whole}, {}, {{p{pointee}}}", self.whole(index))], // to = index * size
            Index::InArea(area) => {
                let read = self.index(area);
                vec![
                    format!(".if {{p{pointee}}} <= 65536"),
                    format!("imul {word}, dword ptr {read}, {{p{pointee}}}"), // to = area->cpu_id (or mm_cid) * size
                    ".else".into(),
                    format!("mov {word}, {read}"), // to = area->cpu_id (or mm_cid)
                    format!("imul {whole}, {whole}, {{p{pointee}}}"), // to *= size
                    ".endif".into(),
                ]
            }
        };
        lines.push(format!("cmp {whole}, [{} + 8]", self.whole(slots))); // to < slots->limit ?
        lines.push(format!("jae {}", self.aborted())); // no: start again
        lines.push(format!("add {whole}, [{}]", self.whole(slots))); // to += slots->first
        lines
    }

    /// The address of an element: by the address unit for the sizes that it knows.
    fn element(&self, to: Register, base: Register, index: Operand, pointee: usize) -> Vec<String> {
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

    /// Few bytes go sixteen at a time, because the processor takes a while to begin a repetition. They are loaded by eight and stored by sixteen: so what was
    /// stored just before, or is loaded just after, needn't go by way of the cache, whether it goes by eight or by sixteen. An interruption finds `rip` in the
    /// window, wherever it is.
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

    fn load(&self, to: Register, at: Address, ty: TypeId) -> Vec<String> {
        let (whole, word, at) = (self.whole(to), self.word(to), self.at(at));
        by_width(ty, |bits| match bits {
            8 => format!("movzx {word}, byte ptr {at}"),  // to = *at, zero-extended
            16 => format!("movzx {word}, word ptr {at}"), // to = *at, zero-extended
            32 => format!("mov {word}, {at}"),            // to = *at, zero-extended
            _ => format!("mov {whole}, {at}"),            // to = *at
        })
    }

    fn store(&self, at: Address, value: Operand, ty: TypeId) -> Vec<String> {
        let at = self.at(at);
        by_width(ty, |bits| format!("mov {} {at}, {}", pointer(bits), self.operand(value, bits))) // *at = value
    }

    fn update(&self, at: Address, operation: Operation, value: Operand, ty: TypeId) -> Vec<String> {
        let (at, name) = (self.at(at), operation.name());
        by_width(ty, |bits| format!("{name} {} {at}, {}", pointer(bits), self.operand(value, bits))) // *at op= value
    }

    /// `to = left op right`, in the part of the register that has the type's width.
    fn compute(&self, to: Register, left: Operand, operation: Operation, right: Operand, ty: TypeId) -> Vec<String> {
        let mut lines = Vec::new();
        match left {
            Operand::Register(left) if self.slot(left) == self.slot(to) => {}
            Operand::Register(left) => lines.push(format!("mov {}, {}", self.whole(to), self.whole(left))), // to = left
            // Zero-extended from the type's width.
            Operand::Immediate(number) => lines.extend(by_width(ty, |bits| {
                let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
                format!("mov {}, {}", self.part(to, bits.max(32)), (number as u64 & mask).cast_signed()) // to = number
            })),
        }
        if operation.is_shift() {
            lines.extend(self.shift(to, operation, right, ty));
        } else {
            let name = operation.name();
            lines.extend(by_width(ty, |bits| {
                format!("{name} {}, {}", self.part(to, bits), self.operand(right, bits)) // to op= right
            }));
        }
        lines
    }

    /// A shift by the lower bits of a count: the machine looks at five or six, which are too many for the narrow types.
    fn shift(&self, to: Register, operation: Operation, count: Operand, ty: TypeId) -> Vec<String> {
        let mut lines = Vec::new();
        if let Operand::Register(count) = count {
            lines.push(format!("mov ecx, {}", self.word(count))); // ecx = count
            lines.extend(by_width(ty, |bits| match bits {
                8 => "and ecx, 7".into(),   // count modulo the width
                16 => "and ecx, 15".into(), // count modulo the width
                _ => ".balign 1".into(),    // nothing: the machine does so
            }));
        }
        let shift = |mnemonic: &str| {
            by_width(ty, |bits| match count {
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

    fn exit(&self, left: Operand, comparison: Comparison, right: Operand, ty: TypeId, exit: usize) -> Vec<String> {
        let equality = matches!(comparison, Comparison::Eq | Comparison::Ne);
        let mut lines = by_width(ty, |bits| {
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
        let target = format!("{}b", 30 + exit);
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

/// One line for each width, of which the assembler takes the one that the type has.
fn by_width(ty: TypeId, line: impl Fn(u32) -> String) -> Vec<String> {
    vec![
        format!(".if {{b{ty}}} == 8"),
        line(64),
        format!(".elseif {{b{ty}}} == 4"),
        line(32),
        format!(".elseif {{b{ty}}} == 2"),
        line(16),
        ".else".into(),
        line(8),
        ".endif".into(),
    ]
}

fn pointer(bits: u32) -> &'static str {
    match bits {
        8 => "byte ptr",
        16 => "word ptr",
        32 => "dword ptr",
        _ => "qword ptr",
    }
}

/// A number as so many bits have it, with their sign. (`rustc` refuses a literal that doesn't fit, unless it is told not to.)
fn truncated(number: i64, bits: u32) -> i64 {
    number << (64 - bits) >> (64 - bits)
}

/// What can be wrong with the instructions of a window, for negative controls: a name, and what is wrong.
#[cfg(feature = "mutants")]
pub const MUTATIONS: &[(&str, &str)] = &[
    ("start_inside", "the window starts one instruction late"),
    ("wrong_signature", "another number than the kernel knows stands before the abort handler"),
    ("publish_in_two", "the thread descriptor is changed by two stores, the length first"),
    ("clobbered_retry", "an attempt after an abort finds its operands overwritten"),
    ("missing_clobber", "the compiler isn't told of a register that the window changes"),
];

/// Gets the lines of a window wrong in these ways. (Those that aren't about lines are about operands: see [`scratch`] and `window.rs`.)
fn mutate(lines: &mut Vec<String>, flaws: &[String]) {
    for flaw in flaws {
        match flaw.as_str() {
            "start_inside" => {
                if let Some(start) = lines.iter().position(|line| line == "23:") {
                    let is_instruction = |line: &String| !line.starts_with('.');
                    let next = lines[start + 1..].iter().position(is_instruction).unwrap_or_default();
                    lines[start..=start + 1 + next].rotate_left(1);
                }
            }
            "wrong_signature" => lines.iter_mut().filter(|line| *line == ".long 0x53053053").for_each(|line| {
                *line = ".long 0x53053054".into(); // no signature
            }),
            "publish_in_two" => {
                if let Some(publish) = lines.iter().position(|line| line.ends_with("+ 8], {published}")) {
                    let low = lines[publish].replace("movups", "movlps");
                    lines[publish] = low.replace("movlps", "movhps").replace("+ 8]", "+ 16]"); // thread descriptor: post-commit offset
                    lines.insert(publish + 1, low); // thread descriptor: start
                }
            }
            _ => {}
        }
    }
}

/// Words of this machine, which must not occur outside of its file.
#[cfg(test)]
#[rustfmt::skip]
pub const WORDS: &[&str] = &[
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eax", "ebx", "ecx", "edx", "xmm", "xmm0",
    "xmm_reg", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "fs", "gs", "mov", "movq", "movups",
    "movzx", "movlps", "movhps", "lea", "cmp", "jne", "jmp", "je", "jz", "jnz", "ud1", "lock", "xchg", "cmpxchg", "qword",
    "dword", "pushsection", "x86", "x86_64", "imul", "jae", "ja", "jb", "movsb", "sar", "cl",
];
