//! Where the broker is: the URL of one or several hosts, and the addresses that messages carry.

use std::fmt::Write as _;

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::settings::Settings;

/// The hosts of a broker, in the order in which they are tried.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    pub(crate) hosts: Vec<AMQPUri>,
    /// `rabbitmq://host/vhost/`, to which an endpoint's name is appended.
    base: String,
}

impl Broker {
    /// Takes `settings.url` apart. The error never repeats the URL, which holds a password.
    pub(crate) fn parse(settings: &Settings) -> Result<Broker, String> {
        const FORM: &str = "amqp[s]://user:password@host:port[,host:port…]/vhost";
        let wrong = |why: &str| format!("the broker's URL {why} (expected {FORM})");
        let (scheme, rest) =
            settings.url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (authority, tail) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        // lapin takes `/` for the virtual host "", which nobody means.
        let tail = match tail.strip_prefix('/') {
            Some(rest) if rest.is_empty() || rest.starts_with('?') => format!("/%2f{rest}"),
            _ => tail.to_owned(),
        };
        let hosts = hosts
            .split(',')
            .map(|host| {
                let host = host.trim();
                let name = match host.strip_prefix('[') {
                    Some(rest) => rest.split(']').next().unwrap_or_default(),
                    None => host.split(':').next().unwrap_or_default(),
                };
                if name.is_empty() {
                    return Err(wrong("has a host without a name"));
                }
                // The parser's own words may repeat what it was given.
                let mut uri: AMQPUri = format!("{scheme}://{login}{host}{tail}")
                    .parse()
                    .map_err(|_: String| wrong("cannot be read"))?;
                name.clone_into(&mut uri.authority.host);
                let heartbeat = settings.heartbeat.as_secs().clamp(1, u64::from(u16::MAX));
                let limit = u64::try_from(settings.connect_timeout.as_millis());
                uri.query.heartbeat.get_or_insert(u16::try_from(heartbeat).unwrap_or(u16::MAX));
                uri.query.connection_timeout.get_or_insert(limit.unwrap_or(u64::MAX));
                Ok(uri)
            })
            .collect::<Result<Vec<_>, String>>()?;
        let base = hosts.first().map(base).ok_or_else(|| wrong("names no host"))?;
        Ok(Broker { hosts, base })
    }

    /// The address of an endpoint, as MassTransit writes it (masstransit-wire §6).
    pub(crate) fn address(&self, endpoint: &str) -> String {
        format!("{}{}", self.base, encode(endpoint))
    }
}

fn base(uri: &AMQPUri) -> String {
    let (scheme, port) = match uri.scheme {
        AMQPScheme::AMQP => ("rabbitmq", 5672),
        AMQPScheme::AMQPS => ("rabbitmqs", 5671),
    };
    let host = &uri.authority.host;
    let mut text = match host.contains(':') {
        true => format!("{scheme}://[{host}]"),
        false => format!("{scheme}://{host}"),
    };
    if uri.authority.port != port {
        let _infallible = write!(text, ":{}", uri.authority.port);
    }
    text.push('/');
    if uri.vhost != "/" {
        let _infallible = write!(text, "{}/", encode(&uri.vhost));
    }
    text
}

/// Percent-encodes what may not stand in one segment of a path.
fn encode(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:!$'()*+,;=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<Broker, String> {
        Broker::parse(&Settings::new(url))
    }

    #[test]
    fn pe_045_several_hosts_share_login_and_virtual_host() {
        let broker = broker("amqps://me:s3%40cret@one:5673,two,[::1]:5674/a%2Fb").expect("a URL");
        let seen: Vec<_> = broker
            .hosts
            .iter()
            .map(|uri| (uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str()))
            .collect();
        assert_eq!(seen, [("one", 5673, "a/b"), ("two", 5671, "a/b"), ("::1", 5674, "a/b")]);
        assert!(broker.hosts.iter().all(|uri| uri.authority.userinfo.password == "s3@cret"));
    }

    #[test]
    fn mt_311_addresses_are_those_of_masstransit() {
        let address = |url: &str| broker(url).expect("a URL").address("url-scan");
        assert_eq!(address("amqp://h"), "rabbitmq://h/url-scan");
        assert_eq!(address("amqp://h:5672/"), "rabbitmq://h/url-scan");
        assert_eq!(address("amqp://h:5673/%2f"), "rabbitmq://h:5673/url-scan");
        assert_eq!(address("amqp://[::1]/v"), "rabbitmq://[::1]/v/url-scan");
        assert_eq!(address("amqp://h/a%2Fb"), "rabbitmq://h/a%2Fb/url-scan");
        assert_eq!(address("amqps://h,other/v"), "rabbitmqs://h/v/url-scan");
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_the_password() {
        for url in ["host:5672", "http://me:secret@host/", "amqp://me:secret@:x/", "amqp://"] {
            let why = broker(url).expect_err(url);
            assert!(why.contains("amqp[s]://") && !why.contains("secret"), "{url}: {why}");
        }
    }
}
