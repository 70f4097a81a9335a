//! From steps to tokens: ordinary Rust around one window. Each file is named after what it writes.

pub mod arch;
pub mod asm;
mod audit;
mod before;
mod block;
mod code;
mod editor;
mod model;
mod note;
mod places;
mod portable;
mod refused;
mod skeleton;
mod tokens;
mod window;

pub use self::editor::editor;
pub use self::refused::{refused, unresolved};
pub use self::skeleton::program;

use self::arch::Machine;
use crate::target::{Emitter, Target};

/// The machine that windows are written for, if they are asm.
pub fn machine(target: &Target) -> Option<&'static dyn Machine> {
    match &target.emitter {
        Emitter::Machine(name) => arch::named(name),
        Emitter::Model | Emitter::Editor => None,
    }
}
