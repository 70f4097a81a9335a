//! Random sections that are valid: every list of numbers is one.
//!
//! A section is decoded from numbers, those of each step apart: so whatever proptest takes away or
//! makes smaller, what is left decodes to a section, most of which is as it was. Each choice has
//! its simplest possibility at 0.

use proptest::array::{uniform8, uniform24, uniform32};
use proptest::collection::vec;
use proptest::num::u16::ANY;
use proptest::strategy::Strategy;

use super::interpret::interesting;
use super::memory::{BYTES, TARGETS, VALUES};
use super::registers;
use super::section::{
    ARRAYS, Abort, Bytes, Commit, Comparison, FIELDS, Field, Form, Index, Literal, Names, Operand, Operation, Outside,
    Param, Place, Root, Section, Step, Through, Ty, Value, ValueId, pointer_field,
};

/// The most steps that are decoded. Some become two, and those for which there is no register are
/// left out.
const STEPS: usize = 14;

/// Random sections.
pub fn sections() -> impl Strategy<Value = Section> {
    // The steps come first, because that is where proptest begins to take away.
    (vec(uniform24(ANY), 0..=STEPS), uniform32(ANY), uniform8(ANY)).prop_map(|(steps, end, start)| {
        let mut draft = Draft::new(&mut Genes::new(&start));
        for step in steps {
            draft.step(&mut Genes::new(&step));
        }
        draft.finish(&mut Genes::new(&end))
    })
}

/// Numbers to decode; 0 where they are used up.
struct Genes<'g> {
    numbers: std::slice::Iter<'g, u16>,
}

impl<'g> Genes<'g> {
    fn new(numbers: &'g [u16]) -> Self {
        Self { numbers: numbers.iter() }
    }

    fn number(&mut self) -> usize {
        self.numbers.next().copied().unwrap_or_default().into()
    }

    /// A number below this one.
    fn below(&mut self, end: usize) -> usize {
        self.number() % end
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One of some values, more likely one of the latest: so that steps build on each other.
    fn latest(&mut self, values: &[ValueId]) -> Option<ValueId> {
        let before = self.below(values.len().max(1)).min(self.below(values.len().max(1)));
        values.iter().rev().nth(before).copied()
    }
}

/// A section while it is made.
#[derive(Clone)]
struct Draft {
    section: Section,
    /// The values whose names still mean them.
    visible: Vec<ValueId>,
}

/// The kind of a step.
#[derive(Clone, Copy)]
enum Kind {
    Load,
    Element,
    Compute,
    Mask,
    Exit,
    Pointer,
    Store,
    Copy,
}

impl Draft {
    fn new(genes: &mut Genes) -> Self {
        let field = &FIELDS[0];
        let commit = Commit {
            form: Form::Store,
            place: Place::Field { root: Root::Param(Param::Node(0)), field },
            value: Operand::Literal(Literal { number: 0, hexadecimal: false, suffix: None }),
        };
        let section = Section {
            prepare: genes.below(5) >= 3,
            index: genes.of(&[None, Some(Index::Cpu), Some(Index::Cpu), Some(Index::CpuWritten), Some(Index::MmCid)]),
            empty_critical: genes.once_in(2),
            values: Vec::new(),
            steps: Vec::new(),
            commit,
            result: Names::default(),
            abort: genes.of(&[Abort::None, Abort::None, Abort::Plain, Abort::Counting]),
        };
        Self { section, visible: Vec::new() }
    }

    /// Adds a step, if there are registers for it and then still for a commit.
    fn step(&mut self, genes: &mut Genes) {
        use Kind::{Compute, Copy, Element, Exit, Load, Mask, Pointer, Store};
        const KINDS: &[Kind] = &[
            Load, Load, Load, Element, Element, Compute, Compute, Compute, Compute, Compute, Compute, Compute, Mask,
            Exit, Exit, Exit, Pointer, Store, Store, Copy,
        ];
        let mut longer = self.clone();
        match genes.of(KINDS) {
            Load => {
                let place = longer.place(genes);
                longer.load(place, genes);
            }
            Element => {
                let place = longer.element(genes);
                longer.load(place, genes);
            }
            Compute => longer.compute(genes),
            Mask => longer.mask(genes),
            Exit => longer.exit(genes),
            Pointer => longer.pointer(genes),
            Store => {
                let place = if genes.once_in(2) { longer.outside_field(genes) } else { longer.place(genes) };
                let value = longer.operand(place.ty(), genes);
                longer.section.steps.push(Step::Store { place, value });
            }
            Copy => longer.copy(genes),
        }
        const FOR_THE_COMMIT: usize = 2;
        if registers::fits(&longer.section, FOR_THE_COMMIT) {
            *self = longer;
        }
    }

