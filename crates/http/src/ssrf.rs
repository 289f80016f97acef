//! Which addresses may be called: the public internet, and what the operator allows besides.
//!
//! Sources: the IANA special-purpose address registries (RFC 6890 and its successors), and the
//! metadata addresses of the large clouds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

/// Addresses (CIDRs) and host names that may be called though they are not public.
///
/// Written as in `KNARR_HTTP_ALLOW`: `127.0.0.0/8, ::1, sandbox.internal`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    nets: Vec<IpNet>,
    hosts: BTreeSet<String>,
}

/// Why a text is no list of addresses and host names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address range such as `10.0.0.0/8` nor a host name")]
pub struct BadAllow(String);

/// An address that must not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The host has only addresses that are not public.
    #[error(
        "{host} is at {address}, which is not on the public internet; KNARR_HTTP_ALLOW can allow it"
    )]
    NotPublic {
        /// The host as it was asked for.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The text is no address that this client calls.
    #[error("the address cannot be called: {0}")]
    BadUrl(&'static str),
}

impl Allow {
    /// Allows an address range.
    #[must_use]
    pub fn net(mut self, net: IpNet) -> Self {
        self.nets.push(net);
        self
    }

    /// Allows a host by name, whatever its addresses are.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.insert(plain_name(name));
        self
    }

    /// Whether the host is allowed by its name.
    pub fn allows_host(&self, name: &str) -> bool {
        self.hosts.contains(&plain_name(name))
    }

    /// Whether the address may be called: it is public, or within an allowed range.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.nets.iter().any(|net| net.contains(&address))
    }

    /// Looks at an address before anything is sent. An IP literal is vetted here, since no
    /// resolver ever sees it; a name is vetted when it is resolved.
    ///
    /// # Errors
    /// Why it must not be called.
    pub fn vet(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::BadUrl("its scheme is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::BadUrl("it holds credentials"));
        }
        let address = match url.host() {
            None => return Err(Refused::BadUrl("it has no host")),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        let host = address.to_string();
        if self.allows(address) || self.allows_host(&host) {
            return Ok(());
        }
        Err(Refused::NotPublic { host, address })
    }

    /// The addresses of a name that may be called.
    ///
    /// # Errors
    /// One address that may not, when there is no other.
    pub(crate) fn vetted(
        &self,
        host: &str,
        addresses: Vec<IpAddr>,
    ) -> Result<Vec<IpAddr>, Refused> {
        if self.allows_host(host) {
            return Ok(addresses);
        }
        let (allowed, refused): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| self.allows(*address));
        match refused.first() {
            Some(address) if allowed.is_empty() => {
                Err(Refused::NotPublic { host: host.to_owned(), address: *address })
            }
            _ => Ok(allowed),
        }
    }
}

impl FromStr for Allow {
    type Err = BadAllow;

    fn from_str(text: &str) -> Result<Self, BadAllow> {
        let mut allow = Allow::default();
        for part in text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            if let Ok(net) = part.parse::<IpNet>() {
                allow.nets.push(net);
            } else if let Ok(address) = part.parse::<IpAddr>() {
                allow.nets.push(IpNet::from(address.to_canonical()));
            } else if is_name(part) {
                allow.hosts.insert(plain_name(part));
            } else {
                return Err(BadAllow(part.to_owned()));
            }
        }
        Ok(allow)
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets = self.nets.iter().map(IpNet::to_string);
        let all: Vec<_> = nets.chain(self.hosts.iter().cloned()).collect();
        f.write_str(&all.join(", "))
    }
}

/// A host name: labels of letters, digits, `-` and `_`; the last is no number, which would be an
/// address range written wrongly.
fn is_name(text: &str) -> bool {
    let text = text.trim_end_matches('.');
    let fits = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(fits) && !last.chars().all(|c| c.is_ascii_digit())
}

fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether an address is on the public internet, looked at through the ways of writing an IPv4
/// address as an IPv6 one.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)                     // this network, private, loopback
            | (100, 64..=127, _)                 // shared space, and Alibaba's metadata within
            | (169, 254, _)                      // link-local, and most clouds' metadata
            | (172, 16..=31, _) | (192, 168, _)  // private
            | (192, 0, 0)                        // protocol assignments, and Oracle's metadata
            | (192, 0, 2) | (198, 51, 100) | (203, 0, 113) // documentation
            | (192, 88, 99)                      // 6to4 relays
            | (198, 18 | 19, _)                  // benchmarks
            | (224..=255, _, _) // multicast, reserved, broadcast
    );
    let azure = (a, b, c, d) == (168, 63, 129, 16);
    !special && !azure
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    // NAT64 (RFC 6052): what is called is the IPv4 address at its end.
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Everything public is in 2000::/3; so neither loopback, nor unique local, link-local,
    // multicast, IPv4-compatible, local NAT64 or discard addresses come further.
    let global = s[0] & 0xe000 == 0x2000;
    let assigned = s[0] == 0x2001 && s[1] < 0x0200; // protocol assignments, Teredo within
    let documentation = (s[0] == 0x2001 && s[1] == 0x0db8) || (s[0] == 0x3fff && s[1] < 0x1000);
    let six_to_four = s[0] == 0x2002;
    global && !assigned && !documentation && !six_to_four
}

#[cfg(test)]
mod tests;
