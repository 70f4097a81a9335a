//! The asm of a window, by whatever machine's instructions: where its pieces lie, and the steps in
//! their order.

use super::arch::Machine;
use super::note;
use super::tokens::exit_number;
use crate::allocate::Allocation;
use crate::ids::{ExitId, MachineRegister, Register, TypeId};
use crate::ir::{Operand, Program, Step};

/// How a window says that it was left.
#[derive(Clone, Copy)]
pub enum Ways {
    /// It goes to a label of Rust's for each way: the shortest, but then rustc lets it return
    /// nothing.
    Labels,
    /// It leaves a number in this register and ends as if it had committed.
    Number(MachineRegister),
}

/// The asm of a window. Its operands: `s0`, `s1` .. the registers of the allocation, `b0` .. the sizes
/// of types and `signed0` .. whether they are signed, `p0` .. the sizes of slots and elements, or
/// `n0` .. those of slots as powers of two, `fast` and `cpus_offset` the number of CPUs; `aborted`,
/// `exit0` .. where it goes, if these are labels; and what the machine calls its scratch registers.
pub fn window(machine: &dyn Machine, program: &Program, allocation: &Allocation, ways: Ways) -> Vec<String> {
    let writer = Writer { machine, program, allocation, ways };
    let mut lines = writer.sections();
    lines.extend(note::of_window(program));
    let mut steps = program.steps.iter().peekable();
    while let Some(step) = steps.next() {
        lines.extend(writer.step(step));
        if (step.is_check() || matches!(step, Step::Start)) && !steps.peek().is_some_and(|next| next.is_check()) {
            lines.push("26:".into());
        }
    }
    if let Ways::Number(_) = ways {
        lines.push("29:".into());
    }
    #[cfg(feature = "mutants")]
    mutate(machine, &mut lines, &program.flaws);
    lines
}

/// What a machine's steps are written with.
pub struct Writer<'p> {
    machine: &'p dyn Machine,
    pub program: &'p Program,
    allocation: &'p Allocation,
    ways: Ways,
}

impl Writer<'_> {
    /// The constant descriptor and what refers to it. Labels: 22 the descriptor, 23 start, 24
    /// post-commit, 25 abort handler, 26 behind the checks at the start, 27 and 28 the note, 29 the
    /// end, 30 and the following the exits, 60 and the following the machine's own. The arrays are
    /// retained (`R`) because nothing in the code refers to them; the descriptors are kept by both.
    fn sections(&self) -> Vec<String> {
        let (mut lines, exits) = self.stubs();
        lines.extend([
            ".pushsection __rseq_cs, \"aw\"".into(),
            ".balign 32".into(),
            "22: .long 0, 0".into(),                      // descriptor: version, flags
            self.addresses(&["23f", "24f - 23f", "25b"]), // descriptor: start, post-commit offset, abort
            ".popsection".into(),
            ".pushsection __rseq_cs_ptr_array, \"awR\"".into(),
            ".balign 8".into(),
            self.addresses(&["22b"]), // for tools: here is a descriptor
            ".popsection".into(),
            ".pushsection __rseq_exit_point_array, \"awR\"".into(),
            ".balign 8".into(),
            self.addresses(&["23f", self.aborted()]), // for tools: the window that starts there can be left to here
        ]);
        lines.extend(exits);
        lines.push(".popsection".into());
        lines
    }

    /// The ways out of the window, away from it: the stubs of exits, and the abort handler. And
    /// what tools are told of the exits.
    fn stubs(&self) -> (Vec<String>, Vec<String>) {
        let [enter, leave] = self.machine.cold();
        let (mut lines, mut exits) = (vec![enter.into()], Vec::new());
        let disarms = self.program.steps.iter().any(|step| matches!(step, Step::Disarm { .. }));
        for step in &self.program.steps {
            if let Step::Exit { exit, area, .. } = step {
                lines.push(format!("{}:", 30 + exit.0));
                if disarms {
                    lines.extend(self.program.fetches_area().into_iter().flat_map(|fetch| self.step(fetch))); // area, if it isn't there
                    lines.extend(self.machine.disarm(self, *area)); // area->rseq_cs = NULL
                }
                lines.extend(self.leave(*exit));
                exits.push(self.addresses(&["23f", &self.exit(*exit)])); // for tools: ... or to here
            }
        }
        lines.extend(self.machine.signature().iter().map(|line| (*line).to_owned())); // by which the kernel knows an abort handler
        lines.push("25:".into());
        lines.extend(self.abort());
        lines.push(leave.into());
        (lines, exits)
    }

    /// Words of 64 bits, as the kernel's structures and tools have addresses, in the order of the
    /// machine's bytes.
    fn addresses(&self, labels: &[&str]) -> String {
        match self.machine.pointer_bits() {
            64 => format!(".quad {}", labels.join(", ")),
            _ => format!(".long {}, 0", labels.join(", 0, ")),
        }
    }

    /// Where to go to start again.
    pub fn aborted(&self) -> &'static str {
        match self.ways {
            Ways::Labels => "{aborted}",
            Ways::Number(_) => "25b",
        }
    }

    /// Where to go to leave by an exit.
    pub fn exit(&self, exit: ExitId) -> String {
        format!("{}b", 30 + exit.0)
    }

    /// What the abort handler does: start again.
    fn abort(&self) -> Vec<String> {
        self.end(0, "{aborted}".into()) // 0: aborted
    }

    /// What follows when an exit has disarmed.
    fn leave(&self, exit: ExitId) -> Vec<String> {
        self.end(exit_number(exit), format!("{{exit{exit}}}"))
    }

    fn end(&self, number: usize, label: String) -> Vec<String> {
        match self.ways {
            Ways::Labels => vec![self.machine.jump(&label)],
            Ways::Number(register) => {
                let mut lines = self.machine.set_number(&format!("s{register}"), number); // how it ended
                lines.push(self.machine.jump("29f"));
                lines
            }
        }
    }

    /// The name of a register's operand, without braces.
    pub fn operand(&self, register: Register) -> String {
        format!("s{}", self.allocation.of[register])
    }

    /// Whether both are in the same register of the machine.
    pub fn is_same(&self, one: Register, other: Register) -> bool {
        self.allocation.of[one] == self.allocation.of[other]
    }

    /// Operands that are none of these registers, without braces.
    pub fn others(&self, registers: &[Register]) -> impl Iterator<Item = String> {
        let taken: Vec<_> = registers.iter().map(|register| self.allocation.of[*register]).collect();
        self.allocation.contents.ids().filter(move |other| !taken.contains(other)).map(|other| format!("s{other}"))
    }

    fn step(&self, step: &Step) -> Vec<String> {
        match step {
            Step::Start => vec!["23:".into()],
            Step::Post => vec!["24:".into()],
            Step::Disarm { area } => self.machine.disarm(self, *area),
            step => self.machine.step(self, step),
        }
    }

    /// Lines for each width that a register can have, of which the assembler takes those for the
    /// width of the type.
    pub fn by_width(&self, ty: TypeId, lines: impl Fn(u32) -> Vec<String>) -> Vec<String> {
        let mut all = Vec::new();
        for bits in [64, 32, 16].into_iter().filter(|bits| *bits <= self.machine.pointer_bits()) {
            let condition = if all.is_empty() { ".if" } else { ".elseif" };
            all.push(format!("{condition} {{b{ty}}} == {}", bits / 8));
            all.extend(lines(bits));
        }
        all.push(".else".into());
        all.extend(lines(8));
        all.push(".endif".into());
        all
    }

    /// The one lines for types with a sign, the other for those without.
    pub fn by_sign(&self, ty: TypeId, signed: Vec<String>, unsigned: Vec<String>) -> Vec<String> {
        let mut all = vec![format!(".if {{signed{ty}}}")];
        all.extend(signed);
        all.push(".else".into());
        all.extend(unsigned);
        all.push(".endif".into());
        all
    }
}

