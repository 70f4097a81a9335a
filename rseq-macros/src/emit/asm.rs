//! The asm of a window, by whatever machine's instructions: where its pieces lie, and the steps in
//! their order.

use rseq_abi::{area, descriptor, outcome, section};

use super::arch::Machine;
use super::code::{
    ABORT_HANDLER, Argument, CHECKED, Code, DESCRIPTOR, END, Kind, Label, Local, Name, POST_COMMIT, Reg, START, direct,
};
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

/// The asm of a window. What stands in it by name is what the block around it has ([`Name`]).
pub fn window(machine: &dyn Machine, program: &Program, allocation: &Allocation, ways: Ways) -> Code {
    let (writer, mut code) = (Writer { machine, program, allocation, ways }, Code::default());
    writer.sections(&mut code);
    note::of_window(&mut code, program);
    let mut steps = program.steps.iter().peekable();
    while let Some(step) = steps.next() {
        writer.step(&mut code, step);
        if (step.is_check() || matches!(step, Step::Start)) && !steps.peek().is_some_and(|next| next.is_check()) {
            code.label(CHECKED);
        }
    }
    if let Ways::Number(_) = ways {
        code.label(END);
    }
    #[cfg(feature = "mutants")]
    if program.has_flaw("start_inside") {
        code.delay(START);
    }
    code
}

/// The writer of a machine's steps.
pub struct Writer<'p> {
    machine: &'p dyn Machine,
    pub program: &'p Program,
    allocation: &'p Allocation,
    ways: Ways,
}

