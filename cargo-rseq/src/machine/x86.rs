//! x86-64 and i686, by iced.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, InstructionInfo, InstructionInfoFactory, IntelFormatter,
    Mnemonic, OpAccess, OpKind, Register as Name,
};

use super::instruction::{Base, Flow, Instruction, Place, Register, Store, Texts, Value};
use super::tracker::Tracker;

/// Where the abort handler of rseq-dsl's thread descriptors goes on to.
pub const R11: Register = Register(Name::R11 as u16);

/// The instructions in these bytes, up to and with the first that is none.
pub fn decode(bits: u32, code: &[u8], address: u64, texts: Texts) -> Vec<Instruction> {
    let decoder = Decoder::with_ip(bits, code, address, DecoderOptions::NONE);
    let mut formatter = (texts == Texts::Written).then(formatter);
    let (mut factory, mut tracker) = (InstructionInfoFactory::new(), Tracker::default());
    let mut instructions = Vec::new();
    for raw in decoder {
        let instruction = Reader { raw, info: factory.info(&raw), bits }.read(formatter.as_mut(), &mut tracker);
        let is_invalid = instruction.flow == Flow::Invalid;
        instructions.push(instruction);
        if is_invalid {
            break;
        }
    }
    instructions
}

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_space_after_operand_separator(true);
    options.set_space_between_memory_add_operators(true);
    options.set_branch_leading_zeros(false);
    options.set_rip_relative_addresses(false);
    options.set_show_branch_size(false);
    formatter
}

/// One instruction, and what iced says of it.
struct Reader<'i> {
    raw: iced_x86::Instruction,
    info: &'i InstructionInfo,
    bits: u32,
}

