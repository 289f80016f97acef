//! The one spelling of a URL that Safe Browsing's hashes are made of.
//!
//! Source: "URLs and Hashing" of the Safe Browsing documentation, sections "URL parsing" and
//! "Canonicalization"; for IP addresses the form of its version 5.

use std::fmt;
use std::net::IpAddr;

use url::Host;

/// A URL in its canonical spelling, without port, credentials and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// `http`, `https`.
    pub scheme: String,
    /// Lower case, in Punycode; an IPv6 address stands in brackets.
    pub host: String,
    /// Whether the host is an IP address.
    pub is_address: bool,
    /// Begins with `/`.
    pub path: String,
    /// What follows the first `?`, if there is one.
    pub query: Option<String>,
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// The canonical spelling of a URL; `None` when it names no host.
///
/// ```
/// use knarr_url_scan::canonical::canonicalize;
/// let url = canonicalize("HTTP://user@WWW.Example.com:80/a/../b//c?d#e").unwrap();
/// assert_eq!(url.to_string(), "http://www.example.com/b/c?d");
/// ```
pub fn canonicalize(url: &str) -> Option<Canonical> {
    of_bytes(url.as_bytes())
}

fn of_bytes(url: &[u8]) -> Option<Canonical> {
    let mut url: Vec<u8> =
        url.iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n')).collect();
    if let Some(end) = url.iter().position(|byte| *byte == b'#') {
        url.truncate(end);
    }
    let url = unescape(url.trim_ascii().to_vec());
    let (scheme, rest) = match find(&url, b"://") {
        Some(at) if is_scheme(&url[..at]) => {
            (String::from_utf8_lossy(&url[..at]).to_ascii_lowercase(), &url[at + 3..])
        }
        _ => ("http".to_owned(), &url[..]),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (host, is_address) = host(authority)?;
    let (path, query) = match rest.iter().position(|byte| *byte == b'?') {
        Some(at) => (&rest[..at], Some(escape(&rest[at + 1..]))),
        None => (rest, None),
    };
    Some(Canonical { scheme, host, is_address, path: escape(&resolve(path)), query })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn is_scheme(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(fits)
}

/// Undoes percent escapes until none is left. Each round but the last shortens the text.
fn unescape(mut text: Vec<u8>) -> Vec<u8> {
    loop {
        let mut plain = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match text[at..] {
                [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    plain.push(digit(high) << 4 | digit(low));
                    at += 3;
                }
                _ => {
                    plain.push(text[at]);
                    at += 1;
                }
            }
        }
        if plain.len() == text.len() {
            return plain;
        }
        text = plain;
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        b'a'..=b'f' => hex - b'a' + 10,
        _ => hex.to_ascii_uppercase() - b'A' + 10,
    }
}

/// Escapes what must not stand in a canonical URL: blanks and controls, everything beyond ASCII,
/// `#` and `%`.
fn escape(text: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text {
        match byte {
            0x21..=0x7e if !b"#%".contains(byte) => escaped.push(char::from(*byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The host without credentials and port, and whether it is an address.
fn host(authority: &[u8]) -> Option<(String, bool)> {
    let host = match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => &authority[at + 1..],
        None => authority,
    };
    let port = host.iter().rposition(|byte| *byte == b':').filter(|at| {
        let digits = host[at + 1..].iter().all(u8::is_ascii_digit);
        digits && (host.first() != Some(&b'[') || host[at - 1] == b']')
    });
    let host = &host[..port.unwrap_or(host.len())];
    let labels = host.split(|byte| *byte == b'.').filter(|label| !label.is_empty());
    let host = labels.collect::<Vec<_>>().join(&b'.').to_ascii_lowercase();
    if host.is_empty() {
        return None;
    }
    let known = std::str::from_utf8(&host).ok().and_then(|text| Host::parse(text).ok());
    Some(match known {
        Some(Host::Ipv4(address)) => (address.to_string(), true),
        Some(Host::Ipv6(address)) => match behind(address) {
            IpAddr::V4(address) => (address.to_string(), true),
            IpAddr::V6(address) => (format!("[{address}]"), true),
        },
        Some(Host::Domain(name)) => (name, false),
        // No browser goes there, but a hash of it may be asked for all the same.
        None => (escape(&host), false),
    })
}

/// The IPv4 address that an IPv6 address maps (RFC 4291) or is translated to (RFC 6052).
fn behind(address: std::net::Ipv6Addr) -> IpAddr {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::from([a, b, c, d])
        }
        _ => IpAddr::V6(address).to_canonical(),
    }
}

/// The path without `.`, `..` and runs of slashes.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut open = true;
    for part in path.split(|byte| *byte == b'/') {
        open = matches!(part, b"" | b"." | b"..");
        match part {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let mut resolved = vec![b'/'];
    resolved.extend(kept.join(&b'/'));
    if open && resolved.len() > 1 {
        resolved.push(b'/');
    }
    resolved
}

#[cfg(test)]
mod tests;
