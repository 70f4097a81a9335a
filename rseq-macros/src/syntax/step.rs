//! The steps of `critical`. After a mistake it goes on with the next step.

use proc_macro2::{Group, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{BinOp, Expr, Ident, Result, Token, braced, token};

use super::ast::{Comparison, Operation, Step};
use super::parts::{arguments, braces, name};
use super::text::found;
use crate::error::{self, Errors};

/// The steps in the braces, and whether all of them could be read.
pub fn steps(body: Group, errors: &mut Errors) -> (Vec<Step>, bool) {
    let parser = |input: ParseStream<'_>| {
        let (mut steps, mut whole) = (Vec::new(), true);
        while !input.is_empty() {
            match step(input) {
                Ok(step) => steps.push(step),
                Err(error) => {
                    errors.push(error);
                    whole = false;
                    skip_step(input);
                }
            }
        }
        Ok((steps, whole))
    };
    // The parser takes every token and never fails, so there is no error here.
    parser.parse2(body.stream()).unwrap_or_default()
}

/// Passes over what is left of a step: up to its semicolon, or the braces that end it.
fn skip_step(input: ParseStream<'_>) {
    while let Ok(token) = input.parse::<TokenTree>() {
        match token {
            TokenTree::Punct(end) if end.as_char() == ';' => return,
            TokenTree::Group(braces)
                if braces.delimiter() == proc_macro2::Delimiter::Brace && !input.peek(Token![=]) =>
            {
                let _may_be_missing = input.parse::<Option<Token![;]>>();
                return;
            }
            _ if input.peek(Token![let]) => return,
            _ => {}
        }
    }
}

fn step(input: ParseStream<'_>) -> Result<Step> {
    if input.peek(Token![let]) {
        return binding(input);
    }
    if input.peek(Token![if]) {
        return exit(input);
    }
    let start = input.span();
    if !input.peek(Ident::peek_any) {
        return Err(no_step(input));
    }
    let word = input.call(Ident::parse_any)?;
    let step = match word.to_string().as_str() {
        "store" => {
            let [place, value] = arguments(&word, input, error::SCRATCH_STORE)?;
            Step::Store { place, value }
        }
        "copy" => {
            let [from, to, length] = arguments(&word, input, error::COPY)?;
            Step::Copy { from, to, length }
        }
        "store_release" => return Err(syn::Error::new(start, error::RELEASE_IN_CRITICAL)),
        "add" | "sub" | "and" | "or" | "xor" if input.peek(token::Paren) => {
            return Err(syn::Error::new(start, error::UPDATE_IN_CRITICAL));
        }
        "load" if input.peek(token::Paren) => return Err(syn::Error::new(start, error::LOAD_WITHOUT_NAME)),
        "exit" => return Err(syn::Error::new(start, error::EXIT_WITHOUT_IF)),
        "commit" => return Err(syn::Error::new(start, error::COMMIT_IN_CRITICAL)),
        other => return Err(syn::Error::new(start, error::no_step(other))),
    };
    semicolon(input)?;
    Ok(step)
}

fn no_step(input: ParseStream<'_>) -> syn::Error {
    input.error(error::no_step(&found(input)))
}

fn semicolon(input: ParseStream<'_>) -> Result<()> {
    if input.peek(Token![;]) {
        input.parse::<Token![;]>()?;
        return Ok(());
    }
    Err(input.error(error::NO_SEMICOLON))
}

