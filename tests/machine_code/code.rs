//! The machine code of functions in libraries that the tests build.

use std::collections::{BTreeMap, VecDeque};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, ObjectSymbol};

/// The code of one function.
pub struct Code {
    start: u64,
    instructions: BTreeMap<u64, Instruction>,
}

impl Code {
    pub fn of(file: &object::File<'_>, name: &str) -> Self {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).expect("the fixture has the function");
        let section = file.section_by_index(symbol.section_index().expect("it is defined")).expect("somewhere");
        let bytes = section.data_range(symbol.address(), symbol.size()).expect("readable").expect("inside the section");
        let decoder = Decoder::with_ip(64, bytes, symbol.address(), DecoderOptions::NONE);
        Self { start: symbol.address(), instructions: decoder.into_iter().map(|one| (one.ip(), one)).collect() }
    }

    /// How many bytes the function has, with those of its cold paths that lie in it.
    pub fn bytes(&self) -> usize {
        self.instructions.values().map(Instruction::len).sum()
    }

    /// All instructions, as they lie in the function.
    pub fn all(&self) -> Vec<Instruction> {
        self.instructions.values().copied().collect()
    }

    /// The instructions of the shortest way to a return that calls nothing and stays in the
    /// function. What is cold is a call, or elsewhere: an abort, a window that is left by an exit.
    pub fn fast_path(&self) -> Vec<Instruction> {
        // Breadth first, each instruction with the one that it was first come to from.
        let mut before = BTreeMap::from([(self.start, None)]);
        let mut queue = VecDeque::from([self.start]);
        while let Some(at) = queue.pop_front() {
            let Some(one) = self.instructions.get(&at) else { continue };
            if one.flow_control() == FlowControl::Return {
                return self.way_to(at, &before);
            }
            for next in successors(one) {
                before.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    Some(at)
                });
            }
        }
        panic!("no way through the function without a call");
    }

    fn way_to(&self, end: u64, before: &BTreeMap<u64, Option<u64>>) -> Vec<Instruction> {
        let backwards = std::iter::successors(Some(end), |at| before[at]);
        let mut way: Vec<Instruction> = backwards.map(|at| self.instructions[&at]).collect();
        way.reverse();
        way
    }
}

/// Where it goes on, unless by a call.
fn successors(one: &Instruction) -> Vec<u64> {
    match one.flow_control() {
        FlowControl::Next => vec![one.next_ip()],
        FlowControl::UnconditionalBranch => vec![one.near_branch_target()],
        FlowControl::ConditionalBranch => vec![one.next_ip(), one.near_branch_target()],
        _ => Vec::new(),
    }
}

/// Of a fast path through a section that is all window: from the instruction that takes the
/// descriptor's address to the last before the return, and what is between arming and disarming,
/// the window.
pub fn section(path: &[Instruction]) -> (&[Instruction], &[Instruction]) {
    let in_area = |one: &Instruction| one.memory_segment() == Register::FS && one.memory_displacement64() == 8;
    let stores =
        |one: &Instruction| one.mnemonic() == Mnemonic::Mov && one.op0_kind() == OpKind::Memory && in_area(one);
    let mut stores = path.iter().enumerate().filter(|(_, one)| stores(one)).map(|(at, _)| at);
    let (arm, disarm) = (stores.next().expect("it arms"), stores.next().expect("it disarms"));
    (&path[arm - 1..path.len() - 1], &path[arm + 1..disarm])
}
