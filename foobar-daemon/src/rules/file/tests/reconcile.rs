use super::*;
use crate::rules::model::{CountingServer, Reconcile, StatusPage};

fn service(protocol: &str, reconcile: &str) -> String {
    format!(
        "schema = 1\n[[service]]\nname = \"a\"\nport = \"tcp/1\"\nprotocol = {protocol}\nreconcile = {reconcile}\n"
    )
}

#[test]
fn a_service_names_the_server_to_compare_with() {
    let page = |address: &str, path: &str| {
        CountingServer::Nginx(StatusPage { address: address.parse().unwrap(), path: path.to_owned() })
    };
    let mysql = CountingServer::Mysql("/etc/foobar/mysql.cnf".to_owned());
    for (protocol, written, server, seconds) in [
        (
            r#""http1""#,
            r#"{ nginx_status = "http://127.0.0.1:8081/status" }"#,
            page("127.0.0.1:8081", "/status"),
            10,
        ),
        (r#""http1""#, r#"{ nginx_status = "http://127.0.0.9" }"#, page("127.0.0.9:80", "/"), 10),
        (r#""http1""#, r#"{ nginx_status = "http://[::1]/s?a=b" }"#, page("[::1]:80", "/s?a=b"), 10),
        (
            "\"tls\"\ndecrypt_by = \"uprobe\"",
            r#"{ nginx_status = "http://[::1]:81/", every = "1m" }"#,
            page("[::1]:81", "/"),
            60,
        ),
        (r#""mysql""#, r#"{ mysql = "/etc/foobar/mysql.cnf", every = "3s" }"#, mysql, 3),
    ] {
        let ruleset = Bundle::of_text("rules.toml", &service(protocol, written)).parse().unwrap();
        let expected = Reconcile { server, every: Duration::from_secs(seconds) };
        assert_eq!(ruleset.services[0].reconcile, Some(expected), "{written}");
    }
}

#[test]
fn a_server_that_cannot_be_compared_with_is_refused() {
    for (protocol, written, column, said) in [
        ("\"http1\"", r#""nginx""#, 13, &["not a table", "nginx_status ="][..]),
        ("\"http1\"", "{}", 13, &["names no server", "nginx_status ="]),
        ("\"http1\"", r#"{ nginx_status = "https://127.0.0.1/" }"#, 30, &["begin with http://"]),
        ("\"http1\"", r#"{ nginx_status = "http://localhost/" }"#, 30, &["no address", "127.0.0.1:8081"]),
        ("\"http1\"", r#"{ nginx_status = "http://a@127.0.0.1/" }"#, 30, &["no address"]),
        ("\"http1\"", r#"{ nginx_status = "http://::1/" }"#, 30, &["no address"]),
        ("\"http1\"", r#"{ nginx_status = "http://127.0.0.1:0/" }"#, 30, &["not on this machine"]),
        ("\"http1\"", r#"{ nginx_status = "http://192.0.2.1/" }"#, 30, &["not on this machine"]),
        ("\"http1\"", r#"{ nginx_status = "http://127.0.0.1/a b" }"#, 30, &["characters"]),
        ("\"http1\"", r#"{ nginx_status = "http://127.0.0.1/\r\nHost: b" }"#, 30, &["characters"]),
        ("\"http1\"", "{ nginx_status = 7 }", 30, &["a text in quotes"]),
        ("\"http1\"", r#"{ mysql = "/a" }"#, 23, &["no queries", "protocol = \"mysql\""]),
        ("\"mysql\"", r#"{ mysql = "a.cnf" }"#, 23, &["no path from the root", "/etc/foobar/mysql.cnf"]),
        ("\"mysql\"", r#"{ nginx_status = "http://127.0.0.1/" }"#, 30, &["no requests", "http1"]),
        ("\"tls\"", r#"{ nginx_status = "http://127.0.0.1/" }"#, 30, &["of TLS no requests", "decrypt_by"]),
        ("\"raw\"", r#"{ nginx_status = "http://127.0.0.1/" }"#, 30, &["service of raw", "http1"]),
        (
            "\"mysql\"",
            r#"{ mysql = "/a", nginx_status = "http://127.0.0.1/" }"#,
            23,
            &["two servers", "leave one"],
        ),
        (
            "\"mysql\"",
            r#"{ mysql = "/a", every = "2s" }"#,
            37,
            &["every cannot be \"2s\"", "\"3s\" to \"1h\""],
        ),
        ("\"mysql\"", r#"{ mysql = "/a", every = "soon" }"#, 37, &["every cannot be", "10s"]),
        ("\"mysql\"", r#"{ mysql = "/a", often = "3s" }"#, 29, &["no key \"often\""]),
    ] {
        check_errors(&service(protocol, written), &[(6, column, said)]);
    }
}
