//! Parts that both clauses and steps are made of.

use proc_macro2::{Delimiter, Group, TokenTree};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, Result, Token, parenthesized, token};

use crate::error;

/// A name or `_`.
pub fn name(input: ParseStream<'_>) -> Result<Ident> {
    if input.peek(Token![_]) { input.call(Ident::parse_any) } else { input.parse() }
}

/// The braces that come next, also if a macro of the user's put them there.
pub fn braces(input: ParseStream<'_>) -> Result<Group> {
    let mut token = input.parse::<TokenTree>()?;
    loop {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                token = group.stream().into_iter().next().ok_or_else(|| input.error(error::EMPTY))?;
            }
            TokenTree::Group(group) => return Ok(group),
            other => return Err(syn::Error::new(other.span(), error::EMPTY)),
        }
    }
}

/// So many arguments in parentheses behind `name`; `message` says how many that should be.
pub fn arguments<const N: usize>(name: &Ident, input: ParseStream<'_>, message: &str) -> Result<[Expr; N]> {
    if !input.peek(token::Paren) {
        return Err(syn::Error::new(name.span(), message));
    }
    let inside;
    let parenthesis = parenthesized!(inside in input);
    let arguments: Vec<Expr> = Punctuated::<Expr, Token![,]>::parse_terminated(&inside)?.into_iter().collect();
    arguments.try_into().map_err(|arguments: Vec<Expr>| match (arguments.get(N), arguments.last()) {
        // The first that is too many, or else what is there.
        (Some(beyond), _) => syn::Error::new_spanned(beyond, message),
        (None, Some(last)) => syn::Error::new_spanned(last, message),
        (None, None) => syn::Error::new(parenthesis.span.join(), message),
    })
}
