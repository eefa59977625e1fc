//! Services behind a proxy: what the proxy says first is passed over, and the client is counted as it would be alone.

use anyhow::{Result, ensure};
use foobar_common::{
    proxy::ProxyHeader,
    service::{FirstBytes, Loss},
    verdict::Reason,
};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    figures::say,
    haproxy::Haproxy,
    network::{Network, SERVER, SERVER_V4},
    service::Service,
    tap::settle,
    web_server::{PAGE, WebServer},
};

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\xc0\0\x02\x01\xc3\x50\x01\xbb";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n";

fn rules(protocol: &str) -> String {
    format!(
        "schema = 1\n[[service]]\nname = \"a\"\nport = [\"tcp/80\"]\nprotocol = \"{protocol}\"\nproxy_protocol = true\n"
    )
}

#[test]
fn requests_behind_a_header_are_counted() {
    let mut service = Service::new(&rules("http1"), 80);
    // A binary header with more than fits a segment.
    let long = [&V2[..14], &[0x0b, 0xb8], &V2[16..], &vec![b'G'; 3_000 - 12]].concat();
    let mut expected = [0; 4];
    for (header, kind) in [
        (V1, ProxyHeader::V1),
        (V2, ProxyHeader::V2),
        (long.as_slice(), ProxyHeader::V2),
        (b"", ProxyHeader::None),
    ] {
        for is_apart in [false, true] {
            let connection = service.connect();
            let stream = [header, GET, GET].concat();
            let first = if is_apart && !header.is_empty() {
                header.len().min(1_400)
            } else {
                stream.len().min(1_400)
            };
            let mut start = 0;
            let mut end = first;
            while start < stream.len() {
                service.goes_in(&connection.asked(start, &stream[start..end]));
                // It may be sent again.
                service.goes_in(&connection.asked(start, &stream[start..end]));
                (start, end) = (end, (end + 1_400).min(stream.len()));
            }
            expected[kind as usize] += 1;
        }
    }
    let ProtocolCounters::Http1(counters) = service.spoken() else { unreachable!("a service of HTTP/1.x") };
    assert_eq!((counters.requests[0], counters.lost.total(), counters.connections), (16, 0, 8));
    assert_eq!(headers(&service), expected);
    assert_eq!(service.bytes().lost, 0);
    service.assert_bytes_add_up();
}

#[test]
fn a_header_in_two_segments_is_declared() {
    for protocol in ["http1", "h2c", "tls", "mysql"] {
        let mut service = Service::new(&rules(protocol), 80);
        let connection = service.connect();
        service.goes_in(&connection.asked(0, &V1[..20]));
        service.goes_in(&connection.asked(20, &[&V1[20..], GET].concat()));
        assert_eq!(headers(&service), [0, 0, 0, 1], "{protocol}");
        let lost = match service.spoken() {
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => counters.lost,
            ProtocolCounters::Tls(counters) => counters.lost,
            ProtocolCounters::Mysql(counters, _) => counters.lost,
            ProtocolCounters::Raw(_) | ProtocolCounters::Http1Requests(_) | ProtocolCounters::Dns(_) => {
                unreachable!("proxies speak to no such service")
            }
        };
        assert_eq!((lost.total(), lost.0[0][Loss::Proxy as usize]), (1, 1), "{protocol}");
        service.assert_bytes_add_up();
    }
}

#[test]
fn tls_is_required_behind_the_header() {
    let mut service = Service::new(&format!("{}require_tls = true\n", rules("tls")), 80);
    let alert = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    for (bytes, reason) in [
        ([V2, &alert[..6]].concat(), Reason::Policy),
        ([V1, &alert[..6]].concat(), Reason::Policy),
        (V1.to_vec(), Reason::Policy),
        ([V2, GET].concat(), Reason::NotTls),
        ([V1, V2].concat(), Reason::NotTls),
        // What a proxy did not send has to be TLS as well.
        (GET.to_vec(), Reason::NotTls),
        (alert[..6].to_vec(), Reason::Policy),
        // It cannot be told what comes behind it.
        (V1[..10].to_vec(), Reason::NotTls),
    ] {
        let connection = service.connect();
        assert_eq!(service.goes_in(&connection.asked(0, &bytes)).reason, reason, "{bytes:?}");
        if reason == Reason::NotTls {
            assert_eq!(service.goes_in(&connection.asked(bytes.len(), alert)).reason, reason, "{bytes:?}");
        }
    }
    let ProtocolCounters::Tls(counters) = service.spoken() else { unreachable!("a service of TLS") };
    assert_eq!(counters.connections[FirstBytes::Http1 as usize], 2);
    assert_eq!(headers(&service), [2, 3, 2, 1]);
}

/// The header tells nothing of a connection that the proxy opens for itself.
#[test]
fn haproxy_in_front_of_nginx() -> Result<()> {
    for (option, version) in [("send-proxy", "v1"), ("send-proxy-v2", "v2"), ("send-proxy-v2-ssl-cn", "v2")] {
        let network = Network::new()?;
        let page = PAGE.escape_default();
        let lines = format!(
            "listen 8080 proxy_protocol; location / {{ return 200 \"{page}\"; }} location /who {{ return 200 \
             \"$proxy_protocol_addr\"; }}"
        );
        let server = WebServer::serving(&network.server, &[8081], &lines)?;
        let rules = rules("http1").replace("tcp/80", "tcp/8080");
        let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
        foobar.start()?;
        let sections = format!("listen web\n bind 127.0.0.1:8000\n server one {SERVER_V4}:8080 {option}");
        let _proxy = Haproxy::start(&network.client, "tcp", &sections, 8000)?;
        let get = |path: &str, times: usize| -> Result<String> {
            let urls = vec![format!("http://127.0.0.1:8000{path}"); times];
            let output = network
                .client
                .command("curl")
                .args(["--silent", "--show-error", "--noproxy", "*"])
                .args(urls)
                .output()?;
            ensure!(output.status.success(), "{}", stderr(&output));
            Ok(stdout(&output))
        };
        ensure!(get("/who", 1)? == "127.0.0.1", "nginx does not know who asked");
        for _ in 0..5 {
            ensure!(get("/", 20)? == PAGE.repeat(20), "not the page");
        }
        settle();
        let metrics = foobar.scrape()?;
        let requests = metrics.count("foobar_http_requests_total", &[]);
        let served = server.requests(&network.server)?;
        let headers = metrics.count("foobar_proxy_connections_total", &[("header", version)]);
        let all = metrics.count("foobar_proxy_connections_total", &[]);
        let lost = metrics.count("foobar_l7_framing_lost_total", &[]);
        say(&format!(
            "{option}: {requests} requests counted, {served} served, {headers} headers, {lost} lost"
        ));
        ensure!(requests == 101 && served == 101, "{option}: {requests} requests counted, {served} served");
        ensure!(
            headers == all && headers > 0 && lost == 0,
            "{option}: {headers} of {all} headers, {lost} lost"
        );
    }
    Ok(())
}

fn headers(service: &Service) -> [u64; 4] {
    let counters = service.counters().services.into_values().next();
    counters.and_then(|service| service.proxied).expect("a service behind a proxy").headers
}
