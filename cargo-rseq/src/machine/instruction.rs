//! An instruction, as all disassemblers tell it.

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Where it is.
    pub address: u64,
    /// How many bytes it has.
    pub length: u64,
    /// As an assembler writes it.
    pub text: String,
    /// Where the thread goes on.
    pub flow: Flow,
    /// Its stores to memory.
    pub stores: Vec<Store>,
    /// The register and the place in memory that it compares.
    pub compares: Option<(Place, Option<Register>)>,
    /// The registers that it sets, and to what, as far as that can be told.
    pub sets: Vec<(Register, Value)>,
    /// It changes the stack pointer.
    pub moves_stack: bool,
    /// It takes several steps, between which the thread can be interrupted.
    pub repeats: bool,
}

impl Instruction {
    /// The address behind it.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.address.saturating_add(self.length)
    }

    /// Where it may branch to.
    #[must_use]
    pub fn target(&self) -> Option<u64> {
        match self.flow {
            Flow::Jump(target) | Flow::Branch(target) => Some(target),
            _ => None,
        }
    }
}

/// Where a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// At the next instruction.
    Next,
    /// There.
    Jump(u64),
    /// There, or at the next instruction.
    Branch(u64),
    /// Somewhere that only a register or memory says.
    Indirect,
    /// In a function.
    Call,
    /// Behind the call of this function.
    Return,
    /// In the kernel: a system call or a software interrupt.
    Kernel,
    /// Nowhere: it traps.
    Trap,
    /// There is no such instruction.
    Invalid,
}

/// A register, by its number in the disassembler. Parts of a register count as the whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Register(pub(crate) u16);

/// A place in memory, as an instruction addresses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The parts of the address, but for the constant.
    pub base: Base,
    /// The constant part, and all of it where there is no register.
    pub displacement: i64,
}

/// The parts of an address, but for the constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// It is relative to the thread pointer.
    pub thread: bool,
    /// The first register.
    pub register: Option<Register>,
    /// The second register, and what it is multiplied by.
    pub index: Option<(Register, u32)>,
}

impl Place {
    /// This many bytes further.
    #[must_use]
    pub fn at(self, bytes: i64) -> Self {
        Self { displacement: self.displacement.wrapping_add(bytes), ..self }
    }

    /// How many bytes it is behind another place of the same base.
    #[must_use]
    pub fn distance_from(self, other: Self) -> Option<i64> {
        (self.base == other.base).then(|| self.displacement.wrapping_sub(other.displacement))
    }

    /// The registers that it depends on.
    pub fn registers(self) -> impl Iterator<Item = Register> {
        self.base.register.into_iter().chain(self.base.index.map(|(register, _)| register))
    }
}

/// A write to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Store {
    /// Where to; `None` if the disassembler doesn't say.
    pub place: Option<Place>,
    /// How many bytes.
    pub bytes: u64,
    /// The value, if that can be told.
    pub value: Value,
}

/// A value in a register or written to memory, found by following the instructions before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// This number.
    Known(u64),
    /// The word in memory at this address.
    At(u64),
    /// Anything.
    Unknown,
}

/// The knowledge of a machine's instructions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Knowledge {
    /// Nothing: there is no disassembler.
    None,
    /// Where threads go on, whether something is written, and how it reads.
    Flow,
    /// Also where and what is written, by which registers.
    Operands,
}

/// Instructions with or without their texts, which take most of the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Texts {
    Written,
    Empty,
}
