//! From a checked section to the steps of its protocol: watched if there is a `prepare`, else all
//! in the window.

use proc_macro2::Span;
use syn::Member;

use crate::ids::{ExitId, List, OutsideId, PointeeId, Register, TypeId, ValueId};
use crate::ir::{
    Address, Before, Index, Input, Location, OnAbort, Operand, PointeeSource, Program, RegisterInfo, Step,
};
use crate::resolve::{self, Inside, Place, Root, Statement, Window};
use crate::syntax::ast::{Form, Section};
use crate::syntax::text;

/// Any Rust may run between arming and the window, because the kernel notes every interruption of
/// it: it takes the descriptor out of force, and the check at the window's start sees that.
///
/// With `checked`, the window also compares the index with the one that `prepare` saw. That is seen
/// already where `prepare` makes no system call, and costs a tenth of a short section, so it is for
/// debug builds.
///
/// With `asked`, a window that reads the index by itself tells it, because somebody asks whose the
/// places are that were evaluated before.
pub fn program(section: Section, window: Window, checked: bool, asked: bool) -> Program {
    let (mm_cid, begins_with, operation) = (section.is_mm_cid(), section.begins_with(), section.commit.text);
    let mut lowering = Lowering::new(&window, section.start);
    lowering.tells_index = asked && window.stores_outside().next().is_some();
    let mut before = Vec::new();
    let area = match section.prepare {
        Some(prepare) => {
            before.extend([Before::Guard, Before::Arm]);
            before.extend(section.index.map(|index| Before::Index { name: index.name, kind: index.kind }));
            before.push(Before::Prepare(prepare));
            lowering.watched_start(checked)
        }
        None => lowering.own_start(mm_cid),
    };
    before.push(Before::Outside);
    lowering.area = area;
    for (ty, statement) in window.types().zip(&window.statements) {
        lowering.statement(ty, statement);
    }
    lowering.commit();
    lowering.steps.extend([Step::Post, Step::Disarm { area }]);
    let outputs = lowering.outputs();
    let abort = match section.abort {
        Some(abort) => OnAbort::Run { count: abort.count, body: abort.body },
        None => OnAbort::Relax,
    };
    let Lowering { steps, registers, pointees, .. } = lowering;
    Program {
        location: location(section.start),
        begins_with,
        operation,
        mm_cid,
        before,
        steps,
        area,
        registers,
        window,
        pointees,
        outputs,
        abort,
        result: section.result,
        flaws: Vec::new(),
    }
}

/// Where a token of the user's stands: the call of the macro itself is the shell's.
fn location(token: Span) -> Location {
    if !proc_macro::is_available() {
        return Location::default();
    }
    let span = token.unwrap();
    Location { file: span.file(), line: span.line(), column: span.column() }
}

struct Lowering<'w> {
    window: &'w Window,
    /// Where the section starts, for registers that stand for nothing in particular.
    start: Span,
    steps: Vec<Step>,
    registers: List<Register, RegisterInfo>,
    pointees: List<PointeeId, PointeeSource>,
    /// Where the values of the window are.
    values: List<ValueId, Option<Register>>,
    /// Where what was evaluated before it is.
    outside: List<OutsideId, Option<Register>>,
    /// The distances of fields that are there already.
    distances: Vec<((PointeeSource, Vec<Member>), Register)>,
    area: Register,
    /// The next exit.
    exit: ExitId,
    /// The window tells its index, though nothing of the user's may name it.
    tells_index: bool,
}

impl<'w> Lowering<'w> {
    fn new(window: &'w Window, start: Span) -> Self {
        Self {
            window,
            start,
            steps: Vec::new(),
            registers: List::default(),
            pointees: List::default(),
            values: window.values.map(|_| None),
            outside: window.outside.map(|_| None),
            distances: Vec::new(),
            area: Register(0),
            exit: ExitId(0),
            tells_index: false,
        }
    }

    fn register(&mut self, name: impl Into<String>, span: Span, input: Option<Input>) -> Register {
        self.registers.push(RegisterInfo { name: name.into(), span, input })
    }

