//! Mnemonics as tables: a machine's file has a row for each kind of instruction.

use crate::syntax::ast::{Comparison, Operation};

/// By the width of what is loaded or stored: 8, 16, 32, 64 bits.
pub type ByWidth = [&'static str; 4];

/// By operation: add, sub, and, or, xor, shl, shr, and shr with the sign.
pub type ByOperation = [&'static str; 8];

/// By what is extended: 8, 16, 32 bits with their sign, and without.
pub type ByExtension = [&'static str; 6];

/// By comparison: ==, !=; then <, <=, >, >= with a sign, and without.
pub type ByComparison = [&'static str; 10];

pub fn by_width(table: &ByWidth, bits: u32) -> &'static str {
    table[bits.ilog2() as usize - 3]
}

pub fn by_operation(table: &ByOperation, operation: Operation, is_signed: bool) -> &'static str {
    table[match operation {
        Operation::Add => 0,
        Operation::Sub => 1,
        Operation::And => 2,
        Operation::Or => 3,
        Operation::Xor => 4,
        Operation::Shl => 5,
        Operation::Shr => 6 + usize::from(is_signed),
    }]
}

pub fn by_extension(table: &ByExtension, bits: u32, is_signed: bool) -> &'static str {
    table[bits.ilog2() as usize - if is_signed { 3 } else { 0 }]
}

pub fn by_comparison(table: &ByComparison, comparison: Comparison, is_signed: bool) -> &'static str {
    let order = if is_signed { 2 } else { 6 };
    table[match comparison {
        Comparison::Eq => 0,
        Comparison::Ne => 1,
        Comparison::Lt => order,
        Comparison::Le => order + 1,
        Comparison::Gt => order + 2,
        Comparison::Ge => order + 3,
    }]
}
