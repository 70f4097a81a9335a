//! The code of a window: what leads to it, what is in it, and where it is left to.

use std::collections::BTreeSet;

use crate::elf::Image;
use crate::limits::MAX_WINDOW;
use crate::machine::{self, Flow, Instruction, Place, Texts, Value};
use crate::sections::{Descriptor, Sections};

/// A way out of a window isn't followed further than so many instructions.
const FOLLOWED: usize = 6;
/// The bytes of so many instructions, at most.
const FOLLOWED_BYTES: u64 = 15 * FOLLOWED as u64;

/// How a thread is armed for a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arming {
    /// By the descriptor itself: its address is stored to `rseq_cs`.
    Own {
        /// Which instruction of the approach stores it.
        at: usize,
        /// The thread's area (`struct rseq`).
        area: Place,
        /// The address that is stored.
        descriptor: u64,
    },
    /// By the thread's own descriptor, which was armed before and is made to describe this window.
    Published {
        /// Which instruction of the approach stores last.
        at: usize,
        /// The thread's descriptor.
        descriptor: Place,
        /// Its content.
        content: Content,
    },
    /// By the last instruction before the window, perhaps: what it stores can't be told.
    Untold {
        /// Which instruction of the approach that is.
        at: usize,
    },
    /// Nothing that leads to the window does.
    Nothing,
}

/// The content of a thread's descriptor for a window, as far as that can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// The window's start.
    pub start: Option<u64>,
    /// The window's length.
    pub length: Option<u64>,
    /// The window's abort handler, or where the thread descriptor's goes on to.
    pub abort: Option<u64>,
}

/// A place outside of the window where it goes on.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where.
    pub target: u64,
    /// The first instructions there, up to one that goes elsewhere.
    pub instructions: Vec<Instruction>,
}

/// The code of a window.
#[derive(Clone, Debug)]
pub struct Code {
    /// The instructions that lead to the window in a straight line.
    pub approach: Vec<Instruction>,
    /// How it arms.
    pub arming: Arming,
    /// The window.
    pub window: Vec<Instruction>,
    /// The instruction behind it, if it disarms.
    pub disarm: Option<Instruction>,
    /// The ways out that are listed.
    pub exits: Vec<Way>,
    /// The abort handler.
    pub abort: Way,
}

impl Code {
    /// Disassembles a window and what belongs to it. There are no instructions where there is no
    /// disassembler, nor of windows that are too long.
    #[must_use]
    pub fn read(image: &Image<'_>, sections: &Sections, descriptor: &Descriptor) -> Self {
        let window = match descriptor.window() {
            range if range.end - range.start <= MAX_WINDOW => {
                machine::decode(image, range.start, range.end - range.start)
            }
            _ => Vec::new(),
        };
        let (approach, arming) = approach(image, sections, descriptor.start);
        let ways = sections.exits_of(descriptor).iter().collect::<BTreeSet<_>>();
        let mut code = Self {
            approach,
            arming,
            window,
            disarm: None,
            exits: ways.into_iter().map(|target| follow(image, *target)).collect(),
            abort: follow(image, descriptor.abort),
        };
        code.disarm = code.find_disarm(image, descriptor.post_commit());
        code
    }

    /// The thread's area, by how it is addressed in this window.
    #[must_use]
    pub fn area(&self) -> Option<Place> {
        match self.arming {
            Arming::Own { area, .. } => Some(area),
            Arming::Published { .. } => self.asks().map(|rseq_cs| rseq_cs.at(-8)),
            Arming::Untold { .. } | Arming::Nothing => None,
        }
    }

    /// The place of `rseq_cs`, if the window begins by comparing it with the thread's descriptor,
    /// which is in a register.
    #[must_use]
    pub fn asks(&self) -> Option<Place> {
        let Arming::Published { descriptor, .. } = self.arming else { return None };
        let (place, register) = self.window.first()?.compares?;
        (descriptor.displacement == 0 && register.is_some() && register == descriptor.base.register).then_some(place)
    }

    /// The last instruction of the window.
    #[must_use]
    pub fn commit(&self) -> Option<&Instruction> {
        self.window.last()
    }

    /// The instructions of the approach from the first on that has a part in arming.
    #[must_use]
    pub fn arming_instructions(&self) -> &[Instruction] {
        let store = match self.arming {
            Arming::Own { at, .. } | Arming::Published { at, .. } | Arming::Untold { at } => at,
            Arming::Nothing => return &[],
        };
        let first = match self.arming {
            // An address, or a descriptor by three stores.
            Arming::Published { descriptor, .. } => {
                let is_part = |instruction: &Instruction| {
                    let writes =
                        |store: &machine::Store| store.place.is_some_and(|place| place.base == descriptor.base);
                    instruction.stores.iter().any(writes)
                        || instruction.sets.iter().any(|(_, value)| *value != Value::Unknown)
                };
                self.approach[..store].iter().rev().take(8).take_while(|instruction| is_part(instruction)).count()
            }
            // The address, which is computed just before.
            _ => usize::from(
                store > 0 && self.approach[store - 1].sets.iter().any(|(_, value)| *value != Value::Unknown),
            ),
        };
        &self.approach[store - first..]
    }

    fn find_disarm(&self, image: &Image<'_>, post_commit: u64) -> Option<Instruction> {
        let behind = machine::decode(image, post_commit, FOLLOWED_BYTES).into_iter().next()?;
        let rseq_cs = self.area().map(|area| area.at(8));
        // Where a window doesn't say where the area is, this does.
        let is_there = |store: &machine::Store| rseq_cs.is_none() || store.place == rseq_cs;
        let is_disarm = |store: &machine::Store| is_there(store) && store.value == Value::Known(0) && store.bytes >= 4;
        behind.stores.iter().any(is_disarm).then_some(behind)
    }
}

