//! The meaning of a window's expressions: which of them name values of the window, and which are
//! ordinary Rust, evaluated before it.
//!
//! The values of a window live in registers that the compiler knows nothing of, so their names can
//! stand only where the grammar has them.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprField, ExprIndex, ExprLit, ExprPath, ExprUnary, Ident, Lit, Macro, Member, Pat, Type, UnOp,
};

use crate::error::{self, Errors};
use crate::ids::{InsideId, List, OutsideId, TypeId, ValueId};
use crate::names::{self, Name};
use crate::syntax;
use crate::syntax::ast::{Commit, Comparison, Form, Operation, Section, Step};

/// A window with every name resolved.
pub struct Window {
    /// The index, if the window reads it by itself.
    pub index: Option<ValueId>,
    pub values: List<ValueId, Value>,
    /// Ordinary Rust, evaluated before the window in this order.
    pub outside: List<OutsideId, Outside>,
    pub statements: Vec<Statement>,
    pub commit: Publication,
    /// The values that the result names.
    pub in_result: Vec<ValueId>,
}

/// A value of the window.
pub struct Value {
    pub name: Ident,
    /// The type of the statement that makes it; the index has none.
    pub ty: Option<TypeId>,
}

/// An expression that is evaluated before the window.
pub struct Outside {
    pub kind: OutsideKind,
    pub code: Expr,
}

/// The purpose of an expression that is evaluated before the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutsideKind {
    Place,
    Operand,
    /// The value of a commit to this place, or of a store to it.
    ValueOf(OutsideId),
    /// The `PerCpu` of a slot.
    Slots,
    /// An array, a slice or a raw pointer, of which an element is selected in the window.
    Elements,
    Source,
    Destination,
}

/// A step of `critical`.
#[allow(clippy::large_enum_variant, reason = "there are a handful in a section")]
pub enum Statement {
    Load { to: ValueId, ty: Option<Type>, place: Place },
    Compute { to: ValueId, ty: Option<Type>, left: Operand, operation: Operation, right: Operand },
    Store { place: Place, value: Operand },
    Copy { from: Place, to: Place, length: Operand },
    Exit { left: Operand, comparison: Comparison, right: Operand, names: Vec<ValueId>, value: Expr },
}

impl Statement {
    /// The value of an exit, with the values of the window that it names.
    fn exit(&self) -> Option<(&[ValueId], &Expr)> {
        match self {
            Self::Exit { names, value, .. } => Some((names, value)),
            Self::Load { .. } | Self::Compute { .. } | Self::Store { .. } | Self::Copy { .. } => None,
        }
    }
}

/// The commit.
pub struct Publication {
    pub form: Form,
    pub place: Place,
    pub value: Operand,
}

#[derive(Clone)]
pub enum Operand {
    Value(ValueId, Span),
    /// A number that fits into an instruction, and its tokens.
    Literal(i64, Expr),
    Null(Span),
    Outside(OutsideId, Span),
}

impl Operand {
    /// A constant is part of the instruction.
    fn is_constant(&self) -> bool {
        matches!(self, Self::Literal(..) | Self::Null(_))
    }
}

#[allow(clippy::large_enum_variant, reason = "there are a handful in a section")]
pub enum Place {
    Outside(OutsideId, Span),
    /// A pointer that is a value of the window.
    Pointer(ValueId, Span),
    Inside(Inside),
}

impl Place {
    fn outside(&self) -> Option<OutsideId> {
        match self {
            Self::Outside(id, _) => Some(*id),
            Self::Pointer(..) | Self::Inside(_) => None,
        }
    }
}

/// A place that is found in the window.
pub struct Inside {
    pub id: InsideId,
    /// `&`, `&raw mut` and the like.
    pub ampersand: TokenStream,
    pub root: Root,
    pub fields: Vec<Member>,
    /// An element of that field, and fields of it.
    pub element: Option<(Operand, Vec<Member>)>,
    pub span: Span,
}

pub enum Root {
    /// `*pointer`
    Behind(ValueId, Span),
    /// `pointer[operand]`
    ElementBehind(ValueId, Span, Operand),
    /// `slots[index]`, with the place of the index.
    Slot(OutsideId, Span, Span),
    /// `elements[operand]`
    Element(OutsideId, Span, Operand),
}

impl Inside {
    /// A place has an offset if it has fields, whose distance must be added.
    pub fn has_offset(&self) -> bool {
        !self.fields.is_empty() || self.element.as_ref().is_some_and(|(_, fields)| !fields.is_empty())
    }
}

