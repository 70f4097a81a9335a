//! Questions of debug builds and audits behind a window, on the places that were evaluated before
//! it: whether they are its index's own.

use proc_macro2::TokenStream;

use super::tokens::{allow_unsafe, hidden, index_kind, reachable};
use crate::ir::Program;
use crate::target::Target;

/// Tells the audit that everything is evaluated, the commit's place with it.
pub fn evaluated(program: &Program, target: &Target) -> TokenStream {
    let Some(place) = program.window.commits_outside().filter(|_| target.audited) else { return TokenStream::new() };
    let (private, reachable) = (&target.private, reachable());
    hidden!(#reachable #private::Audit::holds(__rseq_audit, #place.operand());)
}

/// Asks it where the section was left. Audits report what committed.
pub fn left(program: &Program, target: &Target) -> TokenStream {
    if target.audited { TokenStream::new() } else { check(program, target) }
}

/// Asks it where the section has committed.
pub fn committed(program: &Program, target: &Target) -> TokenStream {
    let Some(index) = index(program, target).filter(|_| target.audited) else { return left(program, target) };
    let (private, addresses) = (&target.private, addresses(program));
    hidden!(#index #private::Audit::committed(__rseq_audit, __rseq_index, &[#(#addresses),*]);)
}

fn check(program: &Program, target: &Target) -> TokenStream {
    let Some(index) = index(program, target).filter(|_| target.checked) else { return TokenStream::new() };
    let (private, addresses) = (&target.private, addresses(program));
    hidden!(#index #(#private::check_store(__rseq_index, #addresses);)*)
}

/// The addresses of the places, the commit's last.
fn addresses(program: &Program) -> impl Iterator<Item = TokenStream> {
    program.window.stores_outside().map(|id| hidden!(#id.operand()))
}

/// Gives the index of a section with `prepare` a name before its window, which is the section's
/// end.
pub fn prepared(program: &Program, target: &Target) -> Option<TokenStream> {
    let asks = target.asks_whose_places() && !program.is_control() && program.window.stores_outside().next().is_some();
    let (private, reachable) = (&target.private, reachable());
    asks.then(|| hidden!(#reachable let __rseq_index = #private::Prepared::index(&__rseq_section);))
}

/// Gives the section's index a name, if it is known.
fn index(program: &Program, target: &Target) -> Option<TokenStream> {
    program.window.stores_outside().next().filter(|_| !program.is_control())?;
    if !program.arms_in_window() {
        return Some(TokenStream::new());
    }
    let position = program.outputs.iter().position(|(value, _)| Some(*value) == program.window.index)?;
    let (private, allow) = (&target.private, allow_unsafe());
    let kind = index_kind(program.mm_cid, private);
    let bits = hidden!(__rseq_outcome.values[#position]);
    // SAFETY of the expansion: the window read it before anything else, and compared it.
    Some(hidden!(#allow let __rseq_index: #kind = unsafe { #private::index_from_bits(#bits) };))
}
