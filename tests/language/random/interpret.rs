//! The meaning of a section by its description alone: a third opinion, beside asm and the portable
//! mode.
//!
//! Values are mathematical integers, made to fit their type after each operation. With a [`Flaw`],
//! one thing is done wrong: what a test can't tell from the right thing, no random section checks.

use std::sync::OnceLock;

use super::memory::{BASE, COMMITTED, Node, VALUES};
use super::section::{
    Abort, BIG, Bytes, Comparison, Form, HITS, Literal, Names, Operand, Operation, Outside, Param, Place, Root, SLOT,
    Section, Step, Ty,
};

/// Something that the interpreter does wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    AddSubtracts,
    SubAdds,
    AndIsOr,
    OrIsXor,
    XorIsOr,
    /// The operands of `-` change places.
    SubMirrored,
    /// In place, `add` subtracts.
    UpdateSubtracts,
    /// In place, `and`, `or` and `xor` store.
    UpdateStores,
    SignedComparedAsUnsigned,
    UnsignedComparedAsSigned,
    /// Of two equal values, the first is taken for smaller or larger: `<` is `<=`, and `>=` is `>`.
    EqualMistaken,
    /// The operands of `<` and its like change places.
    ComparisonMirrored,
    /// A count that is too large shifts everything out.
    CountNotMasked,
    /// Narrow types take the count by 5 bits, as the machine does.
    CountMaskedAsMachine,
    ArithmeticShiftIsLogical,
    LogicalShiftIsArithmetic,
    SignedLoadZeroExtends,
    UnsignedLoadSignExtends,
    /// A result keeps the bits that its type has no room for.
    NotTruncated,
    /// Stores have 8 bits more than their type.
    StoreTooWide,
    ScratchStoreLost,
    CopyOneShort,
    IndexNotScaled,
    FieldForgotten,
    ElementFieldForgotten,
    /// Expressions are evaluated when they are needed, not before the window.
    OutsideLate,
    PrepareLeftOut,
    /// An abort takes back what the attempt stored.
    AbortTakesBack,
    /// An abort comes a statement late.
    AbortLate,
    /// An aborted attempt commits all the same.
    AbortCommits,
    /// Each attempt evaluates the expressions anew, also where nothing of the user's runs in
    /// between.
    OutsideAgain,
    /// No attempt but the first one evaluates the expressions.
    OutsideOnce,
}

impl Flaw {
    pub const ALL: &[Self] = &[
        Self::AddSubtracts,
        Self::SubAdds,
        Self::AndIsOr,
        Self::OrIsXor,
        Self::XorIsOr,
        Self::SubMirrored,
        Self::UpdateSubtracts,
        Self::UpdateStores,
        Self::SignedComparedAsUnsigned,
        Self::UnsignedComparedAsSigned,
        Self::EqualMistaken,
        Self::ComparisonMirrored,
        Self::CountNotMasked,
        Self::CountMaskedAsMachine,
        Self::ArithmeticShiftIsLogical,
        Self::LogicalShiftIsArithmetic,
        Self::SignedLoadZeroExtends,
        Self::UnsignedLoadSignExtends,
        Self::NotTruncated,
        Self::StoreTooWide,
        Self::ScratchStoreLost,
        Self::CopyOneShort,
        Self::IndexNotScaled,
        Self::FieldForgotten,
        Self::ElementFieldForgotten,
        Self::OutsideLate,
        Self::PrepareLeftOut,
        Self::AbortTakesBack,
        Self::AbortLate,
        Self::AbortCommits,
        Self::OutsideAgain,
        Self::OutsideOnce,
    ];

    /// `true` if it shows only where a section is aborted.
    pub fn is_of_aborts(self) -> bool {
        matches!(
            self,
            Self::AbortTakesBack | Self::AbortLate | Self::AbortCommits | Self::OutsideAgain | Self::OutsideOnce
        )
    }
}

