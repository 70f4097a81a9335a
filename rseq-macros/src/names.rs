//! The names in a piece of the user's Rust, as far as its tokens tell: also those in the arguments
//! of macros, and in the format strings among them.

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::{Ident, Lit};

/// A word that may be the name of a value.
pub struct Name {
    /// Without `r#`.
    pub word: String,
    pub span: Span,
}

impl From<&Ident> for Name {
    fn from(name: &Ident) -> Self {
        Self { word: name.unraw().to_string(), span: name.span() }
    }
}

/// Every word that may be the name of a value: not those behind a dot, which are fields and
/// methods.
pub fn of(tokens: TokenStream) -> Vec<Name> {
    let mut names = Vec::new();
    find(tokens, false, &mut names);
    names
}

/// The same of the arguments of a macro.
pub fn of_arguments(tokens: TokenStream) -> Vec<Name> {
    let mut names = Vec::new();
    find(tokens, true, &mut names);
    names
}

fn find(tokens: TokenStream, in_macro: bool, names: &mut Vec<Name>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let arguments = if in_macro { named_arguments(&tokens) } else { Vec::new() };
    for (at, token) in tokens.iter().enumerate() {
        let before = &tokens[..at];
        match token {
            TokenTree::Ident(_) if is_behind_dot(before) || arguments.iter().any(|(place, _)| *place == at) => {}
            TokenTree::Ident(name) => names.push(name.into()),
            TokenTree::Group(group) => find(group.stream(), in_macro || is_behind_macro_name(before), names),
            // `true` if the macro takes it for a format string is up to the macro.
            TokenTree::Literal(literal) if in_macro => {
                let is_argument = |name: &Name| arguments.iter().any(|(_, argument)| argument.unraw() == name.word);
                names.extend(in_string(literal).into_iter().filter(|name| !is_argument(name)));
            }
            _ => {}
        }
    }
}

/// The names in a literal, if it is a string.
fn in_string(literal: &Literal) -> Vec<Name> {
    let Lit::Str(text) = Lit::new(literal.clone()) else { return Vec::new() };
    captured(&text.value()).into_iter().map(|word| Name { word, span: literal.span() }).collect()
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

/// `a.b`, but not `a..b`.
fn is_behind_dot(before: &[TokenTree]) -> bool {
    let [.., second, last] = before else { return is_punct(before.last(), '.') };
    is_punct(Some(last), '.') && !is_punct(Some(second), '.')
}

/// `name!`
fn is_behind_macro_name(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(_), bang] if is_punct(Some(bang), '!'))
}

/// The names of named arguments, and where they stand: `, name = value`.
fn named_arguments(tokens: &[TokenTree]) -> Vec<(usize, &Ident)> {
    let behind_comma = tokens.iter().enumerate().filter(|(at, _)| is_punct(tokens[..*at].last(), ','));
    let named = behind_comma.filter_map(|(at, token)| match token {
        TokenTree::Ident(name) => Some((at, name)),
        _ => None,
    });
    // Not `==`, and not `=>`.
    let is_equals =
        |at: usize| is_punct(tokens.get(at), '=') && !['=', '>'].iter().any(|next| is_punct(tokens.get(at + 1), *next));
    named.filter(|(at, _)| is_equals(at + 1)).collect()
}

/// The names that a format string captures: `{name}`, `{name:?}`, `{:name$}`, `{:.name$}`. See
/// "Syntax" in the documentation of `std::fmt`.
fn captured(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((_, inside)) = rest.split_once('{') {
        if let Some(behind) = inside.strip_prefix('{') {
            rest = behind;
            continue;
        }
        let Some((placeholder, behind)) = inside.split_once('}') else { break };
        let (argument, specification) = placeholder.split_once(':').unwrap_or((placeholder, ""));
        words.push(argument.trim());
        words.extend(counts(specification));
        rest = behind;
    }
    words.retain(|word| !word.is_empty() && !word.starts_with(|first: char| first.is_ascii_digit()));
    words.into_iter().map(str::to_owned).collect()
}

/// The width and the precision in a format specification, if they are arguments: each ends with
/// `$`, and what can't be part of a name stands in front.
fn counts(specification: &str) -> impl Iterator<Item = &str> {
    let ended = specification.rsplit('$').skip(1);
    // A `0` in front of a name is a flag.
    ended
        .filter_map(|count| count.rsplit(|character| !is_part_of_a_name(character)).next())
        .map(|name| name.trim_start_matches('0'))
}

fn is_part_of_a_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::{captured, of};

    #[test]
    fn captured_by_format_strings() {
        let words = |text| captured(text).join(" ");
        assert_eq!(words("{a}{b:?} { c } {d:>8}{e }"), "a b c d e");
        assert_eq!(words("{:w$} {0:w$.p$} {1:#0w$x} {v:.p$} {:$>w$} {:{<w$}"), "w p w w v p w w");
        assert_eq!(words("{{a}} {{{b}}} {} {0} {:5} {:.*} {:1$} a$ }{"), "b");
        assert_eq!(words("{\u{fc}ber} {_x}"), "\u{fc}ber _x");
        assert_eq!(words("{a"), "");
    }

    #[test]
    fn in_the_arguments_of_macros_only() {
        let words = |text: &str| {
            let names = of(text.parse().expect("tokens"));
            names.into_iter().map(|name| name.word).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("f(\"{a}\")"), "f");
        assert_eq!(words("f!(\"{a}\", [\"{b}\"])"), "f a b");
        assert_eq!(words("f!(r#\"{a}\"#, b\"{b}\", c\"{c}\", '{', \"{\\x61b}\")"), "f a ab");
        assert_eq!(words("f!(\"{a} {b}\", a = b, c == d, e => g)"), "f b b c d e g");
        assert_eq!(words("f!(\"{a}\")(\"{b}\") != (\"{c}\")"), "f a");
        assert_eq!(words("r#a.b + a..b + f!(a.b)"), "a a b f a");
    }
}