    fn finish(mut self, genes: &mut Genes) -> Section {
        if genes.once_in(4) {
            self.fill(genes);
        }
        let mut last = self.clone();
        last.commit(genes);
        if registers::fits(&last.section, 0) {
            self = last;
        }
        let one_in = genes.of(&[1, 1, 2]);
        let names = self.names(genes, one_in);
        self.section.result.index = names.index;
        if !registers::fits(&self.section, 0) {
            self.section.result.index = false;
        }
        for value in names.values {
            let named = &mut self.section.result.values;
            if named.contains(&value) || named.len() == VALUES {
                continue;
            }
            named.push(value);
            if !registers::fits(&self.section, 0) {
                self.section.result.values.pop();
            }
        }
        self.section
    }

    /// Loads more and more, until hardly a register is left.
    fn fill(&mut self, genes: &mut Genes) {
        for _ in 0..VALUES {
            let mut longer = self.clone();
            let place = longer.outside_field(genes);
            let loaded = longer.load(place, genes);
            longer.section.result.values.retain(|value| longer.visible.contains(value));
            longer.section.result.values.push(loaded);
            if !registers::fits(&longer.section, 1) {
                break;
            }
            *self = longer;
        }
    }

    fn commit(&mut self, genes: &mut Genes) {
        use Operation::{Add, And, Or, Sub, Xor};
        let place = self.place(genes);
        let forms = [Form::Store, Form::StoreRelease].into_iter();
        let updates: &[Operation] = match place.ty() {
            Ty::Bool => &[And, Or, Xor],
            ty if ty.is_integer() => &[Add, Sub, And, Or, Xor],
            _ => &[],
        };
        let forms: Vec<Form> = forms.chain(updates.iter().copied().map(Form::Update)).collect();
        let (form, value) = (genes.of(&forms), self.operand(place.ty(), genes));
        self.section.commit = Commit { form, place, value };
    }

    /// A new value; now and then under the name of an old one, which is then out of reach.
    fn bind(&mut self, ty: Ty, at_most: u64, annotated: bool, genes: &mut Genes) -> ValueId {
        let id = self.section.values.len();
        let mut name = format!("v{id}");
        if genes.once_in(8) && !self.visible.is_empty() {
            let hidden = self.visible.remove(genes.below(self.visible.len()));
            name.clone_from(&self.section.values[hidden].name);
        }
        self.section.values.push(Value { name, ty, annotated, at_most, not_null: false });
        self.visible.push(id);
        id
    }

    fn load(&mut self, place: Place, genes: &mut Genes) -> ValueId {
        let ty = place.ty();
        let annotated = genes.once_in(4);
        let to = self.bind(ty, ty.max() as u64, annotated, genes);
        self.section.steps.push(Step::Load { to, place });
        to
    }

    /// Loads a pointer, and leaves if it is null.
    fn pointer(&mut self, genes: &mut Genes) {
        let ty = genes.of(&[Ty::Node, Ty::Words]);
        let place = Place::Field { root: self.root(genes), field: pointer_field(ty) };
        let names = self.names(genes, 6);
        let to = self.load(place, genes);
        // The name of one of those may be the pointer's by now.
        let names = Names { values: self.still_visible(names.values), index: names.index };
        let (mut left, mut right) = (Operand::Value(to), Operand::Null);
        if genes.once_in(3) {
            std::mem::swap(&mut left, &mut right);
        }
        self.section.steps.push(Step::Exit { ty, left, comparison: Comparison::Eq, right, names });
        self.section.values[to].not_null = true;
    }

    fn still_visible(&self, values: Vec<ValueId>) -> Vec<ValueId> {
        values.into_iter().filter(|value| self.visible.contains(value)).collect()
    }

