//! What services ask.

use super::*;

#[test]
fn syn_cookies_are_read_and_what_cannot_be_meant_is_shown() {
    let service = |port: &str, cookies: &str| {
        format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"{port}\"\nsyn_cookies = {cookies}\n")
    };
    for (text, expected) in [
        ("\"off\"", SynCookies::default()),
        ("\"auto\"", SynCookies::auto(1_000, 500)),
        ("\"always\"", SynCookies { mode: CookieMode::Always, ..SynCookies::default() }),
        ("{ start = \"70/s\" }", SynCookies::auto(70, 35)),
        ("{ start = \"70/s\", stop = \"70/s\" }", SynCookies::auto(70, 70)),
    ] {
        let ruleset = Bundle::of_text("rules.toml", &service("tcp/1", text)).parse().unwrap();
        assert_eq!(ruleset.services[0].syn_cookies, expected, "{text}");
    }
    for (port, text, column, words) in [
        ("tcp/1", "\"on\"", 15, &["cannot be \"on\"", "always"][..]),
        ("tcp/1", "true", 15, &["syn_cookies"]),
        ("udp/1", "\"auto\"", 15, &["without a port of TCP"]),
        ("tcp/1", "{ stop = \"1/s\" }", 15, &["start"]),
        ("tcp/1", "{ start = \"1/m\" }", 25, &["1/m", "in a second"]),
        ("tcp/1", "{ start = \"-1/s\" }", 25, &["-1/s"]),
        ("tcp/1", "{ start = \"99999999999/s\" }", 25, &["99999999999/s"]),
        ("tcp/1", "{ start = \"0/s\" }", 25, &["always"]),
        ("tcp/1", "{ start = \"5/s\", stop = \"6/s\" }", 39, &["begin above 5", "end at 6"]),
        ("tcp/1", "{ start = \"5/s\", rate = \"6/s\" }", 32, &["rate"]),
    ] {
        check_errors(&service(port, text), &[(5, column, words)]);
    }
}

#[test]
fn what_a_service_asks_of_its_clients_fits_what_is_spoken_there() {
    let service = |lines: &str| format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"tcp/1\"\n{lines}\n");
    let of_tls = "protocol = \"tls\"\nrequire_tls = true\nmin_tls = \"1.2\"";
    let ruleset = Bundle::of_text("rules.toml", &service(of_tls)).parse().unwrap();
    let TlsRequirements { required, oldest } = ruleset.services[0].tls;
    assert_eq!((required, oldest), (true, Some(TlsVersion::Tls12)));
    check_errors(&service("require_tls = true"), &[(5, 15, &["only", "protocol = \"tls\""])]);
    check_errors(&service("protocol = \"http1\"\nmin_tls = \"1.2\""), &[(6, 11, &["only", "tls"])]);
    check_errors(&service("protocol = \"tls\"\nmin_tls = \"1.4\""), &[(6, 11, &["min_tls cannot be"])]);
    check_errors(&service("proxy_protocol = true"), &[(5, 18, &["means nothing", "protocol = \"tls\""])]);
    let proxied = service("protocol = \"mysql\"\nproxy_protocol = true");
    assert!(Bundle::of_text("rules.toml", &proxied).parse().unwrap().services[0].proxy_protocol);
    let h2c = service("protocol = \"h2c\"").replace("tcp/1", "udp/1");
    check_errors(&h2c, &[(4, 8, &["udp/1 cannot speak h2c", "tcp/1"])]);
    check_errors(&service("protocol = \"h3\""), &[(5, 12, &["protocol", "dns, h2c"])]);
    let udp = service("protocol = \"tls\"").replace("tcp/1", "udp/1");
    check_errors(&udp, &[(4, 8, &["udp/1 cannot speak tls", "tcp/1"])]);
    let of_dns = service("protocol = \"dns\"").replace("\"tcp/1\"", "[\"udp/1\", \"tcp/1\"]");
    let ruleset = Bundle::of_text("rules.toml", &of_dns).parse().unwrap();
    assert_eq!((ruleset.services[0].protocol, ruleset.services[0].ports.len()), (Protocol::Dns, 2));
    let proxied = service("protocol = \"dns\"\nproxy_protocol = true");
    check_errors(
        &proxied,
        &[(6, 18, &["proxy_protocol means nothing for a service of dns", "leave this out"])],
    );
    let alone = service("protocol = \"http1\"\nresponses = false");
    assert!(!Bundle::of_text("rules.toml", &alone).parse().unwrap().services[0].responses);
    check_errors(&service("protocol = \"tls\"\nresponses = false"), &[(6, 13, &["http1", "leave this out"])]);
    let sctp = service("protocol = \"dns\"").replace("tcp/1", "sctp/1");
    check_errors(&sctp, &[(4, 8, &["sctp/1 cannot speak dns", "UDP and TCP", "udp/1"])]);
}

#[test]
fn what_is_inside_of_tls_is_read_of_processes_that_are_named() {
    let service = |lines: &str| format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"tcp/1\"\n{lines}\n");
    let of_tls = |lines: &str| service(&format!("protocol = \"tls\"\ndecrypt_by = \"uprobe\"\n{lines}"));
    for (lines, from) in [
        ("", DecryptFrom::Listeners),
        (r#"decrypt_from = { unit = "nginx.service" }"#, DecryptFrom::Unit("nginx.service".to_owned())),
        (r#"decrypt_from = { path = "/usr/sbin/nginx" }"#, DecryptFrom::Path("/usr/sbin/nginx".to_owned())),
    ] {
        let ruleset = Bundle::of_text("rules.toml", &of_tls(lines)).parse().unwrap();
        assert_eq!(ruleset.services[0].decrypt, Some(from));
    }
    check_errors(&service("decrypt_by = \"uprobe\""), &[(5, 14, &["only", "protocol = \"tls\""])]);
    check_errors(
        &service("protocol = \"tls\"\ndecrypt_by = \"key\""),
        &[(6, 14, &["decrypt_by cannot be", "uprobe"])],
    );
    check_errors(
        &service("protocol = \"tls\"\ndecrypt_from = { unit = \"a.service\" }"),
        &[(6, 16, &["without decrypt_by", "decrypt_by = \"uprobe\""])],
    );
    check_errors(&of_tls("decrypt_from = \"nginx\""), &[(7, 16, &["not a table", "unit ="])]);
    check_errors(&of_tls("decrypt_from = {}"), &[(7, 16, &["names nothing", "leave it out"])]);
    check_errors(
        &of_tls("decrypt_from = { pid = 7 }"),
        &[(7, 16, &["names nothing"]), (7, 18, &["pid", "unit"])],
    );
    check_errors(
        &of_tls("decrypt_from = { unit = \"nginx\" }"),
        &[(7, 25, &["no name of a unit", "nginx.service"])],
    );
    check_errors(
        &of_tls("decrypt_from = { path = \"nginx\" }"),
        &[(7, 25, &["no path from the root", "/usr"])],
    );
    check_errors(
        &of_tls("decrypt_from = { unit = \"a.service\", path = \"/a\" }"),
        &[(7, 45, &["both", "leave one"])],
    );
}
