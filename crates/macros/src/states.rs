//! `#[derive(States)]`: a fieldless enum becomes the states of a machine.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident};

use crate::root::{WITH_MACHINES, private};

/// Names that every machine has already, or that mean something as a target.
const RESERVED: [(&str, &str); 4] = [
    ("Initial", "every machine has it already: it is the state before a start row ran"),
    ("Final", "every machine has it already: a row reaches it with .finish()"),
    ("Purged", "every machine has it already: it is the tombstone of a failed run"),
    ("Fail", "it is the branch target that fails the run; `Failed` would do"),
];

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let root = private(WITH_MACHINES)?;
    let Data::Enum(data) = &input.data else {
        return Err(syn::Error::new(
            input.ident.span(),
            "states are the variants of an enum without fields",
        ));
    };
    let variants = fieldless(data, "a state")?;
    if variants.is_empty() {
        return Err(syn::Error::new(input.ident.span(), "a machine needs at least one state"));
    }
    for variant in &variants {
        if let Some((name, why)) = RESERVED.iter().find(|(name, _)| variant == name) {
            let text = format!("`{name}` cannot be declared as a state: {why}");
            return Err(syn::Error::new(variant.span(), text));
        }
    }
    let names: Vec<_> = variants.iter().map(|v| plain(v)).collect();
    let ident = &input.ident;
    let (impls, types, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls #root::States for #ident #types #wheres {
            const ALL: &'static [Self] = &[#(#ident::#variants),*];
            const NAMES: &'static [&'static str] = &[#(#names),*];
            fn name(&self) -> &'static str {
                match self { #(#ident::#variants => #names),* }
            }
            fn from_name(name: &str) -> ::std::option::Option<Self> {
                match name {
                    #(#names => ::std::option::Option::Some(#ident::#variants),)*
                    _ => ::std::option::Option::None,
                }
            }
        }
    })
}

/// The variants of an enum, or an error that points at the first one with fields.
pub(crate) fn fieldless<'a>(data: &'a DataEnum, what: &str) -> syn::Result<Vec<&'a Ident>> {
    data.variants
        .iter()
        .map(|variant| match variant.fields {
            Fields::Unit => Ok(&variant.ident),
            _ => Err(syn::Error::new_spanned(
                &variant.fields,
                format!(
                    "{what} has no fields; what an instance knows stands in the machine's struct"
                ),
            )),
        })
        .collect()
}

/// An identifier's text without the raw marker.
pub(crate) fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}