/// The instructions at an address, up to one that goes elsewhere.
pub(crate) fn follow(image: &Image<'_>, target: u64) -> Way {
    let mut instructions = machine::decode(image, target, FOLLOWED_BYTES);
    let end = instructions
        .iter()
        .position(|instruction| !matches!(instruction.flow, Flow::Next | Flow::Branch(_) | Flow::Call));
    instructions.truncate(end.map_or(FOLLOWED, |end| end + 1).min(FOLLOWED));
    Way { target, instructions }
}

/// The instruction that ends at an address.
pub(crate) fn before(image: &Image<'_>, address: u64) -> Option<Instruction> {
    let leading = |from: u64| machine::decode(image, from, address - from).pop();
    let mut last = machine::approaches(image, address).into_iter().filter_map(leading);
    last.find(|last| last.next() == address && last.flow != Flow::Invalid)
}

/// The instructions that lead to the window, and how it arms.
fn approach(image: &Image<'_>, sections: &Sections, start: u64) -> (Vec<Instruction>, Arming) {
    let mut likeliest = None;
    for from in machine::approaches(image, start) {
        let tried = machine::decode_as(image, from, start - from, Texts::Empty);
        if tried.last().is_none_or(|last| last.next() != start || last.flow == Flow::Invalid) {
            continue;
        }
        let arming = arming(image, sections, &straight(tried));
        if matches!(arming, Arming::Own { .. } | Arming::Published { .. }) {
            return (straight(machine::decode(image, from, start - from)), arming);
        }
        likeliest.get_or_insert((from, arming));
    }
    likeliest.map_or((Vec::new(), Arming::Nothing), |(from, arming)| {
        (straight(machine::decode(image, from, start - from)), arming)
    })
}

/// The instructions behind the last that goes elsewhere.
fn straight(mut instructions: Vec<Instruction>) -> Vec<Instruction> {
    let first = instructions.iter().rposition(|instruction| instruction.flow != Flow::Next).map_or(0, |last| last + 1);
    instructions.split_off(first)
}

/// How these arm: what is found last.
fn arming(image: &Image<'_>, sections: &Sections, approach: &[Instruction]) -> Arming {
    let reader = Reader { image, sections, approach };
    let stores = approach.iter().enumerate().rev();
    let stores = stores.flat_map(|(at, instruction)| instruction.stores.iter().map(move |store| (at, store)));
    for (at, store) in stores {
        let Some(place) = store.place else { continue };
        if let Some(descriptor) = reader.descriptor(store.value) {
            return Arming::Own { at, area: place.at(-8), descriptor };
        }
        if let Some((descriptor, content)) = reader.published(at, place, store.value) {
            let at = reader.last_store(at, descriptor);
            return Arming::Published { at, descriptor, content };
        }
    }
    match approach.last() {
        Some(last)
            if last.stores.iter().any(|store| store.value == Value::Unknown && matches!(store.bytes, 0 | 4 | 8)) =>
        {
            Arming::Untold { at: approach.len() - 1 }
        }
        _ => Arming::Nothing,
    }
}

struct Reader<'r, 'data> {
    image: &'r Image<'data>,
    sections: &'r Sections,
    approach: &'r [Instruction],
}

impl Reader<'_, '_> {
    /// The address of a descriptor that this value is, directly or by way of the global offset
    /// table.
    fn descriptor(&self, value: Value) -> Option<u64> {
        let address = match value {
            Value::Known(address) => address,
            Value::At(entry) => self.image.pointer(entry)?,
            Value::Unknown => return None,
        };
        self.sections.is_descriptor(address).then_some(address)
    }

    /// The thread's descriptor and what it is told, if this store does it: of start and length at
    /// once, or of the start.
    fn published(&self, at: usize, place: Place, value: Value) -> Option<(Place, Content)> {
        let thread = place.at(-8);
        match value {
            Value::At(start) if self.sections.is_descriptor(start.wrapping_sub(8)) => {
                let length = self.image.u64(start.wrapping_add(8));
                Some((thread, Content { start: self.image.u64(start), length, abort: self.dispatched(at) }))
            }
            Value::Known(start) if self.sections.is_start(start) => {
                let told = |offset| self.last_known(thread.at(offset));
                Some((thread, Content { start: told(8), length: told(16), abort: told(24) }))
            }
            _ => None,
        }
    }

    /// Where the abort handler of thread descriptors goes on to, as of this instruction.
    fn dispatched(&self, at: usize) -> Option<u64> {
        let register = machine::dispatched_by(self.image.architecture())?;
        let sets = self.approach[..at].iter().rev().flat_map(|instruction| &instruction.sets);
        match sets.copied().find(|(set, _)| *set == register)? {
            (_, Value::Known(address)) => Some(address),
            _ => None,
        }
    }

    /// The value that is stored last to this place.
    fn last_known(&self, place: Place) -> Option<u64> {
        let mut stores = self.approach.iter().rev().flat_map(|instruction| &instruction.stores);
        match stores.find(|store| store.place == Some(place))?.value {
            Value::Known(number) => Some(number),
            _ => None,
        }
    }

    /// Which instruction stores last to the thread's descriptor.
    fn last_store(&self, at: usize, descriptor: Place) -> usize {
        let is_to = |place: Place| place.distance_from(descriptor).is_some_and(|distance| (8..32).contains(&distance));
        let last = self
            .approach
            .iter()
            .rposition(|instruction| instruction.stores.iter().filter_map(|store| store.place).any(is_to));
        last.unwrap_or(at)
    }
}