    fn compute(&mut self, genes: &mut Genes) {
        use Operation::{Add, And, Or, Shl, Shr, Sub, Xor};
        let computable = |value: &Value| value.ty.is_integer() || value.ty == Ty::Bool;
        let stored = self.stored(|ty| ty.is_integer());
        let mut left = match genes.latest(&self.values_that(computable)) {
            _ if !stored.is_empty() && genes.once_in(3) => Self::before(genes.of(&stored)),
            Some(value) if !genes.once_in(8) => Operand::Value(value),
            _ => self.argument(genes.of(&Ty::INTEGERS), genes),
        };
        let ty = self.ty(&left);
        let operations: &[Operation] =
            if ty == Ty::Bool { &[And, Or, Xor] } else { &[Add, Sub, And, Or, Xor, Shl, Shr, Shl, Shr] };
        let operation = genes.of(operations);
        let mut right = if operation.is_shift() { self.count(genes) } else { self.operand(ty, genes) };
        if operation.is_shift() && genes.once_in(8) {
            left = self.operand(ty, genes);
        } else if !operation.is_shift() && genes.once_in(3) {
            std::mem::swap(&mut left, &mut right);
        }
        let typed = |operand: &Operand| !matches!(operand, Operand::Literal(_));
        let untyped = !typed(&left) && (operation.is_shift() || !typed(&right));
        let at_most = match (&operation, &left, &right) {
            (And, Operand::Literal(mask), _) | (And, _, Operand::Literal(mask)) if ty.is_unsigned() => mask.number,
            _ => ty.max(),
        };
        let annotated = genes.once_in(4) || untyped;
        let to = self.bind(ty, at_most as u64, annotated, genes);
        self.section.steps.push(Step::Compute { to, left, operation, right });
    }

    /// A value of the kind that can be an index.
    fn mask(&mut self, genes: &mut Genes) {
        let left = match genes.latest(&self.values_that(|value| value.ty.is_unsigned())) {
            Some(value) => Operand::Value(value),
            None => self.argument(genes.of(&[Ty::Usize, Ty::U8, Ty::U16, Ty::U32, Ty::U64]), genes),
        };
        let (ty, mask) = (self.ty(&left), genes.of(&[7, 3, 15, 31]));
        let right = Operand::Literal(Literal { number: mask, hexadecimal: genes.once_in(4), suffix: None });
        let to = self.bind(ty, mask as u64, false, genes);
        self.section.steps.push(Step::Compute { to, left, operation: Operation::And, right });
    }

    fn exit(&mut self, genes: &mut Genes) {
        use Comparison::{Eq, Ge, Gt, Le, Lt, Ne};
        let computed = self.computed();
        let left = match (genes.latest(&computed), genes.latest(&self.visible)) {
            (Some(value), _) if genes.once_in(2) => Operand::Value(value),
            (_, Some(value)) => Operand::Value(value),
            (_, None) => self.argument(genes.of(&Ty::INTEGERS), genes),
        };
        let ty = self.ty(&left);
        let comparisons: &[Comparison] =
            if matches!(ty, Ty::Bool | Ty::Option) { &[Eq, Ne] } else { &[Lt, Eq, Ne, Le, Gt, Ge] };
        let comparison = genes.of(comparisons);
        let right = self.operand(ty, genes);
        let names = self.names(genes, 4);
        let (left, right) = if genes.once_in(3) { (right, left) } else { (left, right) };
        self.section.steps.push(Step::Exit { ty, left, comparison, right, names });
    }

    fn copy(&mut self, genes: &mut Genes) {
        const HALF: u64 = BYTES as u64 / 2;
        let index = |draft: &Self, genes: &mut Genes| (!genes.once_in(2)).then(|| draft.index(HALF, genes));
        let from = Bytes { root: self.root(genes), index: index(self, genes) };
        let mut to = Bytes { root: self.root(genes), index: index(self, genes) };
        if matches!(to.root, Root::Slot) && to.index.is_none() {
            // Only an element can be written to behind the shared reference to a slot.
            to.index = Some(self.index(HALF, genes));
        }
        let lengths = self.values_that(|value| value.ty == Ty::Usize && value.at_most < HALF);
        let length = match (genes.latest(&lengths), genes.below(3)) {
            (Some(value), 0) => Operand::Value(value),
            (_, 2) => Operand::Outside(Ty::Usize, Outside::Masked(genes.below(4), HALF - 1)),
            _ => Operand::Literal(Literal { number: genes.below(16) as i128, hexadecimal: false, suffix: None }),
        };
        self.section.steps.push(Step::Copy { from, to, length });
    }

