//! The window as Rust: what its statements mean, which is where the types come from that the asm's operands need, and what runs in
//! portable mode.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::{Expr, ExprLit, Ident, Lit, Member};

use super::{allow_unsafe, exit_number, hidden, index_kind, located, operands, outside, typed, unsafety};
use crate::ir::Program;
use crate::lower;
use crate::resolve::{Inside, Operand, Place, Root, Statement, ValueId};
use crate::syntax::ast::Form;

/// `portable`: runs the window's statements and says how it ended. A window that reads its index by itself takes one here.
pub fn closure(program: &Program, private: &TokenStream) -> TokenStream {
    let portable = Portable { program, private };
    let mut exit = 0;
    let mut body = TokenStream::new();
    let mut bound = program.window.index.is_some() as usize;
    for (id, statement) in program.window.statements.iter().enumerate() {
        match statement {
            Statement::Exit { .. } => {
                body.extend(portable.exit(id, statement, exit, bound));
                exit += 1;
            }
            other => body.extend(portable.statement(id, other)),
        }
        bound += usize::from(matches!(statement, Statement::Load { .. } | Statement::Compute { .. }));
    }
    body.extend(portable.commit());
    let values = portable.values(bound);
    let (operands, kind) = (operands(program), index_kind(program, private));
    hidden! {
        #[allow(unused_variables)]
        let portable = #private::with_operands(#operands, move |#operands, index: #kind| {
            #body
            #private::Outcome::committed(#values)
        });
    }
}

struct Portable<'p> {
    program: &'p Program,
    private: &'p TokenStream,
}

/// The name of a value.
fn value(id: ValueId, span: Span) -> Ident {
    format_ident!("value_{id}", span = located(span))
}

