//! The host suffixes and path prefixes under which a URL may be listed.
//!
//! Source: "URLs and Hashing" of the Safe Browsing documentation, "Suffix/prefix expressions".

use crate::canonical::Canonical;

/// Host suffixes besides the host itself.
const SUFFIXES: usize = 4;
/// Of a host, only so many of its last labels are looked at for suffixes.
const LABELS: usize = 5;
/// Path prefixes besides the path itself, the root among them.
const PREFIXES: usize = 4;

/// Every expression of a URL, at most 30, without repetitions.
///
/// ```
/// use knarr_url_scan::{canonical::canonicalize, expressions};
/// let url = canonicalize("http://b.c/1.html?x=1").unwrap();
/// assert_eq!(expressions(&url), ["b.c/1.html?x=1", "b.c/1.html", "b.c/"]);
/// ```
pub fn expressions(url: &Canonical) -> Vec<String> {
    let paths = paths(url);
    let all = hosts(url)
        .into_iter()
        .flat_map(|host| paths.iter().map(move |path| format!("{host}{path}")));
    all.collect()
}

fn hosts(url: &Canonical) -> Vec<&str> {
    let mut hosts = vec![url.host.as_str()];
    if url.is_address {
        return hosts;
    }
    // Where each label but the first begins; a suffix has two labels at least.
    let starts: Vec<_> = url.host.match_indices('.').map(|(at, _)| at + 1).collect();
    let from = (starts.len() + 1).saturating_sub(LABELS).saturating_sub(1);
    let suffixes = starts.iter().skip(from).take(starts.len().saturating_sub(1 + from));
    hosts.extend(suffixes.map(|at| &url.host[*at..]).take(SUFFIXES));
    hosts
}

fn paths(url: &Canonical) -> Vec<String> {
    let mut paths = Vec::new();
    if let Some(query) = url.query.as_ref().filter(|query| !query.is_empty()) {
        paths.push(format!("{}?{query}", url.path));
    }
    paths.push(url.path.clone());
    let slashes = url.path.match_indices('/').map(|(at, _)| &url.path[..=at]);
    for prefix in slashes.take(PREFIXES) {
        if prefix != url.path {
            paths.push(prefix.to_owned());
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use crate::canonical::canonicalize;

    use super::*;

    fn check(url: &str, expected: &[&str]) {
        let mut found = expressions(&canonicalize(url).expect(url));
        let mut expected: Vec<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn the_published_examples_come_out_as_published() {
        check(
            "http://a.b.c/1/2.html?param=1",
            &[
                "a.b.c/1/2.html?param=1",
                "a.b.c/1/2.html",
                "a.b.c/",
                "a.b.c/1/",
                "b.c/1/2.html?param=1",
                "b.c/1/2.html",
                "b.c/",
                "b.c/1/",
            ],
        );
        check(
            "http://a.b.c.d.e.f.g/1.html",
            &[
                "a.b.c.d.e.f.g/1.html",
                "a.b.c.d.e.f.g/",
                "c.d.e.f.g/1.html",
                "c.d.e.f.g/",
                "d.e.f.g/1.html",
                "d.e.f.g/",
                "e.f.g/1.html",
                "e.f.g/",
                "f.g/1.html",
                "f.g/",
            ],
        );
        check("http://1.2.3.4/1/", &["1.2.3.4/1/", "1.2.3.4/"]);
    }

    #[test]
    fn hosts_of_every_length_and_deep_paths_stay_within_thirty() {
        check("http://b/", &["b/"]);
        check("http://a.b/?", &["a.b/"]);
        check(
            "http://[2001:470:1:18::114]/a/b",
            &["[2001:470:1:18::114]/a/b", "[2001:470:1:18::114]/a/", "[2001:470:1:18::114]/"],
        );
        check("http://a.b.c.d.e/", &["a.b.c.d.e/", "b.c.d.e/", "c.d.e/", "d.e/"]);
        check("http://a.b.c.d.e.f/", &["a.b.c.d.e.f/", "b.c.d.e.f/", "c.d.e.f/", "d.e.f/", "e.f/"]);
        check(
            "http://a.b/1/2/3/4/5.html?q",
            &[
                "a.b/1/2/3/4/5.html?q",
                "a.b/1/2/3/4/5.html",
                "a.b/",
                "a.b/1/",
                "a.b/1/2/",
                "a.b/1/2/3/",
            ],
        );
        let longest = canonicalize("http://1.2.3.4.a.b.c.d.e.f/1/2/3/4/5/6?q").expect("a host");
        assert_eq!(expressions(&longest).len(), 30);
    }
}