/// Whether an operand occurs in the lines, whole or a part of it.
pub fn uses(lines: &[String], operand: &str) -> bool {
    let forms = ["}", ":"].map(|end| format!("{{{operand}{end}"));
    lines.iter().any(|line| forms.iter().any(|form| line.contains(form)))
}

/// Whether some step of the window copies bytes.
pub fn copies(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step, Step::Copy { .. }))
}

/// Whether some step of the window shifts by what is in a register.
pub fn shifts_by_register(program: &Program) -> bool {
    let by_register = |step: &Step| matches!(step, Step::Compute { operation, right: Operand::Register(_), .. } if operation.is_shift());
    program.steps.iter().any(by_register)
}

/// A number as so many bits have it, with their sign. (`rustc` refuses a literal that doesn't fit,
/// unless it is told not to.)
pub fn signed(number: i64, bits: u32) -> i64 {
    number << (64 - bits) >> (64 - bits)
}

/// A number as so many bits have it, zero-extended.
pub fn unsigned(number: i64, bits: u32) -> u64 {
    (number as u64) << (64 - bits) >> (64 - bits)
}

/// What can be wrong with the instructions of a window, for negative controls: a name, and what is
/// wrong. Those that not every machine's windows can have are x86-64's alone.
#[cfg(feature = "mutants")]
pub const MUTATIONS: &[(&str, &str)] = &[
    ("start_inside", "the window starts one instruction late"),
    ("wrong_signature", "another number than the kernel knows stands before the abort handler"),
    ("publish_in_two", "the thread descriptor is changed by two stores, the length first"),
    ("clobbered_retry", "an attempt after an abort finds its operands overwritten"),
    ("missing_clobber", "the compiler isn't told of a register that the window changes"),
];

/// Gets the lines of a window wrong in these ways. (Those that aren't about lines are about
/// operands: see `window.rs` and the machine's scratch registers.)
#[cfg(feature = "mutants")]
fn mutate(machine: &dyn Machine, lines: &mut Vec<String>, flaws: &[String]) {
    for flaw in flaws {
        match flaw.as_str() {
            "start_inside" => {
                if let Some(start) = lines.iter().position(|line| line == "23:") {
                    let is_instruction = |line: &String| !line.starts_with('.') && !line.ends_with(':');
                    let next = lines[start + 1..].iter().position(is_instruction).unwrap_or_default();
                    lines[start..=start + 1 + next].rotate_left(1);
                }
            }
            "wrong_signature" => {
                let signature = *machine.signature().last().unwrap_or(&"");
                lines.iter_mut().filter(|line| *line == signature).for_each(|line| *line = ".long 0x53053054".into()); // no signature
            }
            _ => machine.mutate(lines, flaw),
        }
    }
}
