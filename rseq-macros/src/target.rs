//! For whom a section is compiled: what the macro's shell says of the place.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::quote;

/// Where a section is compiled.
pub struct Target {
    /// The path of the facade crate, whatever it is called there.
    pub facade: TokenStream,
    /// The path of what expansions use.
    pub private: TokenStream,
    pub emitter: Emitter,
    /// Debug builds ask more of a section.
    pub checked: bool,
    /// Sections are audited.
    pub audited: bool,
}

/// How windows are written.
#[derive(PartialEq, Eq)]
pub enum Emitter {
    /// As asm of the machine of this name. Without such a machine, sections run in portable mode
    /// alone.
    Machine(String),
    /// As Rust, for the model in rseq-explore to interrupt.
    Model,
    /// Not at all: the section is for an editor to read.
    Editor,
}

impl Target {
    /// Takes the bracketed groups in front of a section: the facade, the emitter, and others for
    /// the caller.
    pub fn split(tokens: TokenStream) -> syn::Result<(Self, Vec<String>, TokenStream)> {
        let is_group =
            |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket);
        let mut tokens = tokens.into_iter().peekable();
        let mut groups = Vec::new();
        while let Some(TokenTree::Group(group)) = tokens.next_if(is_group) {
            groups.push(group.stream());
        }
        let mut groups = groups.into_iter();
        let (Some(facade), Some(emitter)) = (groups.next(), groups.next()) else {
            return Err(syn::Error::new(Span::call_site(), "use `rseq::rseq!`, which tells this macro where it is"));
        };
        let words: Vec<_> = emitter.into_iter().map(|word| word.to_string()).collect();
        let emitter = match words.first().map_or("", String::as_str) {
            _ if is_asked_by_editor() => Emitter::Editor,
            "editor" => Emitter::Editor,
            "model" => Emitter::Model,
            name => Emitter::Machine(name.to_owned()),
        };
        let [checked, audited] = ["checked", "audit"].map(|wanted| words.iter().any(|word| word == wanted));
        let options = groups.map(|group| group.to_string()).collect();
        let private = quote!(#facade::__private);
        Ok((Self { facade, private, emitter, checked, audited }, options, tokens.collect()))
    }

    /// Debug builds and audits ask behind windows whose the places are that they store to.
    pub fn asks_whose_places(&self) -> bool {
        self.checked || self.audited
    }
}

/// True if rust-analyzer runs this macro. It has macros built as for the compiler, and
/// sets its `cfg(rust_analyzer)` for the crates of a workspace but not for those that they depend
/// on, where the shell of a section is: so only the name of the program tells.
fn is_asked_by_editor() -> bool {
    let program = std::env::current_exe().unwrap_or_default();
    program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rust-analyzer"))
}
