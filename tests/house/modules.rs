//! The modules of one crate as a tree, and for each path in it the file that it leads to.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::visit::{self, Visit};

/// Words joined by `::`.
pub(crate) type Path = Vec<String>;

/// One module: a file, or a part of one in braces.
#[derive(Debug, Default)]
struct Module {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// Names defined here.
    items: BTreeSet<String>,
    /// Names brought in by `use`, with where they come from.
    imports: BTreeMap<String, Path>,
    /// Where `use …::*` looks.
    globs: Vec<Path>,
    /// Paths written in its code.
    mentions: BTreeSet<Path>,
}

/// All modules of one crate, as a rule without its tests.
#[derive(Debug)]
pub(crate) struct Crate {
    modules: Vec<Module>,
    with_tests: bool,
}

/// One file needs another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The path that leads there.
    pub(crate) path: String,
}

enum Found {
    Module(usize),
    Item(String),
}

/// `lib.rs` and `mod.rs` are doors: they name what is behind them, and hold nothing themselves.
pub(crate) fn is_door(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == "lib.rs" || name == "mod.rs"
}

/// Whether code is compiled for tests only, by its `#[cfg(..)]`.
pub(crate) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let last = attribute.path().segments.last().map(|segment| segment.ident.to_string());
        let condition = || match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string().replace(' ', ""),
            _ => String::new(),
        };
        match last.as_deref() {
            Some("test") => true,
            Some("cfg") => condition() == "test" || condition().starts_with("all(test"),
            _ => false,
        }
    })
}

impl Crate {
    /// Follows `mod` lines from the crate's root file.
    pub(crate) fn read(root: &str, trees: &BTreeMap<String, syn::File>) -> Crate {
        Crate::follow(root, trees, false)
    }

    /// Files that `mod` lines lead to, those of tests included.
    pub(crate) fn files(root: &str, trees: &BTreeMap<String, syn::File>) -> BTreeSet<String> {
        let modules = Crate::follow(root, trees, true).modules;
        modules.into_iter().map(|module| module.file).collect()
    }

    fn follow(root: &str, trees: &BTreeMap<String, syn::File>, with_tests: bool) -> Crate {
        let mut tree = Crate { modules: Vec::new(), with_tests };
        if let Some(file) = trees.get(root) {
            let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
            tree.add(root, folder, None, &file.items, trees);
        }
        tree
    }

    /// `folder` is where the files of child modules lie.
    fn add(
        &mut self,
        file: &str,
        folder: &str,
        parent: Option<usize>,
        items: &[syn::Item],
        trees: &BTreeMap<String, syn::File>,
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        for item in items {
            if !self.with_tests && is_for_tests(attributes(item)) {
                continue;
            }
            match item {
                syn::Item::Mod(module) => self.add_child(index, folder, module, trees),
                syn::Item::Use(line) => self.add_use(index, Vec::new(), &line.tree),
                _ => {
                    if let Some(name) = name_of(item) {
                        self.modules[index].items.insert(name);
                    }
                    let mut mentions = Mentions::default();
                    mentions.visit_item(item);
                    for local in mentions.uses {
                        self.add_use(index, Vec::new(), &local);
                    }
                    self.modules[index].mentions.extend(mentions.paths);
                }
            }
        }
        index
    }

    fn add_child(
        &mut self,
        parent: usize,
        folder: &str,
        module: &syn::ItemMod,
        trees: &BTreeMap<String, syn::File>,
    ) {
        let name = module.ident.to_string();
        let inner = join(folder, &name);
        let child = match &module.content {
            Some((_, items)) => {
                let file = self.modules[parent].file.clone();
                self.add(&file, &inner, Some(parent), items, trees)
            }
            None => {
                let named = path_attribute(&module.attrs).map(|path| {
                    let here = self.modules[parent].file.rsplit_once('/').map_or("", |it| it.0);
                    let file = join(here, &path);
                    let folder = file.rsplit_once('/').map_or("", |it| it.0).to_owned();
                    (file, folder)
                });
                let candidates = match named {
                    Some(named) => vec![named],
                    None => vec![
                        (format!("{inner}.rs"), inner.clone()),
                        (format!("{inner}/mod.rs"), inner.clone()),
                    ],
                };
                let found = candidates.into_iter().find(|(file, _)| trees.contains_key(file));
                let Some((file, folder)) = found else { return };
                self.add(&file, &folder, Some(parent), &trees[&file].items, trees)
            }
        };
        self.modules[parent].children.insert(name, child);
    }

