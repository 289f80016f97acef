//! What each host stands for.

/// How the services behave towards a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Clean,
    Malicious,
    Suspicious,
    Unknown,
    Slow,
    Never,
    Boom,
    Deadline,
    Html,
    Refused,
    Future,
    Collide,
}

/// Hosts that are not simply clean.
pub(crate) const HOSTS: [(&str, Behaviour); 12] = [
    ("malicious.test", Behaviour::Malicious),
    ("testsafebrowsing.appspot.com", Behaviour::Malicious),
    ("suspicious.test", Behaviour::Suspicious),
    ("unknown.test", Behaviour::Unknown),
    ("slow.test", Behaviour::Slow),
    ("never.test", Behaviour::Never),
    ("boom.test", Behaviour::Boom),
    ("deadline.test", Behaviour::Deadline),
    ("html.test", Behaviour::Html),
    ("refused.test", Behaviour::Refused),
    ("future.test", Behaviour::Future),
    ("collide.test", Behaviour::Collide),
];

/// The behaviour towards a URL: that of its host, or of a host above it.
pub(crate) fn of_url(url: &str) -> Behaviour {
    let parsed = url::Url::parse(url).or_else(|_| url::Url::parse(&format!("http://{url}")));
    let host = parsed.ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
    host.map_or(Behaviour::Clean, |host| of_host(&host))
}

fn of_host(host: &str) -> Behaviour {
    HOSTS
        .iter()
        .find(|(name, _)| host == *name || host.ends_with(&format!(".{name}")))
        .map_or(Behaviour::Clean, |(_, behaviour)| *behaviour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_domains_behave_like_their_host_and_strangers_are_clean() {
        assert_eq!(of_url("https://a.malicious.test/x?y=1"), Behaviour::Malicious);
        assert_eq!(of_url("http://notmalicious.test/"), Behaviour::Clean);
        assert_eq!(of_url("slow.test/path"), Behaviour::Slow);
        assert_eq!(of_url("::"), Behaviour::Clean);
    }
}
