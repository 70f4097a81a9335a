//! x86-64, after the Intel SDM (volume 2) and the kernel's `include/uapi/linux/rseq.h` (layout of the descriptor and the area).
//!
//! Stores are seen by other CPUs in program order and no earlier than what the thread did before (SDM volume 3, 10.2.2), so a store is a
//! release store as it is.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;

use crate::ir::Step;

/// Registers that a commit block changes.
pub fn scratch() -> TokenStream {
    quote_spanned!(Span::mixed_site()=> window = out(xmm_reg) _, out("r11") _,)
}

/// The asm of a commit block that stores `bits` bits. Its operands: `td` the thread descriptor, `area` the thread's area, `place` the
/// address and `value` the bits to store, `cpu` the index if there is a step that compares it, `aborted` where it goes when it must start
/// again.
pub fn commit_block(steps: &[&Step], bits: u32) -> Vec<String> {
    let mut lines = sections();
    lines.extend(steps.iter().flat_map(|step| instructions(step, bits)));
    lines
}

/// The constant descriptor and what refers to it. Labels: 22 the descriptor, 23 start, 24 post-commit, 25 abort handler.
/// The arrays are retained (`R`) because nothing in the code refers to them; the descriptors are kept by both.
fn sections() -> Vec<String> {
    [
        ".pushsection __rseq_cs, \"aw\", @progbits",
        ".balign 32",
        "22: .long 0, 0",            // descriptor: version, flags
        ".quad 23f, 24f - 23f, 25f", // descriptor: start, post-commit offset, abort
        ".popsection",
        ".pushsection __rseq_cs_ptr_array, \"awR\", @progbits",
        ".balign 8",
        ".quad 22b", // for tools: here is a descriptor
        ".popsection",
        ".pushsection __rseq_exit_point_array, \"awR\", @progbits",
        ".balign 8",
        ".quad 23f, {aborted}", // for tools: the window that starts there can be left to here
        ".popsection",
        ".pushsection .text.unlikely.rseq_dsl, \"ax\", @progbits",
        ".byte 0x0f, 0xb9, 0x3d", // ud1, with the signature as its displacement
        ".long 0x53053053",       // the signature, by which the kernel knows an abort handler
        "25: jmp {aborted}",      // abort handler: start again
        ".popsection",
    ]
    .map(str::to_owned)
    .into()
}

fn instructions(step: &Step, bits: u32) -> Vec<String> {
    match step {
        // One store for start and length together, so that the thread descriptor covers one window or another, never a mixture.
        Step::Publish => vec![
            "lea r11, [rip + 25b]".into(), // r11 = this section's abort handler, where the thread descriptor's goes on to
            "movups {window}, [rip + 22b + 8]".into(), // window = descriptor: start, post-commit offset
            "movups [{td} + 8], {window}".into(), // td: start, post-commit offset
        ],
        Step::Start => vec!["23:".into()],
        Step::CheckArmed => vec![
            "cmp [{area} + 8], {td}".into(), // area->rseq_cs == td ?
            "jne {aborted}".into(),          // no: start again
        ],
        Step::CheckIndex => vec![
            "cmp [{area} + 4], {cpu:e}".into(), // area->cpu_id == cpu ?
            "jne {aborted}".into(),             // no: start again
        ],
        Step::Commit(_) => vec![store(bits)], // *place = value: committed
        Step::Post => vec!["24:".into()],
        Step::Disarm => vec!["mov qword ptr [{area} + 8], 0".into()], // area->rseq_cs = NULL
        Step::Guard | Step::Arm | Step::Index { .. } | Step::Prepare(_) | Step::Operands { .. } => Vec::new(),
    }
}

/// One store of the low bits of the value.
fn store(bits: u32) -> String {
    match bits {
        8 => "mov byte ptr [{place}], {value:l}",
        16 => "mov word ptr [{place}], {value:x}",
        32 => "mov dword ptr [{place}], {value:e}",
        _ => "mov qword ptr [{place}], {value:r}",
    }
    .to_owned()
}

/// Words of this machine, which must not occur outside of its file.
#[cfg(test)]
#[rustfmt::skip]
pub const WORDS: &[&str] = &[
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eax", "ebx", "ecx", "edx", "xmm", "xmm0",
    "xmm_reg", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "fs", "gs", "mov", "movq", "movups",
    "movzx", "lea", "cmp", "jne", "jmp", "je", "jz", "jnz", "ud1", "lock", "xchg", "cmpxchg", "qword",
    "dword", "pushsection", "x86", "x86_64",
];
