//! What a derive gives back: the code, or the compile error that says what is wrong.

use proc_macro::TokenStream;

/// The expansion as the compiler takes it.
pub(crate) fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}
