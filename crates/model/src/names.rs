//! Names on the wire: type URNs, exchanges and endpoints as MassTransit forms them.
//!
//! Source: masstransit-wire §3, §4 and §15; judged by `fixtures/masstransit/names.json`.

use std::fmt;

/// The longest name AMQP carries (a short string), in bytes.
pub const MAX_NAME: usize = 255;

/// How deep generic arguments may be nested in a name.
const MAX_DEPTH: usize = 16;

/// A message type: namespace, nesting and generic arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    /// The namespace, dots kept.
    pub namespace: String,
    /// Outer types first, the type's own name last.
    pub path: Vec<String>,
    /// Generic arguments.
    pub args: Vec<TypeName>,
}

impl TypeName {
    /// A plain type.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        TypeName {
            namespace: namespace.into(),
            path: name.into().split('+').map(str::to_owned).collect(),
            args: Vec::new(),
        }
    }

    /// The same type with generic arguments.
    pub fn with_args(mut self, args: Vec<TypeName>) -> Self {
        self.args = args;
        self
    }

    /// `urn:message:Ns:Outer+Inner[[Ns1:Arg1],[Ns2:Arg2]]`.
    pub fn urn(&self) -> String {
        format!("urn:message:{}", self.qualified())
    }

    fn qualified(&self) -> String {
        let mut text = format!("{}:{}", self.namespace, self.path.join("+"));
        if !self.args.is_empty() {
            let args: Vec<_> = self.args.iter().map(|a| format!("[{}]", a.qualified())).collect();
            text.push('[');
            text.push_str(&args.join(","));
            text.push(']');
        }
        text
    }

    /// `Ns:Outer-Inner` or `Ns:Name--Ns1:Arg1::Arg2--`; an argument in the same namespace drops it.
    pub fn exchange(&self) -> String {
        self.entity(None)
    }

    fn entity(&self, enclosing: Option<&str>) -> String {
        let mut text = String::new();
        if enclosing != Some(self.namespace.as_str()) {
            text.push_str(&self.namespace);
            text.push(':');
        }
        text.push_str(&self.path.join("-"));
        if !self.args.is_empty() {
            let args: Vec<_> = self.args.iter().map(|a| a.entity(Some(&self.namespace))).collect();
            text.push_str("--");
            text.push_str(&args.join("::"));
            text.push_str("--");
        }
        text
    }

    /// Reads ``Ns.Outer+Inner`1[Arg,Arg]`` as .NET prints it, the exchange form `Ns:Name`, or a URN.
    ///
    /// # Errors
    /// What is wrong with it; names come from strangers, so nesting is bounded.
    pub fn parse(text: &str) -> Result<TypeName, BadName> {
        let plain = text.strip_prefix("urn:message:").unwrap_or(text);
        Self::parse_part(plain, 0).map_err(|why| BadName { name: text.to_owned(), why })
    }

    fn parse_part(text: &str, depth: usize) -> Result<TypeName, &'static str> {
        if depth > MAX_DEPTH {
            return Err("its generic arguments are nested too deep");
        }
        let (head, args) = match text.find('[') {
            None => (text, Vec::new()),
            Some(open) => {
                let inner = text[open..]
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'))
                    .ok_or("its brackets do not match")?;
                let args = split_args(inner)
                    .into_iter()
                    .map(|arg| {
                        let bare = arg.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                        Self::parse_part(bare.unwrap_or(arg), depth + 1)
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                (&text[..open], args)
            }
        };
        // Brokers leave line breaks out of a name without a word: nothing could be sent to it.
        if text.chars().any(char::is_control) {
            return Err("it holds control characters");
        }
        let head = head.split('`').next().unwrap_or(head);
        let (namespace, name) = match head.split_once(':') {
            Some(parts) => parts,
            None => {
                let outer_end = head.find('+').unwrap_or(head.len());
                let dot = head[..outer_end].rfind('.').ok_or("it has no namespace")?;
                (&head[..dot], &head[dot + 1..])
            }
        };
        if namespace.is_empty() || name.is_empty() {
            return Err("namespace and name must not be empty");
        }
        Ok(TypeName::new(namespace, name).with_args(args))
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified())
    }
}

/// A type name that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{name}` is not a message type name: {why} (expected Namespace:Name)")]
pub struct BadName {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

fn split_args(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0usize, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// How an endpoint's name is formed from a type's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStyle {
    /// `SubmitOrder`.
    Pascal,
    /// `submit_order`.
    Snake,
    /// `submit-order`; the default of Knarr.
    Kebab,
}

/// The endpoint name of a consumer, saga or activity type; its suffix of that kind is dropped.
pub fn endpoint_name(type_name: &str, style: EndpointStyle) -> String {
    let base = ["Consumer", "Saga", "Activity"]
        .iter()
        .find_map(|suffix| type_name.strip_suffix(suffix).filter(|rest| !rest.is_empty()))
        .unwrap_or(type_name);
    let separator = match style {
        EndpointStyle::Pascal => return base.to_owned(),
        EndpointStyle::Snake => '_',
        EndpointStyle::Kebab => '-',
    };
    let mut name = String::with_capacity(base.len() + 8);
    let mut previous: Option<char> = None;
    for c in base.chars() {
        if c == '_' && style == EndpointStyle::Kebab {
            name.push('-');
        } else {
            let splits = previous.is_some_and(|p| p.is_ascii_lowercase() || p.is_ascii_digit());
            if c.is_uppercase() && splits {
                name.push(separator);
            }
            name.extend(c.to_lowercase());
        }
        previous = Some(c);
    }
    name
}

/// What is wrong with an exchange or queue name, if anything.
pub fn check_entity_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name must not be empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name is {} bytes long, AMQP allows {MAX_NAME}", name.len()));
    }
    match name.chars().find(|c| !(c.is_alphanumeric() || "_-.:".contains(*c))) {
        Some(c) => Err(format!("`{name}` holds {c:?}; allowed are letters, digits, _ - . :")),
        None => Ok(()),
    }
}
