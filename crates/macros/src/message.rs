//! `#[derive(Message)]`: a type's name on the wire, its bases and its conventional id.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, Token, Type, parenthesized};

use crate::root::{WITH_MESSAGES, private};

/// Fields that carry the id by convention, in MassTransit's order.
const CONVENTIONAL: [&str; 3] = ["correlation_id", "event_id", "command_id"];

#[derive(Default)]
struct Options {
    namespace: Option<LitStr>,
    name: Option<LitStr>,
    bases: Vec<Base>,
    correlation: Option<LitStr>,
}

enum Base {
    Named(LitStr),
    Typed(Box<Type>),
}

impl Parse for Base {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            input.parse().map(Base::Named)
        } else {
            input.parse().map(Base::Typed)
        }
    }
}

impl Options {
    fn read(attributes: &[Attribute]) -> syn::Result<Options> {
        let mut options = Options::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("message")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("namespace") {
                    options.namespace = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("name") {
                    options.name = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("correlation") {
                    options.correlation = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("bases") {
                    let content;
                    parenthesized!(content in meta.input);
                    let bases = Punctuated::<Base, Token![,]>::parse_terminated(&content)?;
                    options.bases.extend(bases);
                } else {
                    return Err(meta.error(
                        "unknown option; `message` takes namespace, name, bases(..), correlation",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let root = private(WITH_MESSAGES)?;
    let options = Options::read(&input.attrs)?;
    let namespace = namespace(input, &options)?;
    let name = match &options.name {
        Some(name) if name.value().is_empty() => {
            return Err(syn::Error::new(name.span(), "a message's name must not be empty"));
        }
        Some(name) => name.value(),
        None => input.ident.to_string().trim_start_matches("r#").to_owned(),
    };
    let bases = bases(&root, &options)?;
    let (known, id) = conventional_id(&root, input, &options)?;

    let mut generics = input.generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|p| p.ident.clone()).collect();
    for parameter in &parameters {
        generics.make_where_clause().predicates.push(syn::parse_quote!(#parameter: #root::Message));
    }
    let args = (!parameters.is_empty()).then(
        || quote!(.with_args(::std::vec![#(<#parameters as #root::Message>::type_name()),*])),
    );
    let ident = &input.ident;
    let (impls, types, wheres) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls #root::Message for #ident #types #wheres {
            fn type_name() -> #root::TypeName {
                #root::TypeName::new(#namespace, #name)#args
            }
            fn base_types() -> ::std::vec::Vec<#root::TypeName> {
                let mut all: ::std::vec::Vec<#root::TypeName> = ::std::vec::Vec::new();
                #(#bases)*
                all
            }
            const HAS_ID: bool = #known;
            fn conventional_id(&self) -> ::std::option::Option<#root::uuid::Uuid> {
                #id
            }
        }
    })
}

fn namespace(input: &DeriveInput, options: &Options) -> syn::Result<String> {
    let Some(given) = &options.namespace else {
        return Err(syn::Error::new(
            input.ident.span(),
            format!(
                "the message `{0}` has no namespace: add #[message(namespace = \"My.App\")] to \
                 `{0}`, so that it travels as `My.App:{0}`",
                input.ident
            ),
        ));
    };
    let text = given.value();
    let fits = |c: char| c.is_alphanumeric() || c == '.' || c == '_';
    if text.is_empty() || !text.chars().all(fits) || text.split('.').any(str::is_empty) {
        return Err(syn::Error::new(
            given.span(),
            format!("`{text}` is not a namespace; expected words joined by dots: Company.Product"),
        ));
    }
    Ok(text)
}

fn bases(root: &TokenStream, options: &Options) -> syn::Result<Vec<TokenStream>> {
    let each = |base: &Base| match base {
        Base::Typed(base) => Ok(quote_spanned! { base.span() =>
            all.push(<#base as #root::Message>::type_name());
            all.extend(<#base as #root::Message>::base_types());
        }),
        Base::Named(given) => {
            let text = given.value();
            match text.split_once(':') {
                Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                    Ok(quote!(all.push(#root::TypeName::new(#namespace, #name));))
                }
                _ => Err(syn::Error::new(
                    given.span(),
                    format!("`{text}` names no base type; expected \"Namespace:Name\""),
                )),
            }
        }
    };
    options.bases.iter().map(each).collect()
}

/// Whether the type has an id member at all, and the expression that reads it.
fn conventional_id(
    root: &TokenStream,
    input: &DeriveInput,
    options: &Options,
) -> syn::Result<(bool, TokenStream)> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unnamed(_) | Fields::Unit => Vec::new(),
        },
        Data::Enum(_) => Vec::new(),
        Data::Union(data) => {
            return Err(syn::Error::new(data.union_token.span, "a union cannot be a message"));
        }
    };
    let has = |name: &str| fields.iter().find(|f| f.ident.as_ref().is_some_and(|i| i == name));
    let chosen: Vec<_> = match &options.correlation {
        Some(name) => vec![has(&name.value()).ok_or_else(|| {
            syn::Error::new(
                name.span(),
                format!("`{}` has no field `{}`", input.ident, name.value()),
            )
        })?],
        None => CONVENTIONAL.iter().filter_map(|name| has(name)).collect(),
    };
    if chosen.is_empty() {
        return Ok((false, quote!(::std::option::Option::None)));
    }
    let reads = chosen.iter().map(|field| {
        let ident = &field.ident;
        quote_spanned!(field.ty.span() => .or_else(|| #root::IdMember::id(&self.#ident)))
    });
    Ok((true, quote!(::std::option::Option::None #(#reads)*)))
}