/// How a section ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub exit: u64,
    pub values: [u64; VALUES],
    pub image: Vec<u8>,
}

/// Runs a section on a memory. Each of its first attempts is aborted after so many half statements,
/// if it gets there.
pub fn run(section: &Section, arguments: &[u64], image: &[u8], aborts: &[usize], flaw: Option<Flaw>) -> Outcome {
    let mut arguments = arguments.to_vec();
    if section.prepare && flaw != Some(Flaw::PrepareLeftOut) {
        arguments[0] ^= 1;
    }
    let evaluates_again = match flaw {
        Some(Flaw::OutsideAgain) => true,
        Some(Flaw::OutsideOnce) => false,
        _ => section.prepare || section.abort != Abort::None,
    };
    let (mut before, mut image) = (image.to_vec(), image.to_vec());
    for abort in aborts {
        let values = vec![0; section.values.len()];
        let machine =
            Machine { section, arguments: arguments.clone(), before: &before, image: image.clone(), values, flaw };
        match machine.run(Some(*abort)) {
            Ok(outcome) => return outcome,
            Err(_) if flaw == Some(Flaw::AbortTakesBack) => {}
            Err(stored) => image = stored,
        }
        if evaluates_again {
            before.clone_from(&image);
        }
    }
    let values = vec![0; section.values.len()];
    let last = Machine { section, arguments, before: &before, image, values, flaw };
    last.run(None).unwrap_or_else(|_| unreachable!("nothing aborts it"))
}

struct Machine<'s> {
    section: &'s Section,
    arguments: Vec<u64>,
    before: &'s [u8],
    image: Vec<u8>,
    values: Vec<i128>,
    flaw: Option<Flaw>,
}

