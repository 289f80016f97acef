//! The table of addresses that must and must not be called.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn row_103_special_addresses_are_not_public_however_they_are_written() {
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::a00:1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2002:808:808::1",
        "3fff:fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ] {
        assert!(!is_public(ip(text)), "{text} must not be public");
        assert!(!Allow::default().allows(ip(text)), "{text}");
    }
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "168.63.129.17",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2606:4700::1111",
        "2a00:1450:4001:82a::200e",
        "3fff:1000::1",
    ] {
        assert!(is_public(ip(text)), "{text} must be public");
    }
}

#[test]
fn row_103_literals_are_vetted_in_every_notation_that_a_url_knows() {
    let allow = Allow::default();
    for text in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "https://10.0.0.1:8443/",
    ] {
        let url = Url::parse(text).expect(text);
        assert!(matches!(allow.vet(&url), Err(Refused::NotPublic { .. })), "{text}");
    }
    for text in ["http://8.8.8.8/", "https://[2606:4700::1111]/", "https://example.com/"] {
        assert_eq!(allow.vet(&Url::parse(text).expect(text)), Ok(()), "{text}");
    }
    for text in ["ftp://example.com/", "file:///etc/passwd", "https://u:p@example.com/"] {
        let url = Url::parse(text).expect(text);
        assert!(matches!(allow.vet(&url), Err(Refused::BadUrl(_))), "{text}");
    }
}

#[test]
fn the_allow_list_takes_ranges_addresses_and_names_and_nothing_else() {
    let allow: Allow = "127.0.0.0/8, ::1 10.1.2.3, Sandbox.Internal.".parse().expect("a list");
    assert_eq!(allow.to_string(), "127.0.0.0/8, ::1/128, 10.1.2.3/32, sandbox.internal");
    for text in ["127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
        assert!(allow.allows(ip(text)), "{text}");
    }
    for text in ["10.1.2.4", "::2", "169.254.169.254"] {
        assert!(!allow.allows(ip(text)), "{text}");
    }
    assert!(allow.allows_host("SANDBOX.internal") && !allow.allows_host("internal"));
    assert!("".parse::<Allow>().is_ok_and(|none| none == Allow::default()));
    for text in ["10.0.0.0/33", "10.0.0", "http://a", "a b:80", "300.1.1.1", "*"] {
        assert!(text.parse::<Allow>().is_err(), "{text}");
    }
}

#[test]
fn of_a_names_addresses_only_vetted_ones_are_left() {
    let allow = Allow::default();
    let mixed = vec![ip("10.0.0.1"), ip("8.8.8.8"), ip("::1")];
    assert_eq!(allow.vetted("a.example", mixed.clone()), Ok(vec![ip("8.8.8.8")]));
    let refused = allow.vetted("a.example", vec![ip("10.0.0.1")]).expect_err("private only");
    assert!(refused.to_string().contains("a.example is at 10.0.0.1"), "{refused}");
    assert_eq!(allow.host("A.example").vetted("a.example", mixed.clone()), Ok(mixed));
    assert_eq!(Allow::default().vetted("gone.example", Vec::new()), Ok(Vec::new()));
}
