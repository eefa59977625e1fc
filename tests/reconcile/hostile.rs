//! Servers that say anything but what they should.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::reconcile::Reason;
use foobar_tests::{
    daemon::Foobar,
    figures::say,
    http,
    network::{Network, SERVER},
    wait,
};

use super::{EVERY, all};

/// Where the first one listens.
const FIRST: u16 = 8101;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
/// What MariaDB says first; then it is satisfied with whatever the client says.
const GREETING: &[u8] = b"\x4f\0\0\x0010.11\0\0\0\0\0\0\0\0\0";

/// Whom it plays, what it does, and what that is counted as.
type Row = (&'static str, fn(&mut TcpStream), Reason);

const NGINX: [Row; 9] = [
    (
        "endless body",
        |stream| repeat(stream, format!("{HEAD}\r\n").as_bytes(), b"Active connections: 1 \n"),
        Reason::Answer,
    ),
    ("endless header", |stream| repeat(stream, HEAD.as_bytes(), b"X: y\r\n"), Reason::Answer),
    (
        "endless chunks",
        |stream| {
            let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
            repeat(stream, head.as_bytes(), b"4\r\nabcd\r\n");
        },
        Reason::Answer,
    ),
    ("garbage", |stream| say_once(stream, b"\x00\xff\x16\x03 no HTTP\r\n\r\n"), Reason::Answer),
    (
        "another page",
        |stream| {
            say_once(stream, format!("{HEAD}Content-Length: 5\r\n\r\nhello").as_bytes());
        },
        Reason::Answer,
    ),
    (
        "a redirect",
        |stream| {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{FIRST}/elsewhere\r\n\r\n");
            say_once(stream, head.as_bytes());
        },
        Reason::Status,
    ),
    ("one byte at a time", |stream| slowly(stream, HEAD.as_bytes()), Reason::Timeout),
    ("nothing", |_| thread::sleep(Duration::from_secs(2)), Reason::Timeout),
    ("an end", |_| {}, Reason::Answer),
];

const MYSQL: [Row; 7] = [
    ("a long packet", |stream| repeat(stream, b"\xff\xff\xff\0\x0a", b"x"), Reason::Answer),
    ("endless packets", |stream| repeat(stream, b"", b"\x01\0\0\0\x0a"), Reason::Answer),
    ("HTTP", |stream| say_once(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n"), Reason::Answer),
    ("a greeting that is cut", |stream| say_once(stream, GREETING), Reason::Answer),
    (
        "too many connections",
        |stream| say_once(stream, b"\x17\0\0\0\xff\x10\x04Too many connections"),
        Reason::Answer,
    ),
    ("nothing", |_| thread::sleep(Duration::from_secs(2)), Reason::Timeout),
    ("one byte at a time", |stream| slowly(stream, GREETING), Reason::Timeout),
];

fn say_once(stream: &mut TcpStream, bytes: &[u8]) {
    // The client may have gone.
    drop(stream.write_all(bytes));
    thread::sleep(Duration::from_millis(300));
}

/// Until the client has had enough.
fn repeat(stream: &mut TcpStream, first: &[u8], again: &[u8]) {
    let block = again.repeat(1_000);
    let mut is_heard = stream.write_all(first).is_ok();
    while is_heard {
        is_heard = stream.write_all(&block).is_ok();
    }
}

fn slowly(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Serves until the test process ends; the threads have no more to do when the client is gone.
fn serve(listener: TcpListener, answer: fn(&mut TcpStream), speaks_first: bool, asked: Arc<AtomicU64>) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            asked.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                let mut request = [0; 1024];
                // A server of MySQL speaks first.
                if speaks_first || stream.read(&mut request).is_ok_and(|length| length > 0) {
                    answer(&mut stream);
                }
            });
        }
    });
}

#[test]
fn whatever_a_server_says_is_counted_and_harms_nobody() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    let mut rules = "schema = 1\n".to_owned();
    let mut expected = Vec::new();
    let nginx = NGINX.iter().map(|row| (row, false));
    for (number, ((name, answer, reason), is_mysql)) in
        nginx.chain(MYSQL.iter().map(|row| (row, true))).enumerate()
    {
        let port = FIRST + u16::try_from(number)?;
        let listener = network.server.enter(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?))?;
        let asked = Arc::new(AtomicU64::new(0));
        serve(listener, *answer, is_mysql, Arc::clone(&asked));
        let (protocol, server) = if is_mysql {
            let text = format!("[client]\nuser = a\npassword = b\nhost = 127.0.0.1\nport = {port}\n");
            let path = foobar.write(&format!("{number}.cnf"), &text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            ("mysql", format!("mysql = \"{}\"", path.display()))
        } else {
            ("http1", format!("nginx_status = \"http://127.0.0.1:{port}/\""))
        };
        writeln!(
            rules,
            "[[service]]\nname = \"s{number}\"\nport = \"tcp/{}\"\nprotocol = \"{protocol}\"\n\
             reconcile = {{ {server}, every = \"3s\" }}",
            1000 + number
        )?;
        expected.push((format!("s{number}"), *name, *reason, asked));
    }
    foobar.write_rules(&rules)?;
    foobar.start()?;
    let before = foobar.memory("VmRSS")?;
    // On a busy machine some are late at first, whatever they say.
    wait::until("all have failed twice, and as they should", 30 * EVERY, || {
        let all = all(&foobar)?;
        let is_done = |(service, _, reason, _): &(String, &str, Reason, Arc<AtomicU64>)| {
            let compared = all.iter().find(|compared| compared.services == [service.as_str()]);
            compared.is_some_and(|compared| {
                compared.failures.values().sum::<u64>() >= 2 && compared.failures.contains_key(reason)
            })
        };
        // Nobody else waits meanwhile.
        let asked = Instant::now();
        let answer = http::get(&network.server, foobar_tests::daemon::LISTEN, "/metrics")?;
        ensure!(answer.status == 200 && asked.elapsed() < Duration::from_secs(3), "a scrape waits");
        Ok(expected.iter().all(is_done))
    })
    .with_context(|| format!("{:#?}", all(&foobar)))?;
    let grown = foobar.memory("VmRSS")?.saturating_sub(before);
    for (service, name, reason, asked) in &expected {
        let all = all(&foobar)?;
        let compared = all.iter().find(|compared| compared.services == [service.as_str()]);
        let compared = compared.with_context(|| format!("no comparison {service}"))?;
        say(&format!("{name}: {}", compared.problem.as_deref().unwrap_or_default()));
        // On a busy machine it may have been late.
        let is_known = |found: &Reason| found == reason || *found == Reason::Timeout;
        ensure!(compared.failures.contains_key(reason), "{name}: {compared:?}");
        ensure!(compared.failures.keys().all(is_known), "{name}: {compared:?}");
        ensure!(compared.difference.is_none(), "{name}: {compared:?}");
        let failures: u64 = compared.failures.values().sum();
        let asked = asked.load(Ordering::Relaxed);
        // One for each attempt, also where another one redirects to.
        ensure!(
            (failures..=failures + 1).contains(&asked),
            "{name}: asked {asked} times, {failures} failures"
        );
    }
    say(&format!("memory grew by {grown} kB"));
    ensure!(grown < 8_000, "the daemon grew by {grown} kB");
    ensure!(foobar.is_running()?, "the daemon ended");
    ensure!(!foobar.log()?.contains("panicked"), "{}", foobar.log()?);
    Ok(())
}