    fn add_use(&mut self, module: usize, mut prefix: Path, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(module, prefix, &path.tree);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(module, prefix.clone(), tree);
                }
            }
            syn::UseTree::Glob(_) => self.modules[module].globs.push(prefix),
            syn::UseTree::Name(name) => {
                let mut local = name.ident.to_string();
                if local == "self" {
                    local = prefix.last().cloned().unwrap_or_default();
                } else {
                    prefix.push(local.clone());
                }
                self.modules[module].imports.insert(local, prefix);
            }
            syn::UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.modules[module].imports.insert(rename.rename.to_string(), prefix);
            }
        }
    }

    /// Every path with its file, and with the `use` that its first word comes from written out.
    pub(crate) fn written_out(&self) -> BTreeSet<(&str, Path)> {
        let mut all = BTreeSet::new();
        for module in &self.modules {
            for path in module.imports.values().chain(&module.globs).chain(&module.mentions) {
                let first = path.first().and_then(|first| module.imports.get(first));
                let whole = match first {
                    Some(import) if import != path => [import, &path[1..]].concat(),
                    _ => path.clone(),
                };
                all.insert((&*module.file, whole));
            }
        }
        all
    }

    /// Which file needs which, doors left out: through a door the arrow goes to what is behind it.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeMap::new();
        for (index, module) in self.modules.iter().enumerate() {
            let written = module.imports.values().chain(&module.globs).chain(&module.mentions);
            for path in written {
                let to = match self.resolve(index, path, 0) {
                    Some(Found::Item(file)) => file,
                    Some(Found::Module(found)) => self.modules[found].file.clone(),
                    None => continue,
                };
                if to != module.file && !is_door(&to) && !is_door(&module.file) {
                    arrows.entry((module.file.clone(), to)).or_insert_with(|| path.join("::"));
                }
            }
        }
        arrows.into_iter().map(|((from, to), path)| Arrow { from, to, path }).collect()
    }

    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        if depth > 16 {
            return None;
        }
        let start = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.modules[from].parent?,
            _ => return self.step(from, first, rest, depth, true),
        };
        self.walk(start, rest, depth)
    }

    fn walk(&self, module: usize, path: &[String], depth: usize) -> Option<Found> {
        let Some((first, rest)) = path.split_first() else { return Some(Found::Module(module)) };
        if first == "super" {
            return self.walk(self.modules[module].parent?, rest, depth);
        }
        self.step(module, first, rest, depth, false)
    }

    /// Looks for `name` in a module: a child, an item, something brought in, something behind a glob.
    fn step(
        &self,
        at: usize,
        name: &str,
        rest: &[String],
        depth: usize,
        relative: bool,
    ) -> Option<Found> {
        let module = &self.modules[at];
        if depth > 16 {
            return None;
        }
        if let Some(child) = module.children.get(name) {
            return self.walk(*child, rest, depth + 1);
        }
        if module.items.contains(name) {
            return Some(Found::Item(module.file.clone()));
        }
        if let Some(import) = module.imports.get(name) {
            // `use tokio::sync` imports a name like its own first word; that one is outside.
            if import.first().is_some_and(|first| first == name) {
                return None;
            }
            return match self.resolve(at, import, depth + 1)? {
                Found::Module(found) => self.walk(found, rest, depth + 1),
                item @ Found::Item(_) => Some(item),
            };
        }
        if relative {
            return None;
        }
        module.globs.iter().find_map(|glob| match self.resolve(at, glob, depth + 1)? {
            Found::Module(found) if found != at => self.step(found, name, rest, depth + 1, false),
            _ => None,
        })
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => {
            Some(pair.value.to_token_stream().to_string().trim_matches('"').to_owned())
        }
        _ => None,
    })
}

