//! Follows numbers through instructions that stand one behind the other: which addresses they put
//! into registers and onto the stack.

use std::collections::HashMap;

use super::instruction::{Register, Value};

/// The stack of a stretch of code is followed as far as this many words.
const DEPTH: usize = 64;

/// The values that are known behind an instruction.
#[derive(Debug, Default)]
pub struct Tracker {
    registers: HashMap<Register, Value>,
    stack: Vec<Value>,
}

impl Tracker {
    pub fn get(&self, register: Register) -> Value {
        self.registers.get(&register).copied().unwrap_or(Value::Unknown)
    }

    pub fn set(&mut self, register: Register, value: Value) {
        match value {
            Value::Unknown => self.registers.remove(&register),
            known => self.registers.insert(register, known),
        };
    }

    pub fn push(&mut self, value: Value) {
        if self.stack.len() < DEPTH {
            self.stack.push(value);
        } else {
            self.stack.clear();
        }
    }

    pub fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Unknown)
    }

    /// The value that was pushed last.
    pub fn top(&self) -> Value {
        self.stack.last().copied().unwrap_or(Value::Unknown)
    }

    /// Nothing is known any more: the thread comes from somewhere else, or was somewhere else.
    pub fn forget(&mut self) {
        self.registers.clear();
        self.stack.clear();
    }

    /// The stack is changed in a way that isn't followed.
    pub fn forget_stack(&mut self) {
        self.stack.clear();
    }
}
