//! Relocatable files: what a linker would do with them, as far as sections need it.
//!
//! Their sections are laid out one behind the other, so addresses are those of this layout; nothing else has any for them.

use std::borrow::Cow;
use std::collections::HashMap;

use object::read::{Relocation, RelocationTarget};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationKind, SectionFlags, SectionIndex, SymbolKind, SymbolSection, elf,
};

use super::{Function, Image, Load, MAX_SECTIONS, Section};
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
                let target = self.target(&relocation, &places);
                let load = &mut self.loads[*load];
                relocate(load.bytes.to_mut(), *address, offset, &relocation, target, self.file.is_little_endian());
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

/// Applies one, if it is of those that sections have. What is malformed has no effect: it shows in what is read there.
fn relocate(
    bytes: &mut [u8],
    address: u64,
    offset: u64,
    relocation: &Relocation,
    target: Option<u64>,
    little_endian: bool,
) {
    let (Some(target), Ok(first)) = (target, usize::try_from(offset)) else { return };
    let length = usize::from(relocation.size()) / 8;
    let Some(field) = first.checked_add(length).and_then(|end| bytes.get_mut(first..end)) else { return };
    let mut word = [0; 8];
    let Some(low) = word.get_mut(..length) else { return };
    low.copy_from_slice(field);
    if !little_endian {
        low.reverse();
    }
    let implicit = if relocation.has_implicit_addend() { u64::from_le_bytes(word) } else { 0 };
    let value = target.wrapping_add(relocation.addend().cast_unsigned()).wrapping_add(implicit);
    let value = match relocation.kind() {
        RelocationKind::Absolute => value,
        RelocationKind::Relative | RelocationKind::PltRelative => value.wrapping_sub(address).wrapping_sub(offset),
        _ => return,
    };
    let mut word = value.to_le_bytes();
    if !little_endian {
        word[..length].reverse();
    }
    field.copy_from_slice(&word[..length]);
}
