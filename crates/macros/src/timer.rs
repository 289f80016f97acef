//! `#[derive(Timer)]`: a unit struct is one timer, a fieldless enum one per variant.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields};

use crate::root::{WITH_MACHINES, private};
use crate::states::{fieldless, plain};

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let root = private(WITH_MACHINES)?;
    let ident = &input.ident;
    let name = match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Unit) => {
            let name = plain(ident);
            quote!(#name)
        }
        Data::Enum(data) if !data.variants.is_empty() => {
            let variants = fieldless(data, "a timer")?;
            let names = variants.iter().map(|v| plain(v));
            quote!(match self { #(#ident::#variants => #names),* })
        }
        _ => {
            return Err(syn::Error::new(
                ident.span(),
                "a timer is a unit struct (`struct Deadline;`) or an enum without fields",
            ));
        }
    };
    let (impls, types, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls #root::Timer for #ident #types #wheres {
            fn name(&self) -> &'static str { #name }
        }
    })
}