impl Portable<'_> {
    fn statement(&self, id: usize, statement: &Statement) -> TokenStream {
        let (private, typed, allow) = (self.private, typed(id), allow_unsafe());
        match statement {
            Statement::Load { to, ty, place } => {
                let (target, name) = (self.target(place), self.name(*to));
                let ty = ty.as_ref().map(|ty| hidden!(: #ty));
                // SAFETY of the expansion, here and below: for a raw pointer, the user's `unsafe` around the macro says that it may be used.
                hidden! {
                    #target
                    #allow
                    let #name #ty = unsafe { #private::load(#typed, target) };
                }
            }
            Statement::Compute { to, ty, left, operation, right } => {
                let name = self.name(*to);
                let ty = ty.as_ref().map(|ty| hidden!(: #ty));
                let function = format_ident!("{}", operation.name(), span = Span::mixed_site());
                let (left, right) = (self.operand(left), self.operand(right));
                hidden!(let #name #ty = #typed.is(#private::#function(#left, #right));)
            }
            Statement::Store { place, value } => {
                let (target, value) = (self.target(place), self.operand(value));
                hidden! {
                    #target
                    let value = target.value(#value);
                    #allow
                    unsafe { #private::store(#typed, target, value, #private::core::sync::atomic::Ordering::Relaxed) };
                }
            }
            Statement::Copy { from, to, length } => {
                let (from, to) = (self.bytes(from, "source"), self.bytes(to, "destination"));
                let length = self.operand(length);
                hidden! {
                    let from = { #from };
                    let to = { #to };
                    let length: #private::core::primitive::usize = #length;
                    #allow
                    unsafe { #private::copy(from, to, length) };
                }
            }
            Statement::Exit { .. } => TokenStream::new(),
        }
    }

    fn exit(&self, id: usize, statement: &Statement, exit: usize, bound: usize) -> TokenStream {
        let Statement::Exit { left, comparison, right, .. } = statement else { return TokenStream::new() };
        let (private, typed) = (self.private, typed(id));
        let function = format_ident!("{}", comparison.name(), span = Span::mixed_site());
        let (left, right) = (self.operand(left), self.operand(right));
        let (number, values) = (exit_number(exit), self.values(bound));
        hidden! {
            if #private::#function(#typed.is(#left), #right) {
                return #private::Outcome { end: #number, values: #values };
            }
        }
    }

    fn commit(&self) -> TokenStream {
        let commit = &self.program.window.commit;
        let (private, typed, allow) = (self.private, typed(self.program.window.statements.len()), allow_unsafe());
        let (target, value) = (self.target(&commit.place), self.operand(&commit.value));
        let order = if lower::is_release(commit.form) { hidden!(Release) } else { hidden!(Relaxed) };
        let new = match commit.form {
            Form::Store(_) => hidden!(value),
            Form::Update(operation) => {
                let function = format_ident!("{}", operation.name(), span = Span::mixed_site());
                hidden!(#private::#function(unsafe { #private::load(#typed, target) }, value))
            }
        };
        hidden! {
            #target
            let value = target.value(#value);
            #allow
            let new = #new;
            #allow
            unsafe { #private::store(#typed, target, new, #private::core::sync::atomic::Ordering::#order) };
        }
    }

    /// The bits of the outputs, as far as they are computed when so many values are bound.
    fn values(&self, bound: usize) -> TokenStream {
        let private = self.private;
        let values = self.program.outputs.iter().map(|(id, _)| {
            if Some(*id) == self.program.window.index {
                return hidden!(#private::index_bits(index));
            }
            let name = self.name(*id);
            if *id < bound { hidden!(#private::bits(#name)) } else { hidden!(0) }
        });
        hidden!([#(#values),*])
    }

    fn name(&self, id: ValueId) -> Ident {
        value(id, self.program.window.values[id].name.span())
    }

    /// An index, which is a `usize` if it is a number that doesn't say what it is.
    fn element_index(&self, index: &Operand) -> TokenStream {
        let private = self.private;
        match index {
            Operand::Literal(_, Expr::Lit(ExprLit { lit: Lit::Int(number), .. })) if number.suffix().is_empty() => {
                hidden!(#private::core::convert::identity::<#private::core::primitive::usize>(#number))
            }
            index => self.operand(index),
        }
    }

    fn operand(&self, operand: &Operand) -> TokenStream {
        let private = self.private;
        match operand {
            Operand::Value(id, span) => value(*id, *span).into_token_stream(),
            Operand::Literal(_, literal) => literal.into_token_stream(),
            Operand::Null(span) => {
                let null = Ident::new("null", located(*span));
                hidden!(#private::#null())
            }
            Operand::Outside(id, span) => {
                let mut name = outside(*id);
                name.set_span(located(*span));
                name.into_token_stream()
            }
        }
    }

    /// `target`: a place as something to load from or store to.
    fn target(&self, place: &Place) -> TokenStream {
        match place {
            Place::Outside(id, _) => {
                let name = outside(*id);
                hidden!(let target = #name;)
            }
            Place::Pointer(id, span) => self.checked_target(&value(*id, *span).into_token_stream()),
            Place::Inside(inside) => {
                let place = self.inside(inside);
                let ampersand = &inside.ampersand;
                let reference = quote_spanned!(located(inside.span)=> #ampersand #place);
                self.checked_target(&reference)
            }
        }
    }

    /// `target`, with the call that is unsafe for a raw pointer.
    fn checked_target(&self, place: &TokenStream) -> TokenStream {
        let private = self.private;
        let unsafety = unsafety(&hidden!(target.access()), place);
        hidden! {
            let target = #private::target(#place);
            #unsafety
        }
    }

    /// A pointer of `copy`.
    fn bytes(&self, place: &Place, end: &str) -> TokenStream {
        let private = self.private;
        let pointer = match place {
            Place::Outside(id, _) => return outside(*id).into_token_stream(),
            Place::Pointer(id, span) => value(*id, *span).into_token_stream(),
            Place::Inside(inside) => {
                let (place, ampersand) = (self.inside(inside), &inside.ampersand);
                quote_spanned!(located(inside.span)=> #ampersand #place)
            }
        };
        let end = Ident::new(end, Span::mixed_site());
        let unsafety = unsafety(&hidden!(bytes), &pointer);
        hidden! {
            let bytes = #private::#end(#pointer);
            #unsafety
            bytes
        }
    }

    /// The place itself, without its `&`.
    fn inside(&self, inside: &Inside) -> TokenStream {
        let private = self.private;
        let place = match &inside.root {
            Root::Behind(id, span) => {
                let name = value(*id, *span);
                quote_spanned!(located(*span)=> (*#name))
            }
            Root::ElementBehind(id, span, index) => {
                let (name, index) = (value(*id, *span), self.element_index(index));
                quote_spanned!(located(*span)=> (*#private::elements(&#name).element(#index)))
            }
            Root::Slot(id, span, index) => {
                let (name, index) = (outside(*id), Ident::new("index", located(*index)));
                quote_spanned!(located(*span)=> (*#private::slot(#name, #index)))
            }
            Root::Element(id, span, index) => {
                let (name, index) = (outside(*id), self.element_index(index));
                quote_spanned!(located(*span)=> (*#name.element(#index)))
            }
        };
        let place = with_fields(&place, &inside.fields);
        match &inside.element {
            None => place,
            Some((index, fields)) => {
                let index = self.element_index(index);
                let element = quote_spanned!(located(inside.span)=> (*#private::elements(&#place).element(#index)));
                with_fields(&element, fields)
            }
        }
    }
}

/// `place.a.b`
pub fn with_fields(place: &TokenStream, fields: &[Member]) -> TokenStream {
    hidden!(#place #(.#fields)*)
}
