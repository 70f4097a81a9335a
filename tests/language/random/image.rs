//! Random memories, and their bytes for people.

use std::fmt::Write;
use std::sync::OnceLock;

use super::interpret::interesting;
use super::memory::{ARGUMENTS, BASE, BYTES, ELEMENTS, Image, NODES, Node, TARGETS};
use super::section::{ARRAYS, BIG, FIELDS, HITS, SLOT, Ty};

/// A section's input: its argument and its memory.
#[derive(Clone)]
pub struct Input {
    pub arguments: [u64; ARGUMENTS],
    pub image: Vec<u8>,
}

impl Input {
    /// The memory of this number.
    pub fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let arguments = [(); ARGUMENTS].map(|()| random.number(Ty::U64));
        let mut image = vec![0; size_of::<Image>()];
        for word in every_place() {
            let number = random.number(word.ty).to_le_bytes();
            let bytes = word.ty.bits() as usize / 8;
            image[word.at..word.at + bytes].copy_from_slice(&number[..bytes]);
        }
        Self { arguments, image }
    }
}

/// splitmix64: any seed will do, also a small one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// The bits of a value of this type: more often than not of one at which mistakes show.
    fn number(&mut self, ty: Ty) -> u64 {
        let node = BASE + (self.below(TARGETS) * size_of::<Node>()) as u64;
        match ty {
            Ty::Bool => self.next() & 1,
            Ty::Node | Ty::Words | Ty::Option if self.below(5) == 0 => 0,
            Ty::Node | Ty::Option => node,
            Ty::Words => node + std::mem::offset_of!(Node, plain) as u64,
            _ if self.below(3) == 0 => self.next(),
            _ => {
                let interesting = interesting(ty);
                interesting[self.below(interesting.len())] as u64
            }
        }
    }
}

/// A value in the image.
struct Word {
    name: String,
    at: usize,
    ty: Ty,
}

/// Every value in the image.
fn every_place() -> &'static [Word] {
    static PLACES: OnceLock<Vec<Word>> = OnceLock::new();
    PLACES.get_or_init(places)
}

fn places() -> Vec<Word> {
    let mut words = Vec::new();
    for node in 0..NODES {
        words.extend(in_node(&format!("nodes[{node}]"), node * size_of::<Node>(), true));
    }
    words.extend(in_node("slot", SLOT, false));
    words.push(Word { name: "hits".into(), at: HITS, ty: Ty::U64 });
    words.push(Word { name: "big".into(), at: BIG, ty: Ty::U32 });
    words
}

/// The words of a node. In a slot, what is no atomic stays as it was made.
fn in_node(node: &str, at: usize, everything: bool) -> Vec<Word> {
    let word = |name: String, offset: usize, ty| Word { name: format!("{node}.{name}"), at: at + offset, ty };
    let fields = FIELDS.iter().filter(|field| everything || field.ty != Ty::Option);
    let mut words: Vec<Word> = fields.map(|field| word(field.path.into(), field.at, field.ty)).collect();
    for array in ARRAYS {
        for index in 0..array.length {
            words.extend(array.parts.iter().map(|part| {
                let dot = if part.path.is_empty() { "" } else { "." };
                let name = format!("{}[{index}]{dot}{}", array.path, part.path);
                word(name, array.at + index * array.size + part.at, part.ty)
            }));
        }
    }
    let source = std::mem::offset_of!(Node, source);
    words.extend((0..BYTES).map(|index| word(format!("source[{index}]"), source + index, Ty::U8)));
    if everything {
        let plain = std::mem::offset_of!(Node, plain);
        words.extend((0..ELEMENTS).map(|index| word(format!("plain[{index}]"), plain + 4 * index, Ty::U32)));
    }
    words
}

fn bits(image: &[u8], word: &Word) -> u64 {
    let mut bytes = [0; 8];
    let length = word.ty.bits() as usize / 8;
    bytes[..length].copy_from_slice(&image[word.at..word.at + length]);
    u64::from_le_bytes(bytes)
}

/// The values in an image of the fields that a section names, those of a node on one line.
pub fn listed(image: &[u8], source: &str) -> String {
    let (mut text, mut whole) = (String::new(), String::new());
    for word in every_place() {
        let (start, name) = word.name.split_once('.').unwrap_or(("slots", &word.name));
        let field = name.split(['.', '[']).next().unwrap_or_default();
        if start != "slots" && !source.contains(&format!(".{field}")) && !source.contains(&format!("_{field}")) {
            continue;
        }
        if start != whole {
            whole = start.to_owned();
            write!(text, "\n    {whole}:").expect("a string takes everything");
        }
        write!(text, " {name}={:#x}", bits(image, word)).expect("a string takes everything");
    }
    text
}

/// The values that differ.
pub fn differences(before: &[u8], after: &[u8]) -> String {
    let changed = every_place().iter().filter(|word| bits(before, word) != bits(after, word));
    let changed: Vec<String> =
        changed.map(|word| format!("{}: {:#x} -> {:#x}", word.name, bits(before, word), bits(after, word))).collect();
    if changed.is_empty() && before != after { "bytes between the fields".into() } else { changed.join(", ") }
}
