//! The words that the dynamic linker would write, without symbols of other files.

use std::collections::BTreeMap;
use std::ops::Range;

use object::SectionIndex;
use object::elf;
use object::read::elf::{ElfFile, FileHeader, Rel, Rela, SectionHeader, Sym, SymbolTable};

use crate::architecture::{Architecture, Relocations};

/// More words aren't kept.
const MAX_WORDS: usize = 1 << 22;

/// The words in these ranges that are relocated, and what they become. What is malformed has no
/// effect: it shows in what is read there.
pub fn words<E: FileHeader<Endian = object::Endianness>>(
    file: &ElfFile<'_, E>,
    architecture: Architecture,
    ranges: &[Range<u64>],
) -> BTreeMap<u64, u64> {
    let mut words = Words { file, known: &architecture.row().relocations, ranges, found: BTreeMap::new() };
    for section in file.elf_section_table().iter() {
        // Those that aren't loaded are for the linker, or left by it.
        if section.sh_flags(file.endian()).into() & u64::from(elf::SHF_ALLOC) != 0 {
            words.add(section);
        }
    }
    words.found
}

type Symbols<'data, E> = Option<SymbolTable<'data, E>>;

struct Words<'f, 'data, E: FileHeader<Endian = object::Endianness>> {
    file: &'f ElfFile<'data, E>,
    known: &'static Relocations,
    ranges: &'f [Range<u64>],
    found: BTreeMap<u64, u64>,
}

impl<'data, E: FileHeader<Endian = object::Endianness>> Words<'_, 'data, E> {
    fn add(&mut self, section: &E::SectionHeader) {
        let (endian, data) = (self.file.endian(), self.file.data());
        if let Ok(Some((entries, symbols))) = section.rela(endian, data) {
            let symbols = self.symbols(symbols);
            for entry in entries {
                let addend: i64 = entry.r_addend(endian).into();
                let ty = entry.r_type(endian, false);
                self.entry(
                    entry.r_offset(endian).into(),
                    ty,
                    entry.r_sym(endian, false),
                    &symbols,
                    Some(addend as u64),
                );
            }
        }
        if let Ok(Some((entries, symbols))) = section.rel(endian, data) {
            let symbols = self.symbols(symbols);
            for entry in entries {
                self.entry(entry.r_offset(endian).into(), entry.r_type(endian), entry.r_sym(endian), &symbols, None);
            }
        }
        if let Ok(Some(entries)) = section.relr(endian, data) {
            for at in entries {
                self.entry(at.into(), self.known.relative, 0, &None, None);
            }
        }
    }

    /// Without an addend it is in the word itself, which needs no change then if the file is loaded
    /// at address 0.
    fn entry(&mut self, at: u64, ty: u32, symbol: u32, symbols: &Symbols<'data, E>, addend: Option<u64>) {
        if self.found.len() >= MAX_WORDS || !self.ranges.iter().any(|range| range.contains(&at)) {
            return;
        }
        let Relocations { relative, word, table } = *self.known;
        let value = match addend {
            Some(addend) if ty == relative => Some(addend),
            _ if ty == word || ty == table => {
                self.symbol(symbol, symbols).map(|symbol| symbol.wrapping_add(addend.unwrap_or_default()))
            }
            _ => None,
        };
        if let Some(value) = value {
            let value = if self.file.elf_header().is_type_64() { value } else { value & u64::from(u32::MAX) };
            self.found.insert(at, value);
        }
    }

    fn symbols(&self, section: SectionIndex) -> Symbols<'data, E> {
        self.file.elf_section_table().symbol_table_by_index(self.file.endian(), self.file.data(), section).ok()
    }

    /// The address of a symbol that the file itself defines.
    fn symbol(&self, index: u32, symbols: &Symbols<'data, E>) -> Option<u64> {
        let endian = self.file.endian();
        let symbol = symbols.as_ref()?.symbol(object::SymbolIndex(index as usize)).ok()?;
        (!symbol.is_undefined(endian)).then(|| symbol.st_value(endian).into())
    }
}