/// Attributes of an item, whatever it is.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(it) => &it.attrs,
        syn::Item::Enum(it) => &it.attrs,
        syn::Item::ExternCrate(it) => &it.attrs,
        syn::Item::Fn(it) => &it.attrs,
        syn::Item::Impl(it) => &it.attrs,
        syn::Item::Macro(it) => &it.attrs,
        syn::Item::Mod(it) => &it.attrs,
        syn::Item::Static(it) => &it.attrs,
        syn::Item::Struct(it) => &it.attrs,
        syn::Item::Trait(it) => &it.attrs,
        syn::Item::Type(it) => &it.attrs,
        syn::Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn name_of(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(it) => &it.ident,
        syn::Item::Enum(it) => &it.ident,
        syn::Item::Fn(it) => &it.sig.ident,
        syn::Item::Static(it) => &it.ident,
        syn::Item::Struct(it) => &it.ident,
        syn::Item::Trait(it) => &it.ident,
        syn::Item::Type(it) => &it.ident,
        syn::Item::Macro(it) => it.ident.as_ref()?,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Collects the paths written in an item, also those inside macros.
#[derive(Default)]
struct Mentions {
    paths: BTreeSet<Path>,
    uses: Vec<syn::UseTree>,
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Path = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.paths.insert(words);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        paths_in(call.tokens.clone(), &mut self.paths);
        visit::visit_macro(self, call);
    }

    fn visit_item_use(&mut self, line: &'ast syn::ItemUse) {
        self.uses.push(line.tree.clone());
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }
}

/// Words joined by `::` among loose tokens.
fn paths_in(tokens: TokenStream, paths: &mut BTreeSet<Path>) {
    let mut path = Path::new();
    let mut colons = 0;
    let mut end = |path: &mut Path| {
        if path.len() > 1 {
            paths.insert(path.clone());
        }
        path.clear();
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    end(&mut path);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                end(&mut path);
                colons = 0;
                if let TokenTree::Group(group) = other {
                    groups.push(group.stream());
                }
            }
        }
    }
    end(&mut path);
    for group in groups {
        paths_in(group, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::parse_all;

    pub(crate) fn arrows(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let tree = Crate::read("src/lib.rs", &parse_all(&texts.collect()));
        tree.arrows().into_iter().map(|arrow| (arrow.from, arrow.to)).collect()
    }

    fn to_b(a: &str) -> Vec<(String, String)> {
        arrows(&[
            ("src/lib.rs", "mod a; mod b; mod c; pub use b::Thing; pub use c::*;"),
            ("src/a.rs", a),
            ("src/b.rs", "pub struct Thing; pub mod deep { pub struct Deep; }"),
            ("src/c/mod.rs", "mod inner; pub use inner::Other;"),
            ("src/c/inner.rs", "pub struct Other;"),
        ])
    }

    #[test]
    fn every_way_to_name_another_file_is_an_arrow() {
        let ways = [
            "use crate::b::Thing;",
            "use super::b::Thing;",
            "use crate::b;",
            "use crate::b::{self, Thing as Other};",
            "use crate::b::*;",
            "use crate::Thing;",
            "use crate::{b::deep::Deep};",
            "fn f() { let x = crate::b::Thing; }",
            "fn f() { use crate::b::Thing; }",
            "fn f(x: super::b::Thing) {}",
            "fn f() { println!(\"{:?}\", crate::b::Thing); }",
            "mod inner { use super::super::b::Thing; }",
        ];
        for way in ways {
            let expected = [("src/a.rs".to_owned(), "src/b.rs".to_owned())];
            assert_eq!(to_b(way), expected, "{way}");
        }
    }

    #[test]
    fn a_door_leads_to_what_is_behind_it() {
        let expected = [("src/a.rs".to_owned(), "src/c/inner.rs".to_owned())];
        assert_eq!(to_b("use crate::c::Other;"), expected);
        assert_eq!(to_b("use crate::Other;"), expected);
    }

    #[test]
    fn tests_and_outside_crates_make_no_arrow() {
        let none = [
            "use std::fmt; use tokio::b::Thing; use crate::missing::X;",
            "#[cfg(test)] mod tests { use crate::b::Thing; }",
            "#[test] fn f() { crate::b::Thing; }",
            "use self::inner::X; mod inner { pub struct X; }",
        ];
        for text in none {
            assert_eq!(to_b(text), [], "{text}");
        }
    }
}
