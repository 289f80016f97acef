//! `#[derive(Call)]`: plain data that an activity answers.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, LitStr, Type};

use crate::root::{WITH_MACHINES, private};
use crate::states::plain;

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let root = private(WITH_MACHINES)?;
    let (mut output, mut name): (Option<Type>, Option<LitStr>) = (None, None);
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("call")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("output") {
                output = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("unknown option; `call` takes output, name"));
            }
            Ok(())
        })?;
    }
    let ident = &input.ident;
    let Some(output) = output else {
        return Err(syn::Error::new(
            ident.span(),
            format!("the call `{ident}` has no answer: add #[call(output = Answer)] to `{ident}`"),
        ));
    };
    if let Some(given) = name.as_ref().filter(|name| name.value().trim().is_empty()) {
        return Err(syn::Error::new(given.span(), "a call's name must not be empty"));
    }
    let name = name.map_or_else(|| plain(ident), |name| name.value());
    let (impls, types, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls #root::Call for #ident #types #wheres {
            type Output = #output;
            fn name() -> &'static str { #name }
        }
    })
}
