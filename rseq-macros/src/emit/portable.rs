//! The window as Rust: what its statements mean, which is where the types come from that the asm's
//! operands need, and what runs in portable mode.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Expr, ExprLit, Ident, Lit, Member};

use super::tokens::{
    allow_unsafe, exit_number, hidden, index_kind, located, operands, outside, own_at, typed, unsafety,
};
use crate::ids::{ExitId, TypeId, ValueId};
use crate::ir::Program;
use crate::resolve::{Inside, Operand, Place, Root, Statement};
use crate::syntax::ast::{Form, Order};

/// `portable`: runs the window's statements and says how it ended. A window that reads its index by
/// itself takes one here.
pub fn closure(program: &Program, private: &TokenStream) -> TokenStream {
    let mut portable =
        Portable { program, private, bound: usize::from(program.window.index.is_some()), exit: ExitId(0) };
    let mut body = TokenStream::new();
    for (ty, statement) in program.window.types().zip(&program.window.statements) {
        body.extend(portable.statement(ty, statement));
    }
    body.extend(portable.commit());
    let values = portable.values();
    let (operands, kind, allow) = (operands(program), index_kind(program.mm_cid, private), allow_unsafe());
    hidden! {
        #allow
        #[allow(unused_variables)]
        let __rseq_portable = #private::with_operands(#operands, move |#operands, __rseq_index: #kind| {
            #body
            #private::Outcome::committed(#values)
        });
    }
}

struct Portable<'p> {
    program: &'p Program,
    private: &'p TokenStream,
    /// How many values are bound so far.
    bound: usize,
    /// The next exit.
    exit: ExitId,
}

/// The name of a value.
fn value(id: ValueId, span: Span) -> Ident {
    own_at(format_args!("value_{id}"), span)
}

impl Portable<'_> {
    fn statement(&mut self, ty: TypeId, statement: &Statement) -> TokenStream {
        let (private, typed, allow) = (self.private, typed(ty), allow_unsafe());
        match statement {
            Statement::Load { to, ty, place } => {
                let (target, name) = (self.target(place), self.bind(*to));
                let ty = ty.as_ref().map(|ty| hidden!(: #ty));
                // SAFETY of the expansion, here and below: for a raw pointer, the user's `unsafe`
                // around the macro says that it may be used.
                hidden! {
                    #target
                    #allow
                    let #name #ty = unsafe { #private::load(#typed, __rseq_target) };
                }
            }
            Statement::Compute { to, ty, left, operation, right } => {
                let name = self.bind(*to);
                let ty = ty.as_ref().map(|ty| hidden!(: #ty));
                let function = Ident::new(operation.name(), Span::mixed_site());
                let (left, right) = (self.operand(left), self.operand(right));
                hidden!(let #name #ty = #typed.is(#private::#function(#left, #right));)
            }
            Statement::Store { place, value } => {
                let (target, value) = (self.target(place), self.operand(value));
                hidden! {
                    #target
                    let __rseq_value = __rseq_target.value(#value);
                    #allow
                    unsafe {
                        #private::store(
                            #typed, __rseq_target, __rseq_value, #private::core::sync::atomic::Ordering::Relaxed
                        )
                    };
                }
            }
            Statement::Copy { from, to, length } => {
                let (from, to) = (self.bytes(from, "source"), self.bytes(to, "destination"));
                let length = self.operand(length);
                hidden! {
                    let __rseq_from = { #from };
                    let __rseq_to = { #to };
                    let __rseq_length: #private::core::primitive::usize = #length;
                    #allow
                    unsafe { #private::copy(__rseq_from, __rseq_to, __rseq_length) };
                }
            }
            Statement::Exit { left, comparison, right, .. } => {
                let function = Ident::new(comparison.name(), Span::mixed_site());
                let (left, right) = (self.operand(left), self.operand(right));
                let (number, values) = (exit_number(self.exit), self.values());
                self.exit.0 += 1;
                hidden! {
                    if #private::#function(#typed.is(#left), #right) {
                        return #private::Outcome { end: #number, values: #values };
                    }
                }
            }
        }
    }

    fn commit(&self) -> TokenStream {
        let commit = &self.program.window.commit;
        let (private, typed, allow) = (self.private, typed(self.program.window.commit_type()), allow_unsafe());
        let (target, value) = (self.target(&commit.place), self.operand(&commit.value));
        let release = commit.form == Form::Store(Order::Release);
        let order = if release { hidden!(Release) } else { hidden!(Relaxed) };
        let new = match commit.form {
            Form::Store(_) => hidden!(__rseq_value),
            Form::Update(operation) => {
                let function = Ident::new(operation.name(), Span::mixed_site());
                hidden!(#private::#function(unsafe { #private::load(#typed, __rseq_target) }, __rseq_value))
            }
        };
        hidden! {
            #target
            let __rseq_value = __rseq_target.value(#value);
            #allow
            let __rseq_new = #new;
            #allow
            unsafe {
                #private::store(#typed, __rseq_target, __rseq_new, #private::core::sync::atomic::Ordering::#order)
            };
        }
    }

    /// The bits of the outputs, as far as they are computed.
    // SAFETY of the expansion: the values of a window are words, which is asked for where each is
    // loaded or computed.
    fn values(&self) -> TokenStream {
        let private = self.private;
        let values = self.program.outputs.iter().map(|(id, _)| {
            if Some(*id) == self.program.window.index {
                return hidden!(#private::index_bits(__rseq_index));
            }
            let name = self.name(*id);
            if id.0 < self.bound { hidden!(unsafe { #private::bits(#name) }) } else { hidden!(0) }
        });
        hidden!([#(#values),*])
    }

    /// The name of a value that comes to be.
    fn bind(&mut self, id: ValueId) -> Ident {
        self.bound = id.0 + 1;
        self.name(id)
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
        let private = self.private;
        match self.reference(place) {
            Ok(reference) => {
                let unsafety = unsafety(&hidden!(__rseq_target.access()), &reference);
                hidden! {
                    let __rseq_target = #private::target(#reference);
                    #unsafety
                }
            }
            Err(evaluated) => hidden!(let __rseq_target = #evaluated;),
        }
    }

    /// A pointer of `copy`.
    fn bytes(&self, place: &Place, end: &str) -> TokenStream {
        let private = self.private;
        match self.reference(place) {
            Ok(pointer) => {
                let end = Ident::new(end, Span::mixed_site());
                let unsafety = unsafety(&hidden!(__rseq_bytes), &pointer);
                hidden! {
                    let __rseq_bytes = #private::#end(#pointer);
                    #unsafety
                    __rseq_bytes
                }
            }
            Err(evaluated) => evaluated.into_token_stream(),
        }
    }

    /// The reference or pointer to a place that is found in the window, or else the name of what
    /// was evaluated before it, and checked then.
    fn reference(&self, place: &Place) -> Result<TokenStream, Ident> {
        match place {
            Place::Outside(id, _) => Err(outside(*id)),
            Place::Pointer(id, span) => Ok(value(*id, *span).into_token_stream()),
            Place::Inside(inside) => {
                let (place, ampersand) = (self.inside(inside), &inside.ampersand);
                Ok(quote_spanned!(located(inside.span)=> #ampersand #place))
            }
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
                let index = own_at("index", *index);
                quote_spanned!(located(*span)=> (*#private::slot(#id, #index)))
            }
            Root::Element(id, span, index) => {
                let index = self.element_index(index);
                quote_spanned!(located(*span)=> (*#id.element(#index)))
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
