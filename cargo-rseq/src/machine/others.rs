//! Machines other than x86, by capstone: where threads go on, and whether something is written,
//! told from mnemonics and capstone's groups.

use capstone::arch::{self, BuildsCapstone, BuildsCapstoneEndian, BuildsCapstoneExtraMode};
use capstone::{Capstone, Endian, InsnDetail, InsnGroupType};

use super::instruction::{Flow, Instruction, Knowledge, Store, Value};
use crate::architecture::Architecture;

pub fn knowledge(architecture: Architecture) -> Knowledge {
    // capstone 5 knows no LoongArch.
    if architecture == Architecture::Loongarch64 { Knowledge::None } else { Knowledge::Flow }
}

/// The instructions in these bytes, up to and with the first that is none.
pub fn decode(architecture: Architecture, is_big_endian: bool, code: &[u8], address: u64) -> Vec<Instruction> {
    let Some(capstone) = open(architecture, is_big_endian) else { return Vec::new() };
    let Ok(decoded) = capstone.disasm_all(code, address) else { return Vec::new() };
    let mut instructions: Vec<Instruction> = decoded.iter().map(|raw| read(architecture, &capstone, raw)).collect();
    let end = instructions.last().map_or(address, Instruction::next);
    if end < address.saturating_add(code.len() as u64) {
        instructions.push(invalid(end));
    }
    instructions
}

fn open(architecture: Architecture, is_big_endian: bool) -> Option<Capstone> {
    let endian = if is_big_endian { Endian::Big } else { Endian::Little };
    let new = Capstone::new();
    match architecture {
        Architecture::Aarch64 => new.arm64().mode(arch::arm64::ArchMode::Arm).endian(endian).detail(true).build(),
        Architecture::Arm => new.arm().mode(arch::arm::ArchMode::Arm).endian(endian).detail(true).build(),
        Architecture::Riscv64 => {
            let compressed = std::iter::once(arch::riscv::ArchExtraMode::RiscVC);
            new.riscv().mode(arch::riscv::ArchMode::RiscV64).extra_mode(compressed).detail(true).build()
        }
        Architecture::Powerpc64 => new.ppc().mode(arch::ppc::ArchMode::Mode64).endian(endian).detail(true).build(),
        Architecture::S390x => new.sysz().mode(arch::sysz::ArchMode::Default).detail(true).build(),
        _ => return None,
    }
    .ok()
}

fn read(architecture: Architecture, capstone: &Capstone, raw: &capstone::Insn<'_>) -> Instruction {
    let (mnemonic, operands) = (raw.mnemonic().unwrap_or("?"), raw.op_str().unwrap_or_default());
    let detail = capstone.insn_detail(raw).ok();
    let flow = flow(architecture, raw.address(), mnemonic, operands, detail.as_ref());
    let is_store = flow == Flow::Next && writes_memory(architecture, mnemonic);
    Instruction {
        address: raw.address(),
        length: raw.len() as u64,
        text: format!("{mnemonic} {operands}").trim_end().to_owned(),
        flow,
        stores: is_store.then_some(Store { place: None, bytes: 0, value: Value::Unknown }).into_iter().collect(),
        compares: None,
        sets: Vec::new(),
        moves_stack: moves_stack(architecture, mnemonic, operands),
        repeats: false,
    }
}

fn invalid(address: u64) -> Instruction {
    Instruction {
        address,
        length: 1,
        text: "(no instruction)".into(),
        flow: Flow::Invalid,
        stores: Vec::new(),
        compares: None,
        sets: Vec::new(),
        moves_stack: false,
        repeats: false,
    }
}

fn flow(
    architecture: Architecture,
    address: u64,
    mnemonic: &str,
    operands: &str,
    detail: Option<&InsnDetail<'_>>,
) -> Flow {
    let is_in = |group: u32| detail.is_some_and(|detail| detail.groups().iter().any(|id| u32::from(id.0) == group));
    let (jump, call, ret, int) =
        (InsnGroupType::CS_GRP_JUMP, InsnGroupType::CS_GRP_CALL, InsnGroupType::CS_GRP_RET, InsnGroupType::CS_GRP_INT);
    // RISC-V's short form of an instruction does the same.
    let name = mnemonic.strip_prefix("c.").unwrap_or(mnemonic);
    if is_one_of(architecture, name, KERNEL) || is_in(int) && !is_one_of(architecture, name, TRAPS) {
        return Flow::Kernel;
    }
    if is_one_of(architecture, name, TRAPS) {
        return Flow::Trap;
    }
    if is_one_of(architecture, name, CALLS) || is_in(call) {
        return Flow::Call;
    }
    if is_in(ret) {
        return Flow::Return;
    }
    if is_one_of(architecture, name, INDIRECT) {
        return Flow::Indirect;
    }
    if !is_in(jump) && !is_one_of(architecture, name, JUMPS) {
        return Flow::Next;
    }
    let Some(target) = target(architecture, address, operands) else { return Flow::Indirect };
    if is_one_of(architecture, name, JUMPS) { Flow::Jump(target) } else { Flow::Branch(target) }
}

