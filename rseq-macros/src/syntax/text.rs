//! The user's code as text on one line, for messages and lists.

use quote::ToTokens;

/// These tokens.
pub fn text(code: &impl ToTokens) -> String {
    on_one_line(&code.to_token_stream().to_string())
}

/// A text without its line breaks and indentation.
pub fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