    /// The window of a section that was armed before `prepare`.
    fn watched_start(&mut self, checked: bool) -> Register {
        let descriptor = self.register("the thread descriptor", self.start, Some(Input::Descriptor));
        let area = self.register("the thread's area", self.start, Some(Input::Area));
        self.steps.extend([Step::Publish { descriptor }, Step::Start, Step::CheckArmed { area, descriptor }]);
        if checked {
            let index = self.register("the index", self.start, Some(Input::Index));
            self.steps.push(Step::CheckIndex { area, index });
        }
        area
    }

    /// A window that arms and reads the index by itself. The slots come first, because finding one
    /// is what tells that the thread is registered; a concurrency id doesn't tell.
    fn own_start(&mut self, mm_cid: bool) -> Register {
        let area = self.register("the thread's area", self.start, Some(Input::OwnArea));
        let scratch = self.register("the descriptor", self.start, None);
        self.steps.extend([Step::ArmWindow { area, scratch }, Step::Start]);
        let slots: Vec<_> = self.window.slots().collect();
        if mm_cid || slots.is_empty() {
            let scratch = self.register("the CPU", self.start, None);
            self.steps.push(Step::CheckRegistered { area, scratch });
        }
        let needed = self.window.index.filter(|index| slots.len() > 1 || self.is_output(*index));
        let index = match needed {
            Some(value) => {
                let name = &self.window.values[value].name;
                let to = self.register(name.to_string(), name.span(), None);
                self.values[value] = Some(to);
                self.steps.push(Step::ReadIndex { to, area });
                Index::Read(to)
            }
            None => Index::InArea(area),
        };
        for slot in slots {
            let (code, span) = (&self.window.outside[slot].code, self.start);
            let slots = self.register(text(code), span, Some(Input::Slots(slot)));
            let to = self.register(format!("{}[..]", text(code)), span, None);
            let pointee = self.pointees.push(PointeeSource::Slots(slot));
            self.outside[slot] = Some(to);
            self.steps.push(Step::Slot { to, slots, index, pointee });
        }
        area
    }

    fn statement(&mut self, ty: TypeId, statement: &'w Statement) {
        match statement {
            Statement::Load { to, place, .. } => {
                let at = self.place(place);
                let to = self.bind(*to);
                self.steps.push(Step::Load { to, at, ty });
            }
            Statement::Compute { to, left, operation, right, .. } => {
                let (mut left, mut right) = (self.operand(left), self.operand(right));
                if left.register().is_none() && operation.commutes() {
                    std::mem::swap(&mut left, &mut right);
                }
                let to = self.bind(*to);
                self.steps.push(Step::Compute { to, left, operation: *operation, right, ty });
            }
            Statement::Store { place, value } => {
                let (at, value) = (self.place(place), self.operand(value));
                self.steps.push(Step::Store { at, value, ty });
            }
            Statement::Copy { from, to, length } => {
                let (from, to, length) = (self.place(from), self.place(to), self.operand(length));
                self.steps.push(Step::Copy { from, to, length });
            }
            Statement::Exit { left, comparison, right, .. } => {
                let (mut left, mut right) = (self.operand(left), self.operand(right));
                let mut comparison = *comparison;
                if left.register().is_none() {
                    std::mem::swap(&mut left, &mut right);
                    comparison = comparison.mirrored();
                }
                let (exit, area) = (self.exit, self.area);
                self.exit.0 += 1;
                self.steps.push(Step::Exit { left, comparison, right, ty, exit, area });
            }
        }
    }

    fn commit(&mut self) {
        let commit = &self.window.commit;
        let ty = self.window.commit_type();
        let (mut at, value) = (self.place(&commit.place), self.operand(&commit.value));
        // A processor that forwards stores to loads of the same place does so best for plain
        // addresses.
        if at.offset.is_some() {
            let to = self.register("the place", self.start, None);
            self.steps.push(Step::Field { to, at });
            at = Address::at(to);
        }
        self.steps.push(match commit.form {
            Form::Store(order) => Step::CommitStore { at, value, order, ty },
            Form::Update(operation) => Step::CommitUpdate { at, operation, value, ty },
        });
    }

