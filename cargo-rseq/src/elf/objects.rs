//! Relocatable files: what a linker would do with them, as far as sections need it.
//!
//! Their sections are laid out one behind the other, so addresses are those of this layout; nothing
//! else has any for them.

use std::borrow::Cow;
use std::collections::HashMap;

use object::read::{Relocation, RelocationTarget};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationEncoding, RelocationFlags, RelocationKind, SectionFlags,
    SectionIndex, SymbolKind, SymbolSection, elf,
};

use super::{Function, Image, Load, MAX_SECTIONS, Section};
use crate::architecture::Architecture;
use crate::error::Error;

/// More of a relocatable file isn't laid out, in bytes.
const MAX_SIZE: u64 = 256 << 20;

/// Where the first section is, so that no address is null.
const FIRST: u64 = 0x1_0000;

impl Image<'_> {
    /// Lays out the sections, and applies their relocations.
    pub(super) fn lay_out(&mut self) -> Result<(), Error> {
        let (mut places, mut next) = (HashMap::new(), FIRST);
        for section in self.file.sections().take(MAX_SECTIONS) {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            let (bytes, name) = (section.data()?, section.name()?);
            let address = next.checked_next_multiple_of(section.align().clamp(1, 4096)).unwrap_or(next);
            next = address.saturating_add(bytes.len() as u64);
            if next > MAX_SIZE {
                return Err(Error::TooLarge(next));
            }
            let executable = sh_flags & u64::from(elf::SHF_EXECINSTR) != 0;
            self.loads.push(Load { address, bytes: Cow::Owned(bytes.to_vec()), executable });
            self.sections.push(Section { name, address, size: bytes.len() as u64 });
            places.insert(section.index(), (self.loads.len() - 1, address));
        }
        for section in self.file.sections() {
            let Some((load, address)) = places.get(&section.index()) else { continue };
            for (offset, relocation) in section.relocations() {
                let Some(target) = self.target(&relocation, &places) else { continue };
                let bytes = self.loads[*load].bytes.to_mut();
                let (architecture, is_big_endian) = (self.architecture, !self.file.is_little_endian());
                Relocated { architecture, is_big_endian, address: *address, bytes }.apply(offset, &relocation, target);
            }
        }
        self.functions = self
            .file
            .symbols()
            .filter_map(|symbol| {
                let (_, section) = places.get(&symbol.section_index()?)?;
                let address = section.wrapping_add(symbol.address());
                let function = Function { address, size: symbol.size(), name: symbol.name().ok()? };
                (symbol.kind() == SymbolKind::Text).then_some(function)
            })
            .collect();
        Ok(())
    }

    /// The address that a relocation is about, if it is in this file.
    fn target(&self, relocation: &Relocation, places: &HashMap<SectionIndex, (usize, u64)>) -> Option<u64> {
        match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let symbol = self.file.symbol_by_index(index).ok()?;
                let SymbolSection::Section(section) = symbol.section() else { return None };
                places.get(&section).map(|(_, address)| address.wrapping_add(symbol.address()))
            }
            RelocationTarget::Section(section) => places.get(&section).map(|(_, address)| *address),
            _ => None,
        }
    }
}

/// The effect of a relocation on a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// It becomes the address.
    Address,
    /// It becomes the address less its own.
    Distance,
    /// The same, in units of two bytes.
    HalfDistance,
    /// The address is added to it.
    Sum,
    /// The address is subtracted from it.
    Difference,
}

/// Its effect, and on how many bytes, if it is of those that sections have.
fn effect(relocation: &Relocation, architecture: Architecture) -> Option<(Effect, usize)> {
    let bytes = usize::from(relocation.size()) / 8;
    match (relocation.kind(), relocation.encoding()) {
        (RelocationKind::Absolute, _) => return Some((Effect::Address, bytes)),
        (RelocationKind::Relative | RelocationKind::PltRelative, RelocationEncoding::S390xDbl) => {
            return Some((Effect::HalfDistance, bytes));
        }
        (RelocationKind::Relative | RelocationKind::PltRelative, _) => return Some((Effect::Distance, bytes)),
        _ => {}
    }
    // Those that `object` has no word for.
    let RelocationFlags::Elf { r_type } = relocation.flags() else { return None };
    match (architecture, r_type) {
        (Architecture::Arm, elf::R_ARM_REL32)
        | (Architecture::Powerpc64, elf::R_PPC64_REL32)
        | (Architecture::Riscv64, elf::R_RISCV_32_PCREL) => Some((Effect::Distance, 4)),
        // So distances are written where the linker may make code shorter.
        (Architecture::Riscv64, elf::R_RISCV_ADD32) => Some((Effect::Sum, 4)),
        (Architecture::Riscv64, elf::R_RISCV_SUB32) => Some((Effect::Difference, 4)),
        (Architecture::Riscv64, elf::R_RISCV_ADD64) => Some((Effect::Sum, 8)),
        (Architecture::Riscv64, elf::R_RISCV_SUB64) => Some((Effect::Difference, 8)),
        _ => None,
    }
}

/// A section whose relocations are applied.
struct Relocated<'s> {
    architecture: Architecture,
    is_big_endian: bool,
    address: u64,
    bytes: &'s mut [u8],
}

impl Relocated<'_> {
    /// Applies one. What is malformed, or of no importance for sections, has no effect: it shows in
    /// what is read there.
    fn apply(&mut self, offset: u64, relocation: &Relocation, target: u64) -> Option<()> {
        let (effect, length) = effect(relocation, self.architecture)?;
        let first = usize::try_from(offset).ok()?;
        let field = self.bytes.get_mut(first..first.checked_add(length)?)?;
        let before = number(field, self.is_big_endian)?;
        let implicit = if relocation.has_implicit_addend() { before } else { 0 };
        let target = target.wrapping_add(relocation.addend().cast_unsigned()).wrapping_add(implicit);
        let distance = target.wrapping_sub(self.address).wrapping_sub(offset);
        let after = match effect {
            Effect::Address => target,
            Effect::Distance => distance,
            Effect::HalfDistance => (distance.cast_signed() >> 1).cast_unsigned(),
            Effect::Sum => before.wrapping_add(target),
            Effect::Difference => before.wrapping_sub(target),
        };
        let mut after = after.to_le_bytes();
        let after = &mut after[..length];
        if self.is_big_endian {
            after.reverse();
        }
        field.copy_from_slice(after);
        Some(())
    }
}

/// The number that is in a field of up to eight bytes.
fn number(field: &[u8], is_big_endian: bool) -> Option<u64> {
    let mut word = [0; 8];
    let low = word.get_mut(..field.len())?;
    low.copy_from_slice(field);
    if is_big_endian {
        low.reverse();
    }
    Some(u64::from_le_bytes(word))
}
