//! x86-64, after the Intel SDM (volume 2) and `ptrace(2)`.

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, IntelFormatter, OpAccess, Register,
};

/// The registers of a stopped thread.
pub(crate) type Registers = libc::user_regs_struct;

/// More bytes than an instruction has.
pub(crate) const LONGEST: usize = 15;

/// Stops the thread that executes it: `int3`.
pub(crate) const BREAKPOINT: [u8; 1] = [0xcc];

/// The four bytes before an abort handler.
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

/// Where a thread goes on.
pub(crate) fn ip(registers: &Registers) -> u64 {
    registers.rip
}

/// Where the breakpoint is that stopped the thread: the thread has executed it.
pub(crate) fn breakpoint(registers: &Registers) -> u64 {
    registers.rip - BREAKPOINT.len() as u64
}

/// The same registers with another place to go on.
pub(crate) fn going_on_at(registers: Registers, ip: u64) -> Registers {
    Registers { rip: ip, ..registers }
}

/// An instruction of the program.
pub(crate) struct Code(Instruction);

impl Code {
    /// The one that these bytes begin with, `None` if they begin with none.
    pub(crate) fn decode(bytes: &[u8], ip: u64) -> Option<Self> {
        let instruction = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(Self(instruction))
    }

    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }

    /// True if it writes to memory at this address.
    pub(crate) fn writes_to(&self, address: u64, registers: &Registers) -> bool {
        self.written(registers).contains(&address)
    }

    /// The addresses of memory that it writes to.
    pub(crate) fn written(&self, registers: &Registers) -> Vec<u64> {
        let mut factory = InstructionInfoFactory::new();
        let writes = |access| {
            matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
        };
        let value = |register, _, _| self::value(registers, register);
        let used = factory.info(&self.0).used_memory().iter();
        used.filter(|memory| writes(memory.access())).filter_map(|memory| memory.virtual_address(0, value)).collect()
    }

    /// As an assembler writes it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        IntelFormatter::new().format(&self.0, &mut text);
        text
    }
}

/// A register's value; for a segment register, the address where the segment begins.
fn value(registers: &Registers, register: Register) -> Option<u64> {
    Some(match register {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => registers.fs_base,
        Register::GS => registers.gs_base,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    })
}