impl Window {
    /// The types of the statements, and of the commit.
    pub fn types(&self) -> impl Iterator<Item = TypeId> + use<> {
        (0..=self.statements.len()).map(TypeId)
    }

    /// The type of the commit.
    pub fn commit_type(&self) -> TypeId {
        TypeId(self.statements.len())
    }

    /// Every place, in the order in which the window uses them.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let in_statements = self.statements.iter().flat_map(|statement| match statement {
            Statement::Load { place, .. } | Statement::Store { place, .. } => vec![place],
            Statement::Copy { from, to, .. } => vec![from, to],
            Statement::Compute { .. } | Statement::Exit { .. } => Vec::new(),
        });
        in_statements.chain([&self.commit.place])
    }

    /// The places, evaluated before the window, that it stores to, in that order.
    pub fn stores_outside(&self) -> impl Iterator<Item = OutsideId> {
        let stored = self.statements.iter().filter_map(|statement| match statement {
            Statement::Store { place, .. } | Statement::Copy { to: place, .. } => place.outside(),
            Statement::Load { .. } | Statement::Compute { .. } | Statement::Exit { .. } => None,
        });
        stored.chain(self.commits_outside())
    }

    /// The slots that the window finds by itself.
    pub fn slots(&self) -> impl Iterator<Item = OutsideId> {
        self.outside.ids().filter(|id| self.outside[*id].kind == OutsideKind::Slots)
    }

    /// That of the commit, if it is one.
    pub fn commits_outside(&self) -> Option<OutsideId> {
        self.commit.place.outside()
    }

    /// A value has a name if an expression uses it that is evaluated when the window is over.
    pub fn is_named(&self, value: ValueId) -> bool {
        self.in_result.contains(&value) || self.exits().any(|(names, _)| names.contains(&value))
    }

    /// The values of the exits, with the values of the window that they name.
    pub fn exits(&self) -> impl Iterator<Item = (&[ValueId], &Expr)> {
        self.statements.iter().filter_map(Statement::exit)
    }

    /// The first operand that is the same variable as this one, which has one value if nothing that
    /// is evaluated with it can change it.
    pub fn first_of(&self, operand: OutsideId) -> OutsideId {
        let Some(name) = as_variable(&self.outside[operand].code) else { return operand };
        let same = |outside: &Outside| {
            outside.kind == OutsideKind::Operand
                && as_variable(&outside.code).is_some_and(|other| same(other, &Name::from(name)))
        };
        let unchanged = self.outside.iter().all(|outside| is_constant_place(&outside.code));
        self.outside.ids().find(|id| same(&self.outside[*id])).filter(|_| unchanged).unwrap_or(operand)
    }
}

/// The window of a section. What is wrong is reported; then there is none.
pub fn window(section: &Section, errors: &mut Errors) -> Option<Window> {
    let own_index = section.index.as_ref().filter(|_| section.prepare.is_none());
    let (values, outside) = (List::default(), List::default());
    let mut scope =
        Scope { errors, values, outside, index: None, statement: TypeId(0), inside: InsideId(0), right: true };
    if let Some(index) = own_index {
        scope.index = Some(scope.bind(&index.name, None));
    }
    if let Some(prepare) = &section.prepare {
        scope.no_values_in_prepare(prepare, &section.steps);
    }
    let mut statements = Vec::new();
    for step in &section.steps {
        statements.extend(scope.statement(step));
        scope.statement.0 += 1;
    }
    if let Some(beyond) = exits(&section.steps).nth(MOST_EXITS) {
        scope.wrong(start(beyond), error::too_many_exits(MOST_EXITS));
    }
    let commit = scope.commit(&section.commit);
    let in_result = section.result.as_ref().map(|result| scope.named(result)).unwrap_or_default();
    if let Some(index) = own_index
        && scope.right
        && !index.name.to_string().starts_with('_')
        && !scope.index_is_used(&statements, &in_result)
    {
        // The section is one that rustc can read.
        scope.errors.at(index.name.span(), error::index_unused(&index.name.to_string()));
    }
    let window = Window {
        index: scope.index,
        in_result,
        statements,
        commit: commit?,
        values: scope.values,
        outside: scope.outside,
    };
    scope.right.then_some(window)
}

/// So many exits are told apart by numbers that no address is as small as.
const MOST_EXITS: usize = 30;