/// `let name: ty = load(place);` or `let name: ty = left + right;`
fn binding(input: ParseStream<'_>) -> Result<Step> {
    input.parse::<Token![let]>()?;
    if input.peek(Token![mut]) {
        return Err(input.error(error::LET_MUT));
    }
    if !input.peek(Ident::peek_any) || input.peek2(token::Paren) || input.peek2(Token![::]) {
        return Err(input.error(error::LET_PATTERN));
    }
    let name = name(input)?;
    let ty = if input.peek(Token![:]) {
        input.parse::<Token![:]>()?;
        Some(input.parse()?)
    } else {
        None
    };
    if !input.peek(Token![=]) {
        return Err(input.error(error::LET_WITHOUT_VALUE));
    }
    input.parse::<Token![=]>()?;
    let step = match input.parse::<Expr>()? {
        Expr::Call(call) if is_load(&call.func) => {
            let mut arguments = call.args.into_iter();
            match (arguments.next(), arguments.next()) {
                (Some(place), None) => Step::Load { name, ty, place },
                (_, Some(second)) => return Err(syn::Error::new_spanned(second, error::LOAD)),
                (None, None) => return Err(syn::Error::new(call.paren_token.span.join(), error::LOAD)),
            }
        }
        Expr::Binary(binary) => match operation(&binary.op) {
            Some(operation) => Step::Compute { name, ty, left: *binary.left, operation, right: *binary.right },
            None => return Err(syn::Error::new(binary.op.span(), error::OPERATION)),
        },
        other => return Err(syn::Error::new_spanned(other, error::LET)),
    };
    semicolon(input)?;
    Ok(step)
}

pub fn is_load(function: &Expr) -> bool {
    matches!(function, Expr::Path(path) if path.path.is_ident("load"))
}

fn operation(operator: &BinOp) -> Option<Operation> {
    Some(match operator {
        BinOp::Add(_) => Operation::Add,
        BinOp::Sub(_) => Operation::Sub,
        BinOp::BitAnd(_) => Operation::And,
        BinOp::BitOr(_) => Operation::Or,
        BinOp::BitXor(_) => Operation::Xor,
        BinOp::Shl(_) => Operation::Shl,
        BinOp::Shr(_) => Operation::Shr,
        _ => return None,
    })
}

fn comparison(operator: &BinOp) -> Option<Comparison> {
    Some(match operator {
        BinOp::Eq(_) => Comparison::Eq,
        BinOp::Ne(_) => Comparison::Ne,
        BinOp::Lt(_) => Comparison::Lt,
        BinOp::Le(_) => Comparison::Le,
        BinOp::Gt(_) => Comparison::Gt,
        BinOp::Ge(_) => Comparison::Ge,
        _ => return None,
    })
}

/// `if left == right { exit value }`
fn exit(input: ParseStream<'_>) -> Result<Step> {
    let keyword: Token![if] = input.parse()?;
    let (left, comparison, right) = match Expr::parse_without_eager_brace(input)? {
        Expr::Binary(binary) => match comparison(&binary.op) {
            Some(comparison) => (*binary.left, comparison, *binary.right),
            None => return Err(syn::Error::new(binary.op.span(), error::COMPARISON)),
        },
        other => return Err(syn::Error::new_spanned(other, error::COMPARISON)),
    };
    if !input.peek(token::Brace) {
        return Err(syn::Error::new(keyword.span, error::EXIT));
    }
    let body = braces(&input.fork())?;
    let value = exit_value.parse2(TokenTree::from(body.clone()).into()).map_err(|error| at_exit(error, &body))?;
    braces(input)?;
    if input.peek(Token![else]) {
        return Err(input.error(error::ELSE));
    }
    if input.peek(Token![;]) {
        input.parse::<Token![;]>()?;
    }
    Ok(Step::Exit { left, comparison, right, value })
}

/// `{ exit value }`
fn exit_value(input: ParseStream<'_>) -> Result<Expr> {
    let inside;
    braced!(inside in input);
    if !inside.peek(Ident::peek_any) || inside.call(Ident::parse_any)? != "exit" {
        return Err(inside.error(error::EXIT));
    }
    if inside.is_empty() || inside.peek(Token![;]) {
        inside.parse::<Option<Token![;]>>()?;
        return nothing(&inside);
    }
    let value = inside.parse()?;
    inside.parse::<Option<Token![;]>>()?;
    if inside.is_empty() { Ok(value) } else { Err(inside.error(error::AFTER_EXIT)) }
}

/// The value of an `exit` without one.
fn nothing(rest: ParseStream<'_>) -> Result<Expr> {
    if rest.is_empty() { syn::parse2(quote::quote!(())) } else { Err(rest.error(error::AFTER_EXIT)) }
}

/// An error at the end of the braces is shown there, not at the macro's call.
fn at_exit(error: syn::Error, body: &Group) -> syn::Error {
    let empty = body.stream().is_empty();
    if empty { syn::Error::new(body.span_close(), error) } else { error }
}