    fn values_that(&self, are: impl Fn(&Value) -> bool) -> Vec<ValueId> {
        self.visible.iter().copied().filter(|value| are(&self.section.values[*value])).collect()
    }

    /// The values that aren't loaded: in them a lowering may leave bits that don't belong there.
    fn computed(&self) -> Vec<ValueId> {
        let computed = |step: &Step| match step {
            Step::Compute { to, operation: Operation::Add | Operation::Sub | Operation::Shl, .. } => Some(*to),
            _ => None,
        };
        let computed = self.section.steps.iter().filter_map(computed);
        computed.filter(|value| self.visible.contains(value)).collect()
    }

    fn ty(&self, operand: &Operand) -> Ty {
        match operand {
            Operand::Value(value) => self.section.values[*value].ty,
            Operand::Outside(ty, _) => *ty,
            Operand::Literal(_) | Operand::Null => unreachable!("asked of what has a type"),
        }
    }

    /// Some of the values in reach, about one in so many, and the index if there is one.
    fn names(&self, genes: &mut Genes, one_in: usize) -> Names {
        let chosen =
            self.visible.iter().copied().filter(|value| (genes.number() >> (value % 8)) % one_in == one_in - 1);
        let values = chosen.take(VALUES).collect();
        Names { values, index: self.section.index.is_some() && genes.once_in(4) }
    }

    fn argument(&self, ty: Ty, genes: &mut Genes) -> Operand {
        Operand::Outside(ty, Outside::Argument(genes.below(4)))
    }

    /// An operand of this type.
    fn operand(&self, ty: Ty, genes: &mut Genes) -> Operand {
        let stored = self.stored(|stored| stored == ty);
        if !stored.is_empty() && genes.once_in(3) {
            return Self::before(genes.of(&stored));
        }
        let values = self.values_that(|value| value.ty == ty);
        match (genes.below(10), genes.latest(&values)) {
            (0..5, Some(value)) => Operand::Value(value),
            (0..7, _) if ty.is_integer() => self.literal(ty, genes),
            (0..7, _) if ty.is_pointer() => Operand::Null,
            (7 | 8, _) if ty.is_pointer() => Operand::Outside(ty, Outside::Address(genes.below(3))),
            (..8, _) => self.argument(ty, genes),
            (8, _) => Operand::Outside(ty, genes.of(&[Bound::Max, Bound::Min]).into()),
            _ => self.any_before(ty, genes),
        }
    }

    /// Fields of such a type that a scratch store changes: ordinary Rust reads them before it.
    fn stored(&self, is: impl Fn(Ty) -> bool) -> Vec<(Param, &'static Field)> {
        let stored = |step: &Step| match step {
            Step::Store { place: Place::Field { root: Root::Param(param), field }, .. } => Some((*param, *field)),
            _ => None,
        };
        self.section.steps.iter().filter_map(stored).filter(|(_, field)| is(field.ty)).collect()
    }

    /// An operand that ordinary Rust reads from memory.
    fn any_before(&self, ty: Ty, genes: &mut Genes) -> Operand {
        let fields: Vec<&'static Field> = FIELDS.iter().filter(|field| field.ty == ty).collect();
        let mut param = Param::Node(genes.below(3));
        if self.section.prepare && self.section.index.is_some() && ty != Ty::Option && genes.once_in(2) {
            param = Param::Slot;
        }
        Self::before((param, genes.of(&fields)))
    }