impl Machine<'_> {
    /// Runs to the end, or to where it is aborted: then there is but what it stored.
    fn run(mut self, abort: Option<usize>) -> Result<Outcome, Vec<u8>> {
        let section = self.section;
        let abort = abort.map(|abort| if self.is(Flaw::AbortLate) { abort + 2 } else { abort });
        let mut exit = 0;
        for (number, step) in section.steps.iter().enumerate() {
            match abort {
                Some(abort) if abort == 2 * number => return Err(self.aborted()),
                Some(abort) if abort == 2 * number + 1 => {
                    if let Step::Copy { from, to, length } = step {
                        self.copy(from, to, self.operand(length) as usize / 2);
                        return Err(self.aborted());
                    }
                }
                _ => {}
            }
            match step {
                Step::Load { to, place } => self.values[*to] = self.load(&self.image, self.place(place), place.ty()),
                Step::Compute { to, left, operation, right } => {
                    let ty = section.values[*to].ty;
                    let (left, right) = (self.operand(left), self.operand(right));
                    self.values[*to] = self.compute(ty, left, *operation, right);
                }
                Step::Store { .. } if self.is(Flaw::ScratchStoreLost) => {}
                Step::Store { place, value } => self.store(self.place(place), place.ty(), self.operand(value)),
                Step::Copy { from, to, length } => self.copy(from, to, self.operand(length) as usize),
                Step::Exit { ty, left, comparison, right, names } => {
                    if self.compare(*ty, self.operand(left), *comparison, self.operand(right)) {
                        return Ok(self.outcome(exit, names));
                    }
                    exit += 1;
                }
            }
        }
        if abort == Some(2 * section.steps.len()) {
            return Err(self.aborted());
        }
        self.commit();
        Ok(self.outcome(COMMITTED, &section.result))
    }

    fn aborted(mut self) -> Vec<u8> {
        if self.is(Flaw::AbortCommits) {
            self.commit();
        }
        self.image
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn outcome(self, exit: u64, names: &Names) -> Outcome {
        let mut values = [0; VALUES];
        for (named, value) in names.values.iter().zip(&mut values) {
            *value = bits(self.section.values[*named].ty, self.values[*named]);
        }
        Outcome { exit, values, image: self.image }
    }

    fn commit(&mut self) {
        let commit = &self.section.commit;
        let (at, ty, value) = (self.place(&commit.place), commit.place.ty(), self.operand(&commit.value));
        let old = self.load(&self.image, at, ty);
        let new = match (commit.form, self.flaw) {
            (Form::Store | Form::StoreRelease, _) => value,
            (Form::Update(Operation::Add), Some(Flaw::UpdateSubtracts)) => fit(ty, old - value),
            (Form::Update(Operation::And | Operation::Or | Operation::Xor), Some(Flaw::UpdateStores)) => value,
            (Form::Update(operation), _) => apply(ty, old, operation, value),
        };
        self.store(at, ty, new);
    }

    fn load(&self, image: &[u8], at: usize, ty: Ty) -> i128 {
        let mut bytes = [0; 8];
        let found = image.get(at..at + ty.bits() as usize / 8).unwrap_or_default();
        bytes[..found.len()].copy_from_slice(found);
        let signed = if self.is(Flaw::SignedLoadZeroExtends) {
            false
        } else {
            ty.is_signed() || (self.is(Flaw::UnsignedLoadSignExtends) && ty.is_integer())
        };
        extend(u64::from_le_bytes(bytes).into(), ty.bits(), signed)
    }

    fn store(&mut self, at: usize, ty: Ty, value: i128) {
        let mut bytes = ty.bits() as usize / 8;
        if self.is(Flaw::StoreTooWide) {
            bytes += 1;
        }
        // With a flaw a place may be anywhere.
        if let Some(place) = self.image.get_mut(at..at + bytes) {
            place.copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }

    fn copy(&mut self, from: &Bytes, to: &Bytes, mut length: usize) {
        let start = |bytes: &Bytes, field: usize| {
            let index = bytes.index.as_ref().map_or(0, |index| self.operand(index));
            // With a flaw an index may be anything.
            (self.root(&bytes.root) + field).wrapping_add(index as usize)
        };
        let from = start(from, std::mem::offset_of!(Node, source));
        let to = start(to, std::mem::offset_of!(Node, target));
        if self.is(Flaw::CopyOneShort) {
            length = length.saturating_sub(1);
        }
        // With a flaw a length may be anything.
        let length = length.min(self.image.len());
        let inside = |start: usize| start.checked_add(length).is_some_and(|end| end <= self.image.len());
        if inside(from) && inside(to) {
            self.image.copy_within(from..from + length, to);
        }
    }

    fn operand(&self, operand: &Operand) -> i128 {
        match operand {
            Operand::Value(value) => self.values[*value],
            Operand::Literal(Literal { number, .. }) => *number,
            Operand::Null => 0,
            Operand::Outside(ty, outside) => self.outside(*ty, outside),
        }
    }

    fn outside(&self, ty: Ty, outside: &Outside) -> i128 {
        match outside {
            Outside::Argument(number) if ty == Ty::Bool => i128::from(self.arguments[*number] & 1),
            Outside::Argument(number) => fit(ty, self.arguments[*number].into()),
            Outside::Masked(number, mask) => (self.arguments[*number] & mask).into(),
            Outside::Min => ty.min(),
            Outside::Max => ty.max(),
            Outside::Field(param, field) => {
                let image = if self.is(Flaw::OutsideLate) { &self.image } else { self.before };
                self.load(image, param_at(*param) + field.at, field.ty)
            }
            Outside::Address(node) => {
                let field = if ty == Ty::Words { std::mem::offset_of!(Node, plain) } else { 0 };
                i128::from(BASE) + (param_at(Param::Node(*node)) + field) as i128
            }
        }
    }

    /// Where a place is in the image.
    fn place(&self, place: &Place) -> usize {
        match place {
            Place::Field { root, field } => self.root(root) + if self.is(Flaw::FieldForgotten) { 0 } else { field.at },
            Place::Element { root, array, index, part, .. } => {
                let part = if self.is(Flaw::ElementFieldForgotten) { 0 } else { part.at };
                self.root(root) + array.at + self.element(self.operand(index), array.size) + part
            }
            Place::Hits => HITS,
            Place::Big => BIG,
            Place::Word { pointer, index } => {
                let index = index.as_ref().map_or(0, |index| self.operand(index));
                self.pointer(*pointer) + self.element(index, 4)
            }
        }
    }

    fn element(&self, index: i128, size: usize) -> usize {
        // With a flaw an index may be any number.
        (index as usize).wrapping_mul(if self.is(Flaw::IndexNotScaled) { 1 } else { size }) % self.image.len()
    }

    fn root(&self, root: &Root) -> usize {
        match root {
            Root::Param(param) => param_at(*param),
            Root::Slot => SLOT,
            Root::Behind(pointer) => self.pointer(*pointer),
            Root::ElementBehind(pointer, index) => {
                self.pointer(*pointer) + self.element(self.operand(index), size_of::<Node>())
            }
            Root::ElementOf(node, index) => {
                param_at(Param::Node(*node)) + self.element(self.values[*index], size_of::<Node>())
            }
        }
    }

    fn pointer(&self, pointer: usize) -> usize {
        (self.values[pointer] - i128::from(BASE)).rem_euclid(self.image.len() as i128) as usize
    }

    fn compute(&self, ty: Ty, left: i128, operation: Operation, right: i128) -> i128 {
        let width = i128::from(ty.bits());
        match (operation, self.flaw) {
            (Operation::Add, Some(Flaw::AddSubtracts)) => fit(ty, left - right),
            (Operation::Sub, Some(Flaw::SubAdds)) => fit(ty, left + right),
            (Operation::Sub, Some(Flaw::SubMirrored)) => fit(ty, right - left),
            (Operation::And, Some(Flaw::AndIsOr)) => left | right,
            (Operation::Or, Some(Flaw::OrIsXor)) => left ^ right,
            (Operation::Xor, Some(Flaw::XorIsOr)) => left | right,
            (Operation::Shl, Some(Flaw::CountNotMasked)) if right as u32 >= ty.bits() => 0,
            (Operation::Shr, Some(Flaw::CountNotMasked)) if right as u32 >= ty.bits() => 0,
            (Operation::Shl | Operation::Shr, Some(Flaw::CountMaskedAsMachine)) if width < 32 => {
                let count = right.rem_euclid(32);
                fit(ty, if operation == Operation::Shl { left << count } else { left >> count })
            }
            (Operation::Shr, Some(Flaw::ArithmeticShiftIsLogical)) => {
                fit(ty, extend(left, ty.bits(), false) >> right.rem_euclid(width))
            }
            (Operation::Shr, Some(Flaw::LogicalShiftIsArithmetic)) => {
                fit(ty, extend(left, ty.bits(), true) >> right.rem_euclid(width))
            }
            (Operation::Add, Some(Flaw::NotTruncated)) => extend(left + right, 64, ty.is_signed()),
            (Operation::Sub, Some(Flaw::NotTruncated)) => extend(left - right, 64, ty.is_signed()),
            (Operation::Shl, Some(Flaw::NotTruncated)) => extend(left << right.rem_euclid(width), 64, ty.is_signed()),
            _ => apply(ty, left, operation, right),
        }
    }

    fn compare(&self, ty: Ty, left: i128, comparison: Comparison, right: i128) -> bool {
        let signed = match self.flaw {
            Some(Flaw::SignedComparedAsUnsigned) if ty.is_signed() => Some(false),
            Some(Flaw::UnsignedComparedAsSigned) if !ty.is_signed() => Some(true),
            _ => None,
        };
        let ranked = |value| signed.map_or(value, |signed| extend(value, ty.bits(), signed));
        let (mut left, mut right) = (ranked(left), ranked(right));
        if self.is(Flaw::ComparisonMirrored) {
            std::mem::swap(&mut left, &mut right);
        }
        let ordered = !matches!(comparison, Comparison::Eq | Comparison::Ne);
        if self.is(Flaw::EqualMistaken) && ordered && left == right {
            return matches!(comparison, Comparison::Lt | Comparison::Gt);
        }
        match comparison {
            Comparison::Eq => left == right,
            Comparison::Ne => left != right,
            Comparison::Lt => left < right,
            Comparison::Le => left <= right,
            Comparison::Gt => left > right,
            Comparison::Ge => left >= right,
        }
    }
}

/// Where in the image something is that ordinary Rust can name.
fn param_at(param: Param) -> usize {
    match param {
        Param::Node(node) => node * size_of::<Node>(),
        Param::Slot => SLOT,
    }
}

/// The lower bits of a number, extended.
fn extend(number: i128, bits: u32, signed: bool) -> i128 {
    let unused = i128::BITS - bits;
    let at_the_top = number << unused;
    if signed { at_the_top >> unused } else { (at_the_top.cast_unsigned() >> unused).cast_signed() }
}

/// A number as the type has it, which wraps.
fn fit(ty: Ty, number: i128) -> i128 {
    extend(number, ty.bits(), ty.is_signed())
}

/// A value's bits, as many as its type has.
fn bits(ty: Ty, value: i128) -> u64 {
    extend(value, ty.bits(), false) as u64
}

fn apply(ty: Ty, left: i128, operation: Operation, right: i128) -> i128 {
    let count = right.rem_euclid(ty.bits().into());
    let number = match operation {
        Operation::Add => left + right,
        Operation::Sub => left - right,
        Operation::And => left & right,
        Operation::Or => left | right,
        Operation::Xor => left ^ right,
        Operation::Shl => left << count,
        Operation::Shr => left >> count,
    };
    fit(ty, number)
}

/// The interpreter's arithmetic is Rust's.
#[test]
fn arithmetic_is_rusts() {
    macro_rules! check {
        ($($ty:ident $number:ty),*) => {$(
            for &left in interesting(Ty::$ty) {
                for &right in interesting(Ty::$ty) {
                    let (l, r) = (left as $number, right as $number);
                    let rust = [
                        (Operation::Add, l.wrapping_add(r)),
                        (Operation::Sub, l.wrapping_sub(r)),
                        (Operation::And, l & r),
                        (Operation::Or, l | r),
                        (Operation::Xor, l ^ r),
                        (Operation::Shl, l.wrapping_shl(r as u32)),
                        (Operation::Shr, l.wrapping_shr(r as u32)),
                    ];
                    for (operation, expected) in rust {
                        let found = apply(Ty::$ty, left, operation, right);
                        assert_eq!(found, i128::from(expected), "{left} {operation:?} {right}, both {:?}", Ty::$ty);
                    }
                }
            }
        )*};
    }
    check!(U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64);
}

/// Numbers at which mistakes show. Computed once, because every memory is full of them.
pub fn interesting(ty: Ty) -> &'static [i128] {
    static NUMBERS: [OnceLock<Vec<i128>>; Ty::INTEGERS.len()] = [const { OnceLock::new() }; Ty::INTEGERS.len()];
    let integer = Ty::INTEGERS.iter().position(|integer| *integer == ty).expect("asked of integers");
    NUMBERS[integer].get_or_init(|| ends(ty))
}

fn ends(ty: Ty) -> Vec<i128> {
    let near = |number: i128| [number - 1, number, number + 1];
    let around = [ty.min(), 0, ty.max() / 2, ty.max(), ty.bits().into(), 0xffff, 0xff, 5].into_iter().flat_map(near);
    let mut numbers: Vec<i128> = around.filter(|number| (ty.min()..=ty.max()).contains(number)).collect();
    numbers.sort_by_key(|number| number.abs());
    numbers.dedup();
    numbers
}
