//! How many registers a section needs, so that none is generated for which the macro has too few.
//!
//! Counts as the macro's allocation does: a register is taken from where it is written, or from the
//! start if Rust fills it, to where it is read last. It may count too many, where the macro has an
//! address once for several places.

use super::section::{Index, Literal, Names, Operand, Place, Root, Section, Step, ValueId};

/// `true` if the window of this section fits into the machine's registers, with so many to spare.
pub fn fits(section: &Section, spare: usize) -> bool {
    let mut window = Window::default();
    window.section(section);
    window.most_at_once() + spare <= available(section)
}

/// The registers that a window may have, as the files in `rseq-macros/src/emit/arch` know them.
const GENERAL: usize = cfg_select! {
    target_arch = "aarch64" => 27,
    target_arch = "riscv64" => 25,
    target_arch = "loongarch64" => 24,
    target_arch = "powerpc64" => 23,
    _ => 13,
};

/// How many there are for values, without those that the machine sets aside.
fn available(section: &Section) -> usize {
    let copies = section.steps.iter().any(|step| matches!(step, Step::Copy { .. }));
    let shifts = section.steps.iter().any(|step| match step {
        Step::Compute { operation, right, .. } => operation.is_shift() && !is_immediate(right),
        _ => false,
    });
    let computes_in_memory = cfg!(target_arch = "x86_64");
    let reserved = match (computes_in_memory, copies) {
        (true, true) => 3 + usize::from(section.prepare),
        (true, false) => usize::from(shifts) + usize::from(section.prepare),
        (false, true) => 4,
        (false, false) => 2,
    };
    GENERAL - reserved
}

/// `true` if an operand is part of the instruction.
fn is_immediate(operand: &Operand) -> bool {
    match operand {
        Operand::Literal(Literal { number, .. }) => i32::try_from(*number).is_ok(),
        Operand::Null => true,
        Operand::Value(_) | Operand::Outside(..) => false,
    }
}

/// `true` if the steps of the window find this place, and not ordinary Rust before it.
fn is_inside(place: &Place, prepare: bool) -> bool {
    match place {
        Place::Field { root, .. } => root_is_inside(root, prepare),
        Place::Element { root, index, .. } => root_is_inside(root, prepare) || matches!(index, Operand::Value(_)),
        Place::Hits | Place::Big => !prepare,
        Place::Word { .. } => true,
    }
}

fn root_is_inside(root: &Root, prepare: bool) -> bool {
    match root {
        Root::Param(_) => false,
        Root::Slot => !prepare,
        Root::Behind(_) | Root::ElementBehind(..) | Root::ElementOf(..) => true,
    }
}

/// A register, and where it is taken: steps count twice, because one reads before it writes.
struct Interval {
    start: usize,
    end: usize,
}

type Register = usize;

#[derive(Default)]
struct Window {
    intervals: Vec<Interval>,
    /// The number of the step.
    now: usize,
    prepare: bool,
    /// Where the values are.
    values: Vec<Option<Register>>,
    /// Where the slots are of `SLOTS`, `HITS` and `BIG`.
    slots: [Option<Register>; 3],
}

impl Window {
    fn most_at_once(&self) -> usize {
        let at_once = |at: usize| self.intervals.iter().filter(|one| one.start <= at && at < one.end).count();
        self.intervals.iter().map(|one| at_once(one.start)).max().unwrap_or_default()
    }

    fn section(&mut self, section: &Section) {
        self.prepare = section.prepare;
        self.values = vec![None; section.values.len()];
        let area = self.input();
        if section.prepare {
            // The descriptor, and in debug builds the index.
            for _ in 0..2 {
                let register = self.input();
                self.now += 1;
                self.read_last(register);
            }
        } else {
            self.own_start(section);
        }
        for step in &section.steps {
            self.step(step);
        }
        let commit = &section.commit;
        let mut at = self.address(&commit.place, true);
        self.now += 1;
        at.extend(self.operand(&commit.value));
        at.into_iter().for_each(|register| self.read_last(register));
        self.now += 2;
        self.read_last(area);
        self.end(section);
    }

    /// Values that are used once the window is over are kept to its end.
    fn end(&mut self, section: &Section) {
        let exits = section.steps.iter().filter_map(|step| match step {
            Step::Exit { names, .. } => Some(names),
            _ => None,
        });
        let named: Vec<ValueId> = exits.chain([&section.result]).flat_map(|names| names.values.clone()).collect();
        self.now += 1;
        for value in named {
            let register = self.value(value);
            self.read_last(register);
        }
    }