    fn before((param, field): (Param, &'static Field)) -> Operand {
        Operand::Outside(field.ty, Outside::Field(param, field))
    }

    fn literal(&self, ty: Ty, genes: &mut Genes) -> Operand {
        let interesting = interesting(ty);
        let number = match genes.below(4) {
            0..3 => genes.of(interesting),
            _ => {
                let digits = (0..4).fold(0, |number, _| number << 16 | genes.number() as i128);
                let small = digits >> (8 * genes.below(8));
                if (ty.min()..=ty.max()).contains(&small) { small } else { small & ty.max() }
            }
        };
        let suffix = genes.once_in(4).then_some(ty);
        Operand::Literal(Literal { number, hexadecimal: genes.once_in(4), suffix })
    }

    /// The right side of a shift, of any type.
    fn count(&self, genes: &mut Genes) -> Operand {
        let values = self.values_that(|value| value.ty.is_integer());
        match (genes.below(4), genes.latest(&values)) {
            (0..2, Some(value)) => Operand::Value(value),
            (0..3, _) => {
                let number = genes.of(&[1, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 300, -1, 0]);
                Operand::Literal(Literal { number, hexadecimal: false, suffix: None })
            }
            _ => self.argument(genes.of(&Ty::INTEGERS), genes),
        }
    }

    /// An index below this limit, which is a power of two.
    fn index(&self, limit: u64, genes: &mut Genes) -> Operand {
        let values = self.values_that(|value| value.ty.is_unsigned() && value.at_most < limit);
        match (genes.below(8), genes.latest(&values)) {
            (0..6, Some(value)) => Operand::Value(value),
            (0..7, _) => {
                let number = genes.below(limit as usize) as i128;
                // Without its type, a number in the window is an `i32` to the macro, which is no
                // index.
                Operand::Literal(Literal { number, hexadecimal: false, suffix: Some(Ty::Usize) })
            }
            _ => Operand::Outside(Ty::Usize, Outside::Masked(genes.below(4), limit - 1)),
        }
    }

    fn pointers(&self, ty: Ty) -> Vec<ValueId> {
        self.values_that(|value| value.ty == ty && value.not_null)
    }

    /// A node.
    fn root(&self, genes: &mut Genes) -> Root {
        let node = Root::Param(Param::Node(genes.below(3)));
        let pointer = genes.latest(&self.pointers(Ty::Node));
        let small = genes.latest(&self.values_that(|value| value.ty.is_unsigned() && value.at_most < TARGETS as u64));
        match (genes.below(10), self.section.index, pointer, small) {
            (2..5, Some(_), ..) if self.section.prepare => Root::Param(Param::Slot),
            (2..5, Some(_), ..) => Root::Slot,
            (5..8, _, Some(pointer), _) => Root::Behind(pointer),
            (8, _, Some(pointer), _) => Root::ElementBehind(pointer, self.index(TARGETS as u64, genes)),
            (9, .., Some(small)) => Root::ElementOf(genes.below(3), small),
            _ => node,
        }
    }

    fn place(&self, genes: &mut Genes) -> Place {
        let indexed = self.section.index.is_some();
        match genes.below(12) {
            7 | 8 => self.element(genes),
            9 if indexed => Place::Hits,
            10 if indexed => Place::Big,
            5 | 6 | 11 => self.word(genes).unwrap_or_else(|| self.field(genes)),
            _ => self.field(genes),
        }
    }

    fn field(&self, genes: &mut Genes) -> Place {
        let root = self.root(genes);
        let mut field = &FIELDS[genes.below(FIELDS.len())];
        if field.ty == Ty::Option && matches!(root, Root::Slot | Root::Param(Param::Slot)) {
            // It is no atomic, and so not to be changed behind a shared reference.
            field = &FIELDS[0];
        }
        Place::Field { root, field }
    }

    /// A field that ordinary Rust may have read before.
    fn outside_field(&self, genes: &mut Genes) -> Place {
        Place::Field { root: Root::Param(Param::Node(genes.below(3))), field: &FIELDS[genes.below(FIELDS.len())] }
    }

    fn word(&self, genes: &mut Genes) -> Option<Place> {
        let pointer = genes.latest(&self.pointers(Ty::Words))?;
        let index = genes.once_in(2).then(|| self.index(8, genes));
        Some(Place::Word { pointer, index })
    }

    fn element(&self, genes: &mut Genes) -> Place {
        if let Some(word) = self.word(genes).filter(|_| genes.once_in(3)) {
            return word;
        }
        let root = self.root(genes);
        let array = &ARRAYS[genes.below(ARRAYS.len())];
        let through = match root {
            Root::Param(Param::Node(_)) => genes.of(&[Through::Itself, Through::Slice, Through::RawPointer]),
            _ => Through::Itself,
        };
        let index = self.index(array.length as u64, genes);
        let part = &array.parts[genes.below(array.parts.len())];
        Place::Element { root, array, through, index, part }
    }
}

/// The ends of a type.
#[derive(Clone, Copy)]
enum Bound {
    Max,
    Min,
}

impl From<Bound> for Outside {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Max => Self::Max,
            Bound::Min => Self::Min,
        }
    }
}