impl Writer<'_> {
    /// The constant descriptor and what refers to it. The arrays are retained (`R`) because nothing
    /// in the code refers to them; the descriptors are kept by both.
    fn sections(&self, code: &mut Code) {
        let start = START.ahead().into();
        self.stubs(code);
        direct! { code;
            ".pushsection {}, \"aw\"", section::DESCRIPTORS;
            ".balign {}", descriptor::LENGTH;
            "{}: .long 0, 0", DESCRIPTOR; // descriptor: version, flags
        }
        let length = Argument::of("{} - {}", POST_COMMIT.ahead(), START.ahead());
        // The descriptor: start, post-commit offset, abort handler.
        self.addresses(code, [start, length, ABORT_HANDLER.back().into()]);
        direct! { code;
            ".popsection";
            ".pushsection {}, \"awR\"", section::POINTERS;
            ".balign 8";
        }
        self.addresses(code, [DESCRIPTOR.back().into()]); // for tools: here is a descriptor
        direct! { code;
            ".popsection";
            ".pushsection {}, \"awR\"", section::EXITS;
            ".balign 8";
        }
        // For tools: the window that starts there can be left to here.
        self.addresses(code, [start, self.aborted().into()]);
        for (exit, _) in self.exits() {
            self.addresses(code, [start, self.exit(exit).into()]); // for tools: ... or to here
        }
        direct!(code; ".popsection");
    }

    /// The ways out of the window, away from it: the stubs of exits, and the abort handler.
    fn stubs(&self, code: &mut Code) {
        let [enter, leave] = self.machine.cold();
        code.text_of(enter);
        let disarms = self.program.steps.iter().any(|step| matches!(step, Step::Disarm { .. }));
        for (exit, area) in self.exits() {
            code.label(Local::exit(exit));
            if disarms {
                // The area, if it isn't there.
                self.program.fetches_area().into_iter().for_each(|fetch| self.step(code, fetch));
                self.machine.disarm(code, self, area); // area->rseq_cs = NULL
            }
            self.end(code, exit_number(exit), Name::Exit(exit));
        }
        if let [before @ .., signature] = self.machine.signature() {
            before.iter().for_each(|line| code.text_of(*line));
            let is_wrong = self.program.has_flaw("wrong_signature");
            code.text_of(if is_wrong { ".long 0x53053054" } else { signature }); // by which the kernel knows an abort handler
        }
        code.label(ABORT_HANDLER);
        self.end(code, outcome::ABORTED, Name::Aborted); // start again
        code.text_of(leave);
    }

    /// The exits of the window, each with the area that it disarms.
    fn exits(&self) -> impl Iterator<Item = (ExitId, Register)> {
        self.program.steps.iter().filter_map(|step| match step {
            Step::Exit { exit, area, .. } => Some((*exit, *area)),
            _ => None,
        })
    }

    /// Words of 64 bits, as the kernel's structures and tools have addresses, in the order of the
    /// machine's bytes.
    fn addresses<const N: usize>(&self, code: &mut Code, labels: [Argument; N]) {
        let template = match (self.machine.pointer_bits(), N) {
            (64, 1) => ".quad {}",
            (64, 2) => ".quad {}, {}",
            (64, _) => ".quad {}, {}, {}",
            (_, 1) => ".long {}, 0",
            (_, 2) => ".long {}, 0, {}, 0",
            (_, _) => ".long {}, 0, {}, 0, {}, 0",
        };
        code.push(Kind::Directive, template, labels);
    }

    /// Where to go to start again.
    pub fn aborted(&self) -> Label {
        match self.ways {
            Ways::Labels => Label::Rust(Name::Aborted),
            Ways::Number(_) => ABORT_HANDLER.back(),
        }
    }

    /// Where to go to leave by an exit.
    pub fn exit(&self, exit: ExitId) -> Label {
        Local::exit(exit).back()
    }

    /// Ends the window without a commit, in cold code.
    fn end(&self, code: &mut Code, number: usize, label: Name) {
        match self.ways {
            Ways::Labels => self.machine.jump(code, Label::Rust(label)),
            Ways::Number(register) => {
                self.machine.set_number(code, Reg::Chosen(Name::Value(register), None), number); // how it ended
                self.machine.jump(code, END.ahead());
            }
        }
    }

    /// The register of the machine that has this one's value.
    pub fn reg(&self, register: Register) -> Reg {
        Reg::Chosen(Name::Value(self.allocation.of[register]), None)
    }

    /// Those of the block that have none of these registers' values.
    pub fn others(&self, registers: &[Register]) -> impl Iterator<Item = Name> {
        let taken: Vec<_> = registers.iter().map(|register| self.allocation.of[*register]).collect();
        self.allocation.contents.ids().filter(move |other| !taken.contains(other)).map(Name::Value)
    }

    /// Where the index is in the area.
    pub fn index(&self) -> u32 {
        if self.program.mm_cid { area::MM_CID } else { area::CPU_ID }
    }

    fn step(&self, code: &mut Code, step: &Step) {
        match step {
            Step::Start => code.label(START),
            Step::Post => code.label(POST_COMMIT),
            Step::Disarm { area } => self.machine.disarm(code, self, *area),
            step => self.machine.step(code, self, step),
        }
    }

    /// Lines for each width that a register can have, of which the assembler takes those for the
    /// width of the type.
    pub fn by_width(&self, code: &mut Code, ty: TypeId, lines: impl Fn(&mut Code, u32)) {
        let mut condition = ".if";
        for bits in [64, 32, 16].into_iter().filter(|bits| *bits <= self.machine.pointer_bits()) {
            direct!(code; "{} {} == {}", condition, Name::Bytes(ty), bits / 8);
            lines(code, bits);
            condition = ".elseif";
        }
        direct!(code; ".else");
        lines(code, 8);
        direct!(code; ".endif");
    }

    /// Lines for types with a sign and for those without, of which the assembler takes the ones.
    pub fn by_sign(&self, code: &mut Code, ty: TypeId, lines: impl Fn(&mut Code, bool)) {
        direct!(code; ".if {}", Name::Signed(ty));
        lines(code, true);
        direct!(code; ".else");
        lines(code, false);
        direct!(code; ".endif");
    }
}

/// `true` if some step of the window copies bytes.
pub fn copies(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step, Step::Copy { .. }))
}

/// `true` if some step of the window shifts by what is in a register.
pub fn shifts_by_register(program: &Program) -> bool {
    let by_register = |step: &Step| match step {
        Step::Compute { operation, right: Operand::Register(_), .. } => operation.is_shift(),
        _ => false,
    };
    program.steps.iter().any(by_register)
}

/// A number as so many bits have it, with their sign. (`rustc` refuses a literal that doesn't fit,
/// unless it is told not to.)
pub fn signed(number: i64, bits: u32) -> i64 {
    number << (64 - bits) >> (64 - bits)
}

/// A number as so many bits have it, zero-extended (and all 64 as they are).
pub fn unsigned(number: i64, bits: u32) -> i64 {
    ((number as u64) << (64 - bits) >> (64 - bits)).cast_signed()
}

/// Mistakes in the instructions of a window, for negative controls: a name, and what is
/// wrong. Those that not every machine's windows can have are x86-64's alone.
#[cfg(feature = "mutants")]
pub const MUTATIONS: &[(&str, &str)] = &[
    ("start_inside", "the window starts one instruction late"),
    ("wrong_signature", "another number than the kernel knows stands before the abort handler"),
    ("publish_in_two", "the thread descriptor is changed by two stores, the length first"),
    ("clobbered_retry", "an attempt after an abort finds its operands overwritten"),
    ("missing_clobber", "the compiler isn't told of a register that the window changes"),
];
