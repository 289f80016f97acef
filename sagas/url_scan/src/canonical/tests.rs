//! The vectors of Google's page "URLs and Hashing", and what its version 5 adds for addresses.

use super::*;

#[test]
fn the_published_vectors_come_out_as_published() {
    let vectors: &[(&[u8], &str)] = &[
        (b"http://host/%25%32%35", "http://host/%25"),
        (b"http://host/%25%32%35%25%32%35", "http://host/%25%25"),
        (b"http://host/%2525252525252525", "http://host/%25"),
        (b"http://host/asdf%25%32%35asd", "http://host/asdf%25asd"),
        (b"http://host/%%%25%32%35asd%%", "http://host/%25%25%25asd%25%25"),
        (b"http://www.google.com/", "http://www.google.com/"),
        (
            b"http://%31%36%38%2e%31%38%38%2e%39%39%2e%32%36/%2E%73%65%63%75%72%65/%77%77%77%2E%65%62%61%79%2E%63%6F%6D/",
            "http://168.188.99.26/.secure/www.ebay.com/",
        ),
        (
            b"http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/",
            "http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/",
        ),
        (
            b"http://host%23.com/%257Ea%2521b%2540c%2523d%2524e%25f%255E00%252611%252A22%252833%252944_55%252B",
            "http://host%23.com/~a!b@c%23d$e%25f^00&11*22(33)44_55+",
        ),
        (b"http://3279880203/blah", "http://195.127.0.11/blah"),
        (b"http://www.google.com/blah/..", "http://www.google.com/"),
        (b"www.google.com/", "http://www.google.com/"),
        (b"www.google.com", "http://www.google.com/"),
        (b"http://www.evil.com/blah#frag", "http://www.evil.com/blah"),
        (b"http://www.GOOgle.com/", "http://www.google.com/"),
        (b"http://www.google.com.../", "http://www.google.com/"),
        (b"http://www.google.com/foo\tbar\rbaz\n2", "http://www.google.com/foobarbaz2"),
        (b"http://www.google.com/q?", "http://www.google.com/q?"),
        (b"http://www.google.com/q?r?", "http://www.google.com/q?r?"),
        (b"http://www.google.com/q?r?s", "http://www.google.com/q?r?s"),
        (b"http://evil.com/foo#bar#baz", "http://evil.com/foo"),
        (b"http://evil.com/foo;", "http://evil.com/foo;"),
        (b"http://evil.com/foo?bar;", "http://evil.com/foo?bar;"),
        (b"http://\x01\x80.com/", "http://%01%80.com/"),
        (b"http://notrailingslash.com", "http://notrailingslash.com/"),
        (b"http://www.gotaport.com:1234/", "http://www.gotaport.com/"),
        (b"  http://www.google.com/  ", "http://www.google.com/"),
        (b"http:// leadingspace.com/", "http://%20leadingspace.com/"),
        (b"http://%20leadingspace.com/", "http://%20leadingspace.com/"),
        (b"%20leadingspace.com/", "http://%20leadingspace.com/"),
        (b"https://www.securesite.com/", "https://www.securesite.com/"),
        (b"http://host.com/ab%23cd", "http://host.com/ab%23cd"),
        (
            b"http://host.com//twoslashes?more//slashes",
            "http://host.com/twoslashes?more//slashes",
        ),
    ];
    for (given, expected) in vectors {
        let url = of_bytes(given).map(|url| url.to_string());
        assert_eq!(url.as_deref(), Some(*expected), "{}", String::from_utf8_lossy(given));
    }
}

#[test]
fn hosts_lose_credentials_ports_and_dots_and_addresses_get_one_spelling() {
    for (given, expected) in [
        ("http://user:pa@ss@example.com:8080/", "example.com"),
        ("http://..a...b.example..:80", "a.b.example"),
        ("http://www.\u{fc}mlat.com/", "www.xn--mlat-zra.com"),
        ("http://0x12.0x43.0x44.0x01/", "18.67.68.1"),
        ("http://012.034.01.055/", "10.28.1.45"),
        ("http://12.0x12.01234/", "12.18.2.156"),
        ("http://167838211/", "10.1.2.3"),
        ("http://192.168.0.1:80/index.html", "192.168.0.1"),
        ("http://[2001:0db8:0000::1]:443/", "[2001:db8::1]"),
        (
            "http://[FEDC:BA98:7654:3210:FEDC:BA98:7654:3210]",
            "[fedc:ba98:7654:3210:fedc:ba98:7654:3210]",
        ),
        ("http://[::ffff:1.2.3.4]/", "1.2.3.4"),
        ("http://[64:ff9b::1.2.3.4]/", "1.2.3.4"),
        ("http%3A%2F%2Fwackyurl.com:80/", "wackyurl.com"),
        ("http://W!eird<>Ho$^.com/", "w!eird<>ho$^.com"),
    ] {
        assert_eq!(canonicalize(given).expect(given).host, expected, "{given}");
    }
}

#[test]
fn paths_are_resolved_and_queries_are_not() {
    for (given, expected) in [
        ("http://a.com", "/"),
        ("http://a.com/foo/.././bar/./../foo.html", "/foo.html"),
        ("http://a.com//a//b///c////", "/a/b/c/"),
        ("http://a.com/../../x", "/x"),
        ("http://a.com/a/.", "/a/"),
        ("http://a.com/a%2F%2E%2E%2Fb", "/b"),
        ("http://a.com?x=/../y", "/"),
    ] {
        assert_eq!(canonicalize(given).expect(given).path, expected, "{given}");
    }
    let url = canonicalize("http://a.com?x=/../y%20z").expect("a host");
    assert_eq!(url.query.as_deref(), Some("x=/../y%20z"));
}

#[test]
fn what_names_no_host_has_no_canonical_form() {
    for text in
        ["", ":", "/blah", "#ref", "?query#ref", "http://#ref", "http:///blah", "http://..."]
    {
        assert_eq!(canonicalize(text), None, "{text}");
    }
}

#[test]
fn the_canonical_form_of_what_a_browser_takes_is_its_own_canonical_form() {
    // Every text of three from the characters that steer the parser, and then some.
    let alphabet: Vec<&str> =
        "a.b/ / ? # % %2 %25 %2F : @ [ ] . .. // \\ \u{fc} 0x7 :80".split(' ').collect();
    for one in &alphabet {
        for two in &alphabet {
            for three in &alphabet {
                let text = format!("http://h{one}{two}{three}");
                let Ok(read) = url::Url::parse(&text) else { continue };
                let Some(url) = canonicalize(read.as_str()) else { continue };
                let again = canonicalize(&url.to_string());
                assert_eq!(again, Some(url), "{text}");
            }
        }
    }
}
