//! A service that takes what is pushed, and keeps it: plain HTTP/1.1 on the loopback of a namespace.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{command::with_input, namespace::Namespace, wait};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// `POST /path HTTP/1.1`.
    pub(crate) line: String,
    /// By names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as it was before gzip, by a real gzip.
    pub(crate) fn unzipped(&self) -> Result<Vec<u8>> {
        if self.header("content-encoding") != "gzip" {
            return Ok(self.body.clone());
        }
        let output = with_input(Command::new("gzip").arg("-dc"), &self.body)?;
        ensure!(output.status.success(), "gzip does not read a body of {} bytes", self.body.len());
        Ok(output.stdout)
    }
}

/// An answer: status line, further header lines, body.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) &'static str, pub(crate) Vec<String>, pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn ok() -> Self {
        Self("200 OK", Vec::new(), Vec::new())
    }
}

/// What says the answer to a request, by its number from 0.
type Script = dyn Fn(usize, &Request) -> Answer + Send + Sync;

/// The service. It ends when this is dropped; connections that are open break off.
pub(crate) struct StandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Takes everything.
    pub(crate) fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        Self::with(namespace, port, |_, _| Answer::ok())
    }

    /// Answers as a script says.
    pub(crate) fn with(
        namespace: &Namespace,
        port: u16,
        script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = namespace.enter(|| {
            let mut bound = None;
            wait::until("the port is free", Duration::from_secs(5), || {
                bound = TcpListener::bind(("127.0.0.1", port)).ok();
                Ok(bound.is_some())
            })?;
            bound.context("no listener")
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let ended = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let thread = {
            let (requests, open, ended) = (Arc::clone(&requests), Arc::clone(&open), Arc::clone(&ended));
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if let Ok((stream, _)) = listener.accept() {
                        if let Ok(other) = stream.try_clone() {
                            lock(&open).push(other);
                        }
                        let (requests, script) = (Arc::clone(&requests), Arc::clone(&script));
                        thread::spawn(move || drop(answer(stream, &requests, &*script)));
                    } else {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            })
        };
        Ok(Self { address, requests, open, ended, thread: Some(thread) })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.open).len()
    }

    /// Closes those that are open.
    pub(crate) fn close_connections(&self) {
        for stream in lock(&self.open).iter() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }

    /// Waits for so many requests, and gives all that there are.
    pub(crate) fn wait_for(&self, number: usize) -> Result<Vec<Request>> {
        wait::until(&format!("{number} requests"), Duration::from_secs(30), || {
            Ok(lock(&self.requests).len() >= number)
        })?;
        Ok(self.requests())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        for stream in lock(&self.open).drain(..) {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests on a connection until the other side closes it.
fn answer(stream: TcpStream, requests: &Mutex<Vec<Request>>, script: &Script) -> Result<()> {
    stream.set_nonblocking(false)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").context("no content-length")?.parse()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request = Request { at: Instant::now(), line: line.trim_end().to_owned(), headers, body };
        let number = lock(requests).len();
        let Answer(status, lines, body) = script(number, &request);
        lock(requests).push(request);
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len())?;
        for line in lines {
            write!(writer, "{line}\r\n")?;
        }
        writer.write_all(b"\r\n")?;
        writer.write_all(&body)?;
    }
}