    fn bind(&mut self, value: ValueId) -> Register {
        let name = &self.window.values[value].name;
        let register = self.register(name.to_string(), name.span(), None);
        self.values[value] = Some(register);
        register
    }

    /// Where a value is.
    fn value(&self, value: ValueId) -> Register {
        self.values[value].expect("a value is used behind the step that makes it")
    }

    fn outside(&mut self, id: OutsideId, span: Span, input: Input) -> Register {
        if let Some(register) = self.outside[id] {
            return register;
        }
        let register = self.register(text(&self.window.outside[id].code), span, Some(input));
        self.outside[id] = Some(register);
        register
    }

    fn operand(&mut self, operand: &resolve::Operand) -> Operand {
        match operand {
            resolve::Operand::Value(value, _) => Operand::Register(self.value(*value)),
            resolve::Operand::Literal(number, _) => Operand::Immediate(*number),
            resolve::Operand::Null(_) => Operand::Immediate(0),
            resolve::Operand::Outside(id, span) => {
                let id = self.window.first_of(*id);
                Operand::Register(self.outside(id, *span, Input::Operand(id)))
            }
        }
    }

    fn place(&mut self, place: &Place) -> Address {
        match place {
            Place::Outside(id, span) => Address::at(self.outside(*id, *span, Input::Place(*id))),
            Place::Pointer(value, _) => Address::at(self.value(*value)),
            Place::Inside(inside) => self.inside(inside),
        }
    }

    fn inside(&mut self, inside: &Inside) -> Address {
        let has_offset = inside.has_offset();
        let mut folded = false;
        let mut base = match &inside.root {
            Root::Behind(value, _) => self.value(*value),
            Root::ElementBehind(value, span, index) => {
                let base = self.value(*value);
                self.element(base, index, PointeeSource::of(&inside.root), *span)
            }
            Root::Slot(id, ..) => self.outside[*id].expect("slots are found at the start of the window"),
            Root::Element(id, span, index) => {
                folded = has_offset && inside.element.is_none();
                let input = Input::Elements(*id, folded.then_some(inside.id));
                // With a field's distance folded in it is a place of its own.
                let first = if folded {
                    self.register(text(&self.window.outside[*id].code), *span, Some(input))
                } else {
                    self.outside(*id, *span, input)
                };
                self.element(first, index, PointeeSource::of(&inside.root), *span)
            }
        };
        if let Some((index, _)) = &inside.element {
            base = self.element(base, index, PointeeSource::ElementOf(inside.id), inside.span);
        }
        let offset = (has_offset && !folded).then(|| self.distance(inside));
        Address { base, offset }
    }

    /// The distance of a place's field, in one register for all places that have the same in the
    /// same structure.
    fn distance(&mut self, inside: &Inside) -> Register {
        let field = inside.element.is_none().then(|| (PointeeSource::of(&inside.root), inside.fields.clone()));
        if let Some((_, register)) =
            field.as_ref().and_then(|field| self.distances.iter().find(|(known, _)| known == field))
        {
            return *register;
        }
        let register = self.register("the distance of a field", inside.span, Some(Input::Offset(inside.id)));
        self.distances.extend(field.map(|field| (field, register)));
        register
    }

    fn element(&mut self, base: Register, index: &resolve::Operand, pointee: PointeeSource, span: Span) -> Register {
        let index = self.operand(index);
        let pointee = self.pointees.push(pointee);
        let to = self.register("an element's address", span, None);
        self.steps.push(Step::Element { to, base, index, pointee });
        to
    }

    fn is_output(&self, value: ValueId) -> bool {
        self.window.is_named(value) || self.tells_index && self.window.index == Some(value)
    }

    fn outputs(&self) -> Vec<(ValueId, Register)> {
        let outputs = self.values.ids().filter(|value| self.is_output(*value));
        outputs.map(|value| (value, self.value(value))).collect()
    }
}