/// The target of a branch: the last operand, where that is a number. For RISC-V it is how far away
/// that is.
fn target(architecture: Architecture, address: u64, operands: &str) -> Option<u64> {
    let last = operands.rsplit([',', ' ']).next()?.trim_start_matches('#');
    let (is_negative, digits) = last.strip_prefix('-').map_or((false, last), |digits| (true, digits));
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    let number = if is_negative { number.wrapping_neg() } else { number };
    Some(if architecture == Architecture::Riscv64 { address.wrapping_add(number) } else { number })
}

/// Mnemonics by machine, where capstone's groups don't say it.
type Table = &'static [(Architecture, &'static [&'static str])];

const KERNEL: Table = &[
    (Architecture::Aarch64, &["svc", "hvc", "smc"]),
    (Architecture::Arm, &["svc", "swi"]),
    (Architecture::Riscv64, &["ecall"]),
    (Architecture::S390x, &["svc"]),
    (Architecture::Powerpc64, &["sc"]),
];
const TRAPS: Table = &[
    (Architecture::Aarch64, &["brk", "udf"]),
    (Architecture::Arm, &["udf", "bkpt", "trap"]),
    (Architecture::Riscv64, &["ebreak", "unimp"]),
    (Architecture::S390x, &["trap4"]),
    (Architecture::Powerpc64, &["trap", "twui"]),
];
const CALLS: Table = &[
    (Architecture::Aarch64, &["bl", "blr"]),
    (Architecture::Arm, &["bl", "blx"]),
    (Architecture::Riscv64, &["jal", "jalr"]),
    (Architecture::S390x, &["brasl", "bras", "basr", "bas"]),
    (Architecture::Powerpc64, &["bl", "bctrl", "blrl"]),
];
const JUMPS: Table = &[
    (Architecture::Aarch64, &["b"]),
    (Architecture::Arm, &["b"]),
    (Architecture::Riscv64, &["j"]),
    (Architecture::S390x, &["j", "jg", "brc", "brcl"]),
    (Architecture::Powerpc64, &["b"]),
];
const INDIRECT: Table = &[
    (Architecture::Aarch64, &["br"]),
    (Architecture::Arm, &["bx"]),
    (Architecture::Riscv64, &["jr"]),
    (Architecture::S390x, &["br", "bcr"]),
    (Architecture::Powerpc64, &["bctr", "blr"]),
];

fn is_one_of(architecture: Architecture, mnemonic: &str, table: Table) -> bool {
    table.iter().any(|(machine, names)| *machine == architecture && names.contains(&mnemonic))
}

/// True if it is one of the machine's stores, by its name.
fn writes_memory(architecture: Architecture, mnemonic: &str) -> bool {
    match architecture {
        Architecture::Aarch64 => mnemonic.starts_with("st"),
        Architecture::Arm => mnemonic.starts_with("st") || mnemonic.starts_with("vst"),
        Architecture::Riscv64 => {
            let name = mnemonic.strip_prefix("c.").unwrap_or(mnemonic);
            matches!(name, "sb" | "sh" | "sw" | "sd" | "fsw" | "fsd" | "swsp" | "sdsp" | "fswsp" | "fsdsp")
                || name.starts_with("amo")
        }
        Architecture::Powerpc64 => mnemonic.starts_with("st"),
        Architecture::S390x => {
            mnemonic.starts_with("st")
                || matches!(
                    mnemonic,
                    "mvi"
                        | "mviy"
                        | "mvc"
                        | "mvghi"
                        | "mvhi"
                        | "mvhhi"
                        | "asi"
                        | "agsi"
                        | "alsi"
                        | "algsi"
                        | "ni"
                        | "niy"
                        | "oi"
                        | "oiy"
                        | "xi"
                        | "xiy"
                )
        }
        _ => false,
    }
}

/// True if its first operand, which it isn't a store of, is the stack pointer.
fn moves_stack(architecture: Architecture, mnemonic: &str, operands: &str) -> bool {
    let pointer = match architecture {
        Architecture::Powerpc64 => "r1",
        Architecture::S390x => "%r15",
        _ => "sp",
    };
    let writes_back = match architecture {
        Architecture::Powerpc64 => mnemonic.ends_with('u') && operands.ends_with("(r1)"),
        _ => operands.contains(&format!("[{pointer}")) && (operands.ends_with('!') || operands.contains("],")),
    };
    let first = operands.split(',').next() == Some(pointer);
    let is_push = mnemonic.starts_with("push") || mnemonic.starts_with("pop");
    let is_comparison = mnemonic.starts_with("cmp") || architecture == Architecture::S390x && mnemonic.starts_with('c');
    let only_reads = writes_memory(architecture, mnemonic) || is_comparison;
    is_push || writes_back || first && !only_reads
}
