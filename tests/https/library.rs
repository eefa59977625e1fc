//! A library that returns what it is told to: every way that calls can end, one after the other.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{command::succeed, figures::say, network::Network};
use tempfile::TempDir;

use super::{PORT, RULES, expect_watched, losses, lost, requests, watch};

/// A call: function, result, bytes that were done, bytes that were given. All are of one object.
type Call = (&'static str, i64, u64, &'static str);

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
const OPEN: &str = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
const ACCEPT: Call = ("accept", 0, 0, "-");
const FREE: Call = ("free", 0, 0, "-");
/// A request of 27 bytes is read.
const ASKED: Call = ("read", 27, 27, GET);
/// A response of 43 bytes is written.
const ANSWERED: Call = ("write", 43, 0, OK);

/// What is called, and then requests, responses, those of which it is known how long they took, and losses.
const TABLE: &[(&str, &[Call], [u64; 4])] = &[
    ("a request and its response", &[ACCEPT, ASKED, ANSWERED, FREE], [1, 1, 1, 0]),
    (
        "a write that has to wait is repeated",
        &[
            ACCEPT,
            ASKED,
            ("write", -1, 0, OK),
            ("write", -1, 0, OK),
            ANSWERED,
            ("read", -1, 0, "-"),
            ASKED,
            ANSWERED,
        ],
        [2, 2, 2, 0],
    ),
    (
        "a write that does a part",
        &[
            ACCEPT,
            ASKED,
            ("write", 22, 0, OK),
            ("write", 21, 0, "nt-Length: 5\r\n\r\nhello"),
            ASKED,
            ANSWERED,
        ],
        [2, 2, 2, 0],
    ),
    (
        "functions that tell elsewhere how much they have done",
        &[
            ACCEPT,
            ("read_ex", 1, 10, "GET / HTTP"),
            ("read_ex", 0, 7, "/1.1\r\nX"),
            ("read_ex", 1, 17, "/1.1\r\nHost: x\r\n\r\n"),
            ("write_ex", 0, 43, OK),
            ("write_ex", 1, 43, OK),
        ],
        [1, 1, 1, 0],
    ),
    (
        "a file that the kernel sends",
        &[
            ACCEPT,
            ASKED,
            ("write", 41, 0, FILE),
            ("sendfile", 400, 0, "-"),
            ("sendfile", -1, 0, "-"),
            ("sendfile", 600, 0, "-"),
            ASKED,
            ANSWERED,
        ],
        [2, 2, 2, 0],
    ),
    (
        "a file in the place of headers",
        &[ACCEPT, ASKED, ("sendfile", 43, 0, "-"), ASKED, ANSWERED],
        [2, 0, 0, 1],
    ),
    (
        "an object that is used again in the middle of a message",
        &[ACCEPT, ASKED, ("write", 41, 0, FILE), ACCEPT, ASKED, ANSWERED],
        [2, 2, 1, 0],
    ),
    (
        "a response that ends with its connection",
        &[ACCEPT, ASKED, ("write", 32, 0, OPEN), FREE],
        [1, 1, 1, 0],
    ),
    ("an object whose beginning was not seen", &[ASKED, ANSWERED, ASKED, ANSWERED], [0, 0, 0, 2]),
    (
        "a connection to another server",
        &[("connect", 0, 0, "-"), ("write", 27, 0, GET), ("read", 43, 43, OK)],
        [0; 4],
    ),
    ("bytes that are not there", &[ACCEPT, ASKED, ("write_nowhere", 100, 0, "-")], [1, 0, 0, 1]),
    ("more than was given", &[ACCEPT, ASKED, ("write", 1_000_000, 0, OK), ASKED, ANSWERED], [2, 2, 2, 0]),
    ("what is no HTTP", &[ACCEPT, ("read", 18, 18, "SSH-2.0-OpenSSH_9\r"), ANSWERED], [0, 1, 0, 2]),
];

#[test]
fn calls_count_by_what_they_have_done() -> Result<()> {
    let network = Network::new()?;
    let mut program = Program::start()?;
    let foobar =
        watch(&network, &format!("{RULES}decrypt_from = {{ path = {:?} }}\n", program.path.display()))?;
    expect_watched(&foobar, "www", program.child.id())?;
    for (object, (name, calls, expected)) in TABLE.iter().enumerate() {
        let before = foobar.scrape()?;
        for call in *calls {
            program.call(object, call)?;
        }
        let after = foobar.scrape()?;
        let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
        let found = [
            requests(&after, PORT) - requests(&before, PORT),
            grown("foobar_http_responses_total"),
            grown("foobar_http_request_duration_seconds_count"),
            lost(&after, PORT) - lost(&before, PORT),
        ];
        say(&format!("{name}: {found:?}"));
        ensure!(found == *expected, "{name}: {found:?} and not {expected:?}: {:?}", losses(&after));
    }
    Ok(())
}

/// The program that calls the library; it ends when this is dropped.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    path: PathBuf,
    _folder: TempDir,
}

impl Program {
    fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let (library, path) =
            (folder.path().join("libssl.so.3"), fs::canonicalize(folder.path())?.join("program"));
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("https");
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-fPIC", "-shared", "-o"]).arg(&library).arg(sources.join("library.c"));
        succeed(&mut compile)?;
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-o"]).arg(&path).arg(sources.join("program.c")).arg(&library);
        succeed(&mut compile)?;
        let mut child = Command::new(&path)
            .env("LD_LIBRARY_PATH", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the program")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, output, path, _folder: folder })
    }

    fn call(&mut self, object: usize, (function, result, done, bytes): &Call) -> Result<()> {
        let mut digits = String::new();
        for byte in bytes.bytes().filter(|_| *bytes != "-") {
            write!(digits, "{byte:02x}")?;
        }
        let digits = if digits.is_empty() { "-" } else { &digits };
        let input = self.child.stdin.as_mut().context("no input")?;
        writeln!(input, "{function} {object} {result} {done} {digits}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        ensure!(answer == "done\n", "the program said {answer:?}");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