    /// Arms, and finds the slots that the window uses.
    fn own_start(&mut self, section: &Section) {
        let scratch = self.written();
        self.read_last(scratch);
        let used = slots(section);
        if used.iter().all(|used| !used) || section.index == Some(Index::MmCid) {
            self.now += 1;
            let scratch = self.written();
            self.read_last(scratch);
        }
        let names_index = |names: &Names| names.index;
        let in_exit = |step: &Step| matches!(step, Step::Exit { names, .. } if names_index(names));
        let output = names_index(&section.result) || section.steps.iter().any(in_exit);
        let index = (output || used.iter().filter(|used| **used).count() > 1).then(|| {
            self.now += 1;
            self.written()
        });
        for (number, _) in used.into_iter().enumerate().filter(|(_, used)| *used) {
            let slots = self.input();
            self.now += 1;
            if let Some(index) = index {
                self.read_first(index);
            }
            self.slots[number] = Some(self.written());
            self.read_last(slots);
        }
        if let Some(index) = index.filter(|_| output) {
            self.intervals[index].end = usize::MAX;
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Load { to, place } => {
                let at = self.address(place, false);
                self.now += 1;
                at.into_iter().for_each(|register| self.read_first(register));
                self.values[*to] = Some(self.written());
            }
            Step::Compute { to, left, right, .. } => {
                let (left, right) = (self.operand(left), self.operand(right));
                self.now += 1;
                // The right one may have to stay: whichever that is.
                left.into_iter().chain(right).for_each(|register| self.read_last(register));
                self.values[*to] = Some(self.written());
            }
            Step::Store { place, value } => {
                let mut read = self.address(place, false);
                read.extend(self.operand(value));
                self.now += 1;
                read.into_iter().for_each(|register| self.read_last(register));
            }
            Step::Copy { from, to, length } => {
                let mut read = self.bytes(&from.root, from.index.as_ref());
                read.extend(self.bytes(&to.root, to.index.as_ref()));
                read.extend(self.operand(length));
                self.now += 1;
                read.into_iter().for_each(|register| self.read_last(register));
            }
            Step::Exit { left, right, .. } => {
                let (left, right) = (self.operand(left), self.operand(right));
                self.now += 1;
                left.into_iter().chain(right).for_each(|register| self.read_last(register));
            }
        }
    }

    fn input(&mut self) -> Register {
        self.intervals.push(Interval { start: 0, end: 0 });
        self.intervals.len() - 1
    }

    fn written(&mut self) -> Register {
        self.intervals.push(Interval { start: 2 * self.now + 1, end: 2 * self.now + 2 });
        self.intervals.len() - 1
    }

    fn read_first(&mut self, register: Register) {
        let end = &mut self.intervals[register].end;
        *end = (*end).max(2 * self.now + 1);
    }

    fn read_last(&mut self, register: Register) {
        let end = &mut self.intervals[register].end;
        *end = (*end).max(2 * self.now + 2);
    }

    fn value(&self, value: ValueId) -> Register {
        self.values[value].expect("values are made before they are used")
    }

    fn operand(&mut self, operand: &Operand) -> Option<Register> {
        match operand {
            Operand::Value(value) => Some(self.value(*value)),
            other => (!is_immediate(other)).then(|| self.input()),
        }
    }

    /// The registers of an address. That of a commit is computed into one.
    fn address(&mut self, place: &Place, commit: bool) -> Vec<Register> {
        if !is_inside(place, self.prepare) {
            return vec![self.input()];
        }
        let (base, distance) = match place {
            Place::Field { root: Root::ElementOf(_, index), .. } => (self.element_of(*index), false),
            Place::Field { root, .. } => (self.root(root), true),
            Place::Element { root, index, .. } => {
                let outside = !root_is_inside(root, self.prepare);
                let first = if outside { self.input() } else { self.root(root) };
                (self.element(first, index), !outside)
            }
            Place::Hits => (self.slots[1].expect("found at the start"), false),
            Place::Big => (self.slots[2].expect("found at the start"), true),
            Place::Word { pointer, index } => {
                let base = self.value(*pointer);
                (index.as_ref().map_or(base, |index| self.element(base, index)), false)
            }
        };
        if !distance {
            return vec![base];
        }
        let distance = self.input();
        if !commit {
            return vec![base, distance];
        }
        self.now += 1;
        self.read_first(base);
        self.read_first(distance);
        vec![self.written()]
    }

    fn root(&mut self, root: &Root) -> Register {
        match root {
            Root::Param(_) => self.input(),
            Root::Slot if self.prepare => self.input(),
            Root::Slot => self.slots[0].expect("found at the start"),
            Root::Behind(pointer) => self.value(*pointer),
            Root::ElementBehind(pointer, index) => {
                let base = self.value(*pointer);
                self.element(base, index)
            }
            Root::ElementOf(_, index) => self.element_of(*index),
        }
    }

    fn element_of(&mut self, index: ValueId) -> Register {
        let first = self.input();
        self.element(first, &Operand::Value(index))
    }

    fn element(&mut self, base: Register, index: &Operand) -> Register {
        let index = self.operand(index);
        self.now += 1;
        if let Some(index) = index {
            self.read_first(index);
        }
        self.read_last(base);
        self.written()
    }

    fn bytes(&mut self, root: &Root, index: Option<&Operand>) -> Vec<Register> {
        let inside = root_is_inside(root, self.prepare);
        match (inside, index) {
            (false, Some(index @ Operand::Value(_))) => {
                let first = self.input();
                vec![self.element(first, index)]
            }
            (false, _) => vec![self.input()],
            (true, index) => {
                let base = self.root(root);
                let base = index.map_or(base, |index| self.element(base, index));
                vec![base, self.input()]
            }
        }
    }
}

/// Which of `SLOTS`, `HITS` and `BIG` a window finds its slot of.
fn slots(section: &Section) -> [bool; 3] {
    let mut used = [false; 3];
    let mut root = |root: &Root| used[0] |= matches!(root, Root::Slot);
    let mut places = vec![&section.commit.place];
    for step in &section.steps {
        match step {
            Step::Load { place, .. } | Step::Store { place, .. } => places.push(place),
            Step::Copy { from, to, .. } => [from, to].into_iter().for_each(|bytes| root(&bytes.root)),
            Step::Compute { .. } | Step::Exit { .. } => {}
        }
    }
    for place in places {
        match place {
            Place::Field { root, .. } | Place::Element { root, .. } => used[0] |= matches!(root, Root::Slot),
            Place::Hits => used[1] = true,
            Place::Big => used[2] = true,
            Place::Word { .. } => {}
        }
    }
    used
}
