//! What nginx counts, from a page of its module `stub_status`: requests over all its ports and interfaces since it
//! started, that for the page included.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{ANSWER_MAX, Failure, Own, PATIENCE, Reason, Told};
use crate::rules::model::StatusPage;

/// An nginx that is asked.
pub(super) struct Nginx {
    page: StatusPage,
    own: Own,
    last: StubStatus,
}

/// The counters of `stub_status` (`ngx_http_stub_status_module`) that only grow while nginx runs, over reloads, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StubStatus {
    /// Connections.
    accepts: u64,
    /// Connections that there was room for.
    handled: u64,
    /// Requests whose first byte was read.
    requests: u64,
}

/// Whether a request has got to nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    No,
    Perhaps,
    Yes,
}

impl Nginx {
    /// One that serves this page. `is_seen` tells whether foobar counts the requests for it as well.
    pub(super) fn new(page: StatusPage, is_seen: bool) -> Self {
        let own = Own { is_seen, ..Own::default() };
        Self { page, own, last: StubStatus::default() }
    }

    /// Asks for its count.
    pub(super) async fn ask(&mut self) -> Result<Told, Failure> {
        let mut reached = Reached::No;
        let answer = timeout(PATIENCE, fetch(&self.page, &mut reached)).await;
        match reached {
            Reached::No => {}
            Reached::Perhaps => self.own.unsure += 1,
            Reached::Yes => self.own.sure += 1,
        }
        let body = answer.unwrap_or_else(|_| Err(Failure::late()))?;
        let status = StubStatus::read(&body).ok_or_else(|| {
            let message = format!(
                "{} is no page of stub_status; write `stub_status;` into that location of nginx.conf",
                self.page
            );
            Failure::new(Reason::Answer, message)
        })?;
        let anew = status.is_behind(&self.last);
        self.last = status;
        if anew {
            self.own = Own { is_seen: self.own.is_seen, ..Own::default() };
        }
        Ok(Told { counted: self.own.taken_from(status.requests), anew })
    }
}

impl StubStatus {
    /// Reads the page, as `src/http/modules/ngx_http_stub_status_module.c` writes it; `None` if it is another one.
    fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut lines = text.lines();
        lines.next()?.strip_prefix("Active connections: ")?.trim().parse::<u64>().ok()?;
        if lines.next()?.trim() != "server accepts handled requests" {
            return None;
        }
        let numbers: Vec<u64> =
            lines.next()?.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [accepts, handled, requests] = numbers.try_into().ok()?;
        Some(Self { accepts, handled, requests })
    }

    /// Whether any counter has gone back, as it does when nginx starts.
    fn is_behind(&self, earlier: &Self) -> bool {
        let Self { accepts, handled, requests } = *self;
        accepts < earlier.accepts || handled < earlier.handled || requests < earlier.requests
    }
}

/// Ends the task of a connection with what waits for it.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for the page over a connection of its own; redirects are not followed.
async fn fetch(page: &StatusPage, reached: &mut Reached) -> Result<Bytes, Failure> {
    let unreachable = |error: std::io::Error| {
        let message = format!("connect to {}: {error}; does nginx run, and listen there?", page.address);
        Failure::new(Reason::Connect, message)
    };
    let broken = |error: hyper::Error| {
        Failure::new(Reason::Answer, format!("ask for {page}: {error}; is it nginx that listens there?"))
    };
    let stream = TcpStream::connect(page.address).await.map_err(unreachable)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(ANSWER_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let _connection = Connection(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to nginx: {error}");
        }
    }));
    let request = Request::get(&page.path)
        .header(header::HOST, page.address.to_string())
        .header(header::USER_AGENT, "foobar")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::new(Reason::Answer, format!("ask for {page}: {error}")))?;
    *reached = Reached::Perhaps;
    let response = sender.send_request(request).await.map_err(broken)?;
    *reached = Reached::Yes;
    if response.status() != StatusCode::OK {
        let message = format!(
            "{page} answers with status {}; it has to be the page itself, open to this machine",
            response.status().as_u16()
        );
        return Err(Failure::new(Reason::Status, message));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| {
        Failure::new(Reason::Answer, format!("read {page}: {error}; is it a page of stub_status?"))
    })?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Active connections: 2 \nserver accepts handled requests\n 3 3 5 \nReading: 0 Writing: 1 Waiting: 1 \n";

    #[test]
    fn the_page_of_nginx_is_read_and_no_other() {
        let read = |text: &str| StubStatus::read(text.as_bytes());
        assert_eq!(read(PAGE), Some(StubStatus { accepts: 3, handled: 3, requests: 5 }));
        for other in [
            "",
            "<html>Active connections: 2</html>",
            &PAGE.replace("requests", "requests request_time"),
            &PAGE.replace(" 3 3 5", " 3 3"),
            &PAGE.replace(" 3 3 5", " 3 3 5 7"),
            &PAGE.replace(" 3 3 5", " 3 3 -5"),
            &PAGE.replace(" 3 3 5", " 3 3 99999999999999999999"),
            &PAGE.replace("connections: 2", "connections: many"),
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(StubStatus::read(b"Active connections: \xff"), None);
    }

    #[test]
    fn an_nginx_that_started_again_counts_anew() {
        let last = StubStatus { accepts: 3, handled: 3, requests: 5 };
        assert!(!last.is_behind(&last));
        assert!(!StubStatus { requests: 6, ..last }.is_behind(&last));
        assert!(StubStatus { requests: 4, ..last }.is_behind(&last));
        assert!(StubStatus { accepts: 1, handled: 1, requests: 900 }.is_behind(&last));
    }
}
