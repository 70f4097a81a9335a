//! The user's code as text on one line, for messages and lists.

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::parse::ParseStream;

/// These tokens.
pub fn text(code: &impl ToTokens) -> String {
    on_one_line(&code.to_token_stream().to_string())
}

/// A text without its line breaks and indentation.
pub fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The start of the token that comes next.
pub fn found(input: ParseStream<'_>) -> String {
    const LENGTH: usize = 20;
    let text = input.fork().parse::<TokenTree>().map(|token| token.to_string()).unwrap_or_default();
    if text.chars().count() <= LENGTH {
        return text;
    }
    text.chars().take(LENGTH).chain("..".chars()).collect()
}