impl Reader<'_> {
    fn read(&self, formatter: Option<&mut IntelFormatter>, tracker: &mut Tracker) -> Instruction {
        let mut text = String::new();
        if let Some(formatter) = formatter {
            formatter.format(&self.raw, &mut text);
        }
        let flow = self.flow();
        let stores = self.stores(tracker);
        let compares = self.compares();
        let sets = self.follow(flow, tracker);
        Instruction {
            address: self.raw.ip(),
            length: self.raw.len() as u64,
            text,
            flow,
            stores,
            compares,
            sets,
            moves_stack: self.writes(Name::RSP),
            repeats: self.raw.has_rep_prefix() || self.raw.has_repne_prefix(),
        }
    }

    fn flow(&self) -> Flow {
        let target = self.raw.near_branch_target();
        let is_near = matches!(self.raw.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
        match self.raw.flow_control() {
            _ if self.raw.is_invalid() => Flow::Invalid,
            FlowControl::UnconditionalBranch if is_near => Flow::Jump(target),
            FlowControl::ConditionalBranch if is_near => Flow::Branch(target),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::IndirectBranch => {
                Flow::Indirect
            }
            // Some return by other means than `ret`; which, is no matter.
            FlowControl::Return => match self.raw.mnemonic() {
                Mnemonic::Sysexit | Mnemonic::Sysexitq | Mnemonic::Sysret | Mnemonic::Sysretq => Flow::Kernel,
                _ => Flow::Return,
            },
            FlowControl::Call | FlowControl::IndirectCall => match self.raw.mnemonic() {
                Mnemonic::Syscall | Mnemonic::Sysenter => Flow::Kernel,
                // So 32-bit code learns where it is.
                _ if is_near && target == self.raw.next_ip() => Flow::Next,
                _ => Flow::Call,
            },
            FlowControl::Interrupt if self.raw.mnemonic() == Mnemonic::Int3 => Flow::Trap,
            FlowControl::Interrupt => Flow::Kernel,
            FlowControl::Exception => Flow::Trap,
            FlowControl::XbeginXabortXend => Flow::Indirect,
            FlowControl::Next if self.raw.mnemonic() == Mnemonic::Hlt => Flow::Trap,
            FlowControl::Next => Flow::Next,
        }
    }

    /// True if it writes to this register or a part of it.
    fn writes(&self, register: Name) -> bool {
        self.info
            .used_registers()
            .iter()
            .any(|used| is_write(used.access()) && used.register().full_register() == register)
    }

    fn stores(&self, tracker: &Tracker) -> Vec<Store> {
        let written = self.info.used_memory().iter().filter(|memory| is_write(memory.access()));
        written
            .map(|memory| Store {
                place: Some(self.place(memory)),
                bytes: memory.memory_size().size() as u64,
                value: self.stored(tracker),
            })
            .collect()
    }

    fn place(&self, memory: &iced_x86::UsedMemory) -> Place {
        let register = |register: Name| (register != Name::None).then(|| named(register));
        // A displacement is as wide as an address: 32 bits of it have a sign.
        let displacement = memory.displacement().cast_signed();
        let displacement = if self.bits == 32 { i64::from(displacement as i32) } else { displacement };
        Place {
            base: Base {
                thread: matches!(memory.segment(), Name::FS | Name::GS),
                register: register(memory.base()),
                index: register(memory.index()).map(|index| (index, memory.scale())),
            },
            displacement,
        }
    }

    /// The value that a move to memory writes.
    fn stored(&self, tracker: &Tracker) -> Value {
        match self.raw.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movups | Mnemonic::Movaps | Mnemonic::Movdqu | Mnemonic::Movdqa => {
                self.operand(1, tracker)
            }
            Mnemonic::Pop => tracker.top(),
            _ => Value::Unknown,
        }
    }

    /// The value of an operand.
    fn operand(&self, number: u32, tracker: &Tracker) -> Value {
        match self.raw.op_kind(number) {
            OpKind::Register => tracker.get(named(self.raw.op_register(number))),
            OpKind::Memory => self.fixed_address().map_or(Value::Unknown, Value::At),
            _ => match self.raw.try_immediate(number) {
                Ok(number) => Value::Known(self.narrow(number)),
                Err(_) => Value::Unknown,
            },
        }
    }

    /// The address of its place in memory, if no register has a part in it.
    fn fixed_address(&self) -> Option<u64> {
        let is_plain = self.raw.memory_index() == Name::None
            && !matches!(self.raw.memory_segment(), Name::FS | Name::GS)
            && (self.raw.memory_base() == Name::None || self.raw.is_ip_rel_memory_operand());
        is_plain.then(|| self.raw.memory_displacement64())
    }

    fn narrow(&self, number: u64) -> u64 {
        if self.bits == 32 { number & u64::from(u32::MAX) } else { number }
    }

    fn compares(&self) -> Option<(Place, Option<Register>)> {
        if self.raw.mnemonic() != Mnemonic::Cmp {
            return None;
        }
        let place = self.place(self.info.used_memory().first()?);
        let register = (0..2).find(|number| self.raw.op_kind(*number) == OpKind::Register);
        Some((place, register.map(|number| named(self.raw.op_register(number)))))
    }

    /// Follows what it does to registers and the stack, and says what it sets registers to.
    fn follow(&self, flow: Flow, tracker: &mut Tracker) -> Vec<(Register, Value)> {
        let values = self.values(tracker);
        self.follow_stack(flow, tracker);
        if flow == Flow::Call {
            tracker.forget();
            return Vec::new();
        }
        for (register, value) in &values {
            tracker.set(*register, *value);
        }
        if matches!(flow, Flow::Jump(_) | Flow::Return | Flow::Indirect | Flow::Trap | Flow::Kernel) {
            // The code behind it isn't reached from here.
            tracker.forget();
        }
        values
    }

    /// The registers that it writes to, and what to.
    fn values(&self, tracker: &Tracker) -> Vec<(Register, Value)> {
        let written = self.info.used_registers().iter().filter(|used| is_write(used.access()));
        let mut values: Vec<_> = written.map(|used| (named(used.register()), Value::Unknown)).collect();
        values.dedup();
        if self.raw.op_count() > 0 && self.raw.op0_kind() == OpKind::Register {
            let target = named(self.raw.op0_register());
            let value = self.result(target, tracker);
            values.iter_mut().filter(|(register, _)| *register == target).for_each(|(_, known)| *known = value);
        }
        values
    }

    /// The value that it leaves in its first operand.
    fn result(&self, target: Register, tracker: &Tracker) -> Value {
        match self.raw.code() {
            Code::Lea_r64_m | Code::Lea_r32_m => self.effective_address(tracker),
            Code::Mov_r64_rm64
            | Code::Mov_r32_rm32
            | Code::Mov_r64_imm64
            | Code::Mov_r32_imm32
            | Code::Mov_rm64_imm32
            | Code::Mov_rm32_r32
            | Code::Mov_rm64_r64
            | Code::Movups_xmm_xmmm128
            | Code::Movaps_xmm_xmmm128
            | Code::Movdqu_xmm_xmmm128
            | Code::Movdqa_xmm_xmmm128 => self.operand(1, tracker),
            Code::Add_rm32_imm32
            | Code::Add_rm32_imm8
            | Code::Add_EAX_imm32
            | Code::Add_rm64_imm32
            | Code::Add_rm64_imm8
            | Code::Add_RAX_imm32 => self.sum(tracker.get(target)),
            Code::Pop_r32 | Code::Pop_r64 => tracker.top(),
            _ => Value::Unknown,
        }
    }

    fn effective_address(&self, tracker: &Tracker) -> Value {
        if let Some(address) = self.fixed_address() {
            return Value::Known(self.narrow(address));
        }
        match tracker.get(named(self.raw.memory_base())) {
            Value::Known(base) if self.raw.memory_index() == Name::None => {
                Value::Known(self.narrow(base.wrapping_add(self.raw.memory_displacement64())))
            }
            _ => Value::Unknown,
        }
    }

    /// The sum of this and its second operand.
    fn sum(&self, value: Value) -> Value {
        match (value, self.raw.try_immediate(1)) {
            (Value::Known(number), Ok(addend)) => Value::Known(self.narrow(number.wrapping_add(addend))),
            _ => Value::Unknown,
        }
    }

    fn follow_stack(&self, flow: Flow, tracker: &mut Tracker) {
        let is_top = self.raw.memory_base().full_register() == Name::RSP
            && self.raw.memory_index() == Name::None
            && self.raw.memory_displacement64() == 0;
        match self.raw.mnemonic() {
            Mnemonic::Call if flow == Flow::Next => tracker.push(Value::Known(self.narrow(self.raw.next_ip()))),
            Mnemonic::Push => {
                let value = match self.raw.op0_kind() {
                    OpKind::Memory if is_top => tracker.top(),
                    OpKind::Memory => Value::Unknown,
                    _ => self.operand(0, tracker),
                };
                tracker.push(value);
            }
            Mnemonic::Pop => _ = tracker.pop(),
            Mnemonic::Add if is_top => {
                let sum = self.sum(tracker.pop());
                tracker.push(sum);
            }
            _ if self.writes(Name::RSP) => tracker.forget_stack(),
            _ => {}
        }
    }
}

fn is_write(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// The whole register that this is a part of.
fn named(register: Name) -> Register {
    Register(if register.is_gpr() { register.full_register() } else { register } as u16)
}
