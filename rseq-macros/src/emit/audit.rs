//! The calls by which an audit is told of a section.

use proc_macro2::TokenStream;

use super::tokens::hidden;
use crate::ir::Program;
use crate::target::Target;

/// The audit of the section, which knows where it stands.
pub fn begins(program: &Program, target: &Target) -> TokenStream {
    if !target.audited {
        return TokenStream::new();
    }
    let (private, location) = (&target.private, program.location.to_string());
    hidden! {
        let __rseq_audit = &#private::Audit::new({
            static LOCATION: #private::Location = #private::Location::new(#location);
            &LOCATION
        });
    }
}

/// Tells the audit that the window is over.
pub fn ended(program: &Program, target: &Target) -> TokenStream {
    if !target.audited || program.arms_in_window() {
        return TokenStream::new();
    }
    let private = &target.private;
    hidden!(#private::Audit::ended(__rseq_audit, &__rseq_section);)
}

/// Tells the audit of one more abort.
pub fn aborted(target: &Target) -> Option<TokenStream> {
    let private = &target.private;
    target.audited.then(|| hidden!(#private::Audit::aborted(__rseq_audit);))
}