/// The values of the exits.
fn exits(steps: &[Step]) -> impl Iterator<Item = &Expr> {
    steps.iter().filter_map(|step| match step {
        Step::Exit { value, .. } => Some(value),
        _ => None,
    })
}

/// A name that was found in some code is the same as this one if the words are. Where a macro of
/// the user's made one of them, equal words may be different names.
fn same(one: &Ident, other: &Name) -> bool {
    one.unraw() == other.word && context(one.span()) == context(other.span)
}

/// The macro expansion that a token comes from, as far as a span tells: it prints as `#12
/// bytes(3..4)`. Empty where it doesn't.
fn context(span: Span) -> String {
    let text = format!("{span:?}");
    text.split_once(" bytes").map_or_else(String::new, |(context, _)| context.to_owned())
}

struct Scope<'e> {
    errors: &'e mut Errors,
    values: List<ValueId, Value>,
    outside: List<OutsideId, Outside>,
    index: Option<ValueId>,
    /// The type of the statement that is resolved.
    statement: TypeId,
    /// The next place that is found in the window.
    inside: InsideId,
    right: bool,
}

impl Scope<'_> {
    fn wrong(&mut self, span: Span, message: impl std::fmt::Display) {
        self.errors.at(span, message);
        self.right = false;
    }

    fn bind(&mut self, name: &Ident, ty: Option<TypeId>) -> ValueId {
        self.values.push(Value { name: name.clone(), ty })
    }

    /// The value of this name, the latest if it was bound several times.
    fn value(&self, name: &Name) -> Option<ValueId> {
        self.values.ids().rfind(|value| same(&self.values[*value].name, name))
    }

    /// The value that an expression is, if it is but a name.
    fn as_value(&self, code: &Expr) -> Option<(ValueId, Span)> {
        let name = as_name(code)?;
        Some((self.value(&Name::from(name))?, name.span()))
    }

    /// The values that an expression may name, each once.
    fn named(&self, code: &impl ToTokens) -> Vec<ValueId> {
        let mut values = Vec::new();
        for name in names::of(code.to_token_stream()) {
            if let Some(value) = self.value(&name)
                && !values.contains(&value)
            {
                values.push(value);
            }
        }
        values
    }

    /// The index is used if it selects a slot, or is a value that the section ends with.
    fn index_is_used(&self, statements: &[Statement], in_result: &[ValueId]) -> bool {
        let selects = self.outside.iter().any(|outside| outside.kind == OutsideKind::Slots);
        let names = statements.iter().filter_map(Statement::exit).map(|(names, _)| names);
        selects || names.chain([in_result]).flatten().any(|value| Some(*value) == self.index)
    }

    fn statement(&mut self, step: &Step) -> Option<Statement> {
        Some(match step {
            Step::Load { name, ty, place } => {
                let place = self.place(place, OutsideKind::Place);
                let to = self.bind(name, Some(self.statement));
                Statement::Load { to, ty: ty.clone(), place: place? }
            }
            Step::Compute { name, ty, left, operation, right } => {
                let (left, right) = (self.operand(left), self.operand(right));
                let to = self.bind(name, Some(self.statement));
                Statement::Compute { to, ty: ty.clone(), left: left?, operation: *operation, right: right? }
            }
            Step::Store { place, value } => {
                let place = self.place(place, OutsideKind::Place);
                let value = self.value_of(place.as_ref(), value);
                Statement::Store { place: place?, value: value? }
            }
            Step::Copy { from, to, length } => {
                let (from, to) = (self.place(from, OutsideKind::Source), self.place(to, OutsideKind::Destination));
                let length = self.operand(length);
                Statement::Copy { from: from?, to: to?, length: length? }
            }
            Step::Exit { left, comparison, right, value } => {
                let at = start(left);
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                if left.is_constant() && right.is_constant() {
                    self.wrong(at, error::COMPARISON_OF_CONSTANTS);
                }
                let names = self.named(value);
                Statement::Exit { left, comparison: *comparison, right, names, value: value.clone() }
            }
        })
    }

    fn commit(&mut self, commit: &Commit) -> Option<Publication> {
        let place = self.place(&commit.place, OutsideKind::Place);
        let value = self.value_of(place.as_ref(), &commit.value);
        Some(Publication { form: commit.form, place: place?, value: value? })
    }

    /// The value for a place: if both are ordinary Rust, the place says what type it must have.
    fn value_of(&mut self, place: Option<&Place>, code: &Expr) -> Option<Operand> {
        match (self.operand(code)?, place) {
            (Operand::Outside(value, span), Some(Place::Outside(place, _))) => {
                self.outside[value].kind = OutsideKind::ValueOf(*place);
                Some(Operand::Outside(value, span))
            }
            (value, _) => Some(value),
        }
    }

    fn operand(&mut self, code: &Expr) -> Option<Operand> {
        let code = bare(code);
        if let Some((value, span)) = self.as_value(code) {
            if Some(value) == self.index {
                self.wrong(span, error::INDEX_AS_OPERAND);
                return None;
            }
            return Some(Operand::Value(value, span));
        }
        if let Some(number) = literal(code) {
            return Some(Operand::Literal(number, code.clone()));
        }
        if matches!(code, Expr::Call(call) if syntax::is_load(&call.func)) {
            self.wrong(start(code), error::LOAD_AS_OPERAND);
            return None;
        }
        if as_name(code).is_some_and(|name| name == "null") {
            return Some(Operand::Null(start(code)));
        }
        self.outside(code, OutsideKind::Operand).map(|(id, span)| Operand::Outside(id, span))
    }

    /// Ordinary Rust. What is but names and fields has the same value each time, and is evaluated
    /// once.
    fn outside(&mut self, code: &Expr, kind: OutsideKind) -> Option<(OutsideId, Span)> {
        if let Some(&value) = self.named(code).first() {
            let name = self.values[value].name.to_string();
            let message = if Some(value) == self.index {
                error::INDEX_IN_EXPRESSION.to_owned()
            } else {
                error::in_expression(&name)
            };
            self.wrong(start(code), message);
            return None;
        }
        let once = kind != OutsideKind::Operand && is_constant_place(code);
        let known = once.then(|| self.evaluated(code, kind)).flatten();
        let id = known.unwrap_or_else(|| self.outside.push(Outside { kind, code: code.clone() }));
        Some((id, start(code)))
    }

    /// The same expression, if it is evaluated already for the same purpose.
    fn evaluated(&self, code: &Expr, kind: OutsideKind) -> Option<OutsideId> {
        let text = written(code);
        let is_same = |known: &Outside| known.kind == kind && written(&known.code) == text;
        self.outside.ids().find(|id| is_same(&self.outside[*id]))
    }

    fn place(&mut self, code: &Expr, kind: OutsideKind) -> Option<Place> {
        let code = bare(code);
        if let Some((value, span)) = self.as_value(code) {
            self.no_index(value, span)?;
            return Some(Place::Pointer(value, span));
        }
        if self.named(code).is_empty() {
            return self.outside(code, kind).map(|(id, span)| Place::Outside(id, span));
        }
        let (ampersand, place) = match code {
            Expr::Reference(reference) => {
                let (and, mutability) = (&reference.and_token, &reference.mutability);
                (quote::quote!(#and #mutability), &*reference.expr)
            }
            Expr::RawAddr(address) => {
                let (and, raw, mutability) = (&address.and_token, &address.raw, &address.mutability);
                (quote::quote!(#and #raw #mutability), &*address.expr)
            }
            other => {
                self.wrong(start(other), error::PLACE_WITHOUT_AMPERSAND);
                return None;
            }
        };
        self.inside(ampersand, place).map(Place::Inside)
    }

    /// The index leads to no place.
    fn no_index(&mut self, value: ValueId, span: Span) -> Option<()> {
        if Some(value) == self.index {
            self.wrong(span, error::INDEX_AS_A_PLACE);
            return None;
        }
        Some(())
    }

    /// Takes a place apart, from its last field to what it is rooted in.
    fn inside(&mut self, ampersand: TokenStream, code: &Expr) -> Option<Inside> {
        let span = start(code);
        let (mut fields, mut element) = (Vec::new(), None);
        let mut rest = bare(code);
        let root = loop {
            match rest {
                Expr::Field(ExprField { base, member, .. }) => {
                    fields.insert(0, member.clone());
                    rest = bare(base);
                }
                Expr::Unary(ExprUnary { op: UnOp::Deref(_), expr, .. }) => {
                    let Some((value, _)) = self.as_value(bare(expr)) else {
                        self.wrong(start(expr), error::DEREFERENCE);
                        return None;
                    };
                    self.no_index(value, start(expr))?;
                    break Root::Behind(value, start(rest));
                }
                Expr::Index(ExprIndex { expr: base, index, .. }) => {
                    let base = bare(base);
                    if let Some((value, span)) = self.as_value(base) {
                        self.no_index(value, span)?;
                        break Root::ElementBehind(value, span, self.operand(index)?);
                    }
                    if self.named(base).is_empty() {
                        break self.root_outside(base, index)?;
                    }
                    if element.is_some() {
                        self.wrong(start(index), error::TWO_INDICES);
                        return None;
                    }
                    element = Some((self.operand(index)?, std::mem::take(&mut fields)));
                    rest = base;
                }
                other => {
                    let named = self.as_value(other).map(|(value, _)| self.values[value].name.to_string());
                    self.wrong(start(other), error::not_a_place_inside(named.as_deref()));
                    return None;
                }
            }
        };
        let id = self.inside;
        self.inside.0 += 1;
        Some(Inside { id, ampersand, root, fields, element, span })
    }

    /// A slot or an element of something that is ordinary Rust.
    fn root_outside(&mut self, base: &Expr, index: &Expr) -> Option<Root> {
        let is_slot = self.as_value(bare(index)).is_some_and(|(value, _)| Some(value) == self.index);
        if is_slot {
            let (slots, span) = self.outside(base, OutsideKind::Slots)?;
            return Some(Root::Slot(slots, span, start(index)));
        }
        let (elements, span) = self.outside(base, OutsideKind::Elements)?;
        Some(Root::Element(elements, span, self.operand(index)?))
    }

    /// `prepare` runs before the window, so nothing that is loaded there can be used in it.
    fn no_values_in_prepare(&mut self, prepare: &Block, steps: &[Step]) {
        let bound: Vec<&Ident> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Load { name, .. } | Step::Compute { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        let mut names = Names::default();
        names.visit_block(prepare);
        for used in names.used {
            if bound.iter().any(|name| same(name, &used)) && !names.bound.iter().any(|name| same(name, &used)) {
                self.wrong(used.span, error::value_in_prepare(&used.word));
            }
        }
    }
}

/// The names that some code uses, and those that it binds.
#[derive(Default)]
struct Names<'a> {
    used: Vec<Name>,
    bound: Vec<&'a Ident>,
}

impl<'ast> Visit<'ast> for Names<'ast> {
    fn visit_expr_path(&mut self, node: &'ast ExprPath) {
        self.used.extend(node.path.get_ident().map(Name::from));
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        self.used.extend(names::of_arguments(node.tokens.clone()));
    }

    fn visit_pat(&mut self, node: &'ast Pat) {
        if let Pat::Ident(pattern) = node {
            self.bound.push(&pattern.ident);
        }
        visit::visit_pat(self, node);
    }
}

/// Without the parentheses around it, and without those that nobody sees around what a macro of the
/// user's put in.
fn bare(code: &Expr) -> &Expr {
    match code {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::Group(inner) => bare(&inner.expr),
        other => other,
    }
}

fn as_name(code: &Expr) -> Option<&Ident> {
    match bare(code) {
        Expr::Path(path) => path.path.get_ident(),
        _ => None,
    }
}

/// The name of a variable. (Others may mean something else each time: `None` has many types.)
fn as_variable(code: &Expr) -> Option<&Ident> {
    as_name(code)
        .filter(|name| name.unraw().to_string().starts_with(|first: char| first.is_lowercase() || first == '_'))
}

/// A number that every instruction can hold.
fn literal(code: &Expr) -> Option<i64> {
    let number = match code {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<i64>().ok()?,
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => match &**expr {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<i64>().ok()?.checked_neg()?,
            _ => return None,
        },
        _ => return None,
    };
    i32::try_from(number).is_ok().then_some(number)
}

/// Names, fields and references to them are the same each time they are evaluated.
fn is_constant_place(code: &Expr) -> bool {
    match bare(code) {
        Expr::Path(_) => true,
        Expr::Field(field) => is_constant_place(&field.base),
        Expr::Reference(reference) => is_constant_place(&reference.expr),
        Expr::RawAddr(address) => is_constant_place(&address.expr),
        Expr::Unary(ExprUnary { op: UnOp::Deref(_), expr, .. }) => is_constant_place(expr),
        _ => false,
    }
}

/// An expression's names with the expansions that they come from: equal for the same expression
/// alone.
fn written(code: &Expr) -> String {
    let mut text = code.to_token_stream().to_string();
    for name in names::of(code.to_token_stream()) {
        text.push_str(&context(name.span));
    }
    text
}

/// Where an expression starts: a span for a message about all of it.
fn start(code: &Expr) -> Span {
    let mut tokens = code.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    tokens.last().and_then(|last| first.join(last.span())).unwrap_or(first)
}
