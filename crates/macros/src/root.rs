//! Where the derived code finds Knarr: whichever of our crates the user depends on.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Ident;

/// The path of the crate whose `__private` module derived code goes through.
///
/// Our own crates name themselves with `extern crate self as …`, so that one path fits the crate,
/// its doc tests and its users.
pub(crate) fn private(candidates: &[&str]) -> syn::Result<TokenStream> {
    for candidate in candidates {
        let name = match crate_name(candidate) {
            Ok(FoundCrate::Itself) => candidate.replace('-', "_"),
            Ok(FoundCrate::Name(name)) => name,
            Err(_) => continue,
        };
        let ident = Ident::new(&name, Span::call_site());
        return Ok(quote!(::#ident::__private));
    }
    Err(syn::Error::new(
        Span::call_site(),
        format!(
            "this derive needs one of these packages as a dependency: {}",
            candidates.join(", ")
        ),
    ))
}

/// Crates that know messages, in the order in which they are looked for.
pub(crate) const WITH_MESSAGES: &[&str] = &["knarr", "knarr-saga", "knarr-model"];
/// Crates that know machines, in the order in which they are looked for.
pub(crate) const WITH_MACHINES: &[&str] = &["knarr", "knarr-saga"];
