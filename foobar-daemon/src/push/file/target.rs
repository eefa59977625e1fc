//! One `[[target]]` of the push file.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    Uri,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::uri::{PathAndQuery, Scheme},
};
use rustls::ClientConfig;
use toml::Spanned;

use super::{
    document::{BasicAuthTable, Problem, SpoolTable, TargetTable},
    host_name,
    tls::{Roots, TlsFiles},
    values,
};
use crate::{
    log::LogSources,
    metrics::catalogue,
    push::{secret::Secret, series::Series},
    watched_files::Files,
};

/// How often a target gets all of its series, unless the file says.
const INTERVAL: Duration = Duration::from_mins(1);
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// How much waits for a target that is away, unless the file says.
const SPOOL_BYTES: u64 = 64 << 20;
const SPOOL_BYTES_RANGE: RangeInclusive<u64> = 64 << 10..=64 << 30;
/// Sumo Logic takes no points that are more than a day old.
const SPOOL_AGE: Duration = Duration::from_hours(24);
const SPOOL_AGES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(30 * 24);
/// Longest name of a target; it is a folder and a label.
const NAME_MAX: usize = 40;
/// Headers that foobar writes itself.
const OWN_HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::EXPECT,
];

/// A service that gets series.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name: a label of metrics, and a folder of the spool.
    pub name: String,
    /// What is spoken.
    pub kind: Kind,
    /// Where.
    pub endpoint: Endpoint,
    /// What each request says besides; secrets among it are marked as such.
    pub headers: HeaderMap,
    /// How TLS is spoken, if it is.
    pub tls: Option<Arc<ClientConfig>>,
    /// How often.
    pub interval: Duration,
    /// Which series.
    pub series: Series,
    /// Which log records, if it gets these instead.
    pub logs: Option<LogSources>,
    /// How many points it gets in a minute at most.
    pub points_per_minute: Option<u64>,
    /// Whether bodies are compressed; remote write always is, by its own means.
    pub gzip: bool,
    /// How much waits for it while it is away.
    pub spool: SpoolBounds,
}

/// What a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OTLP over HTTP, as protobuf: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
    Otlp,
    /// Prometheus remote write 1.0: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
    RemoteWrite,
    /// HTTP source of Sumo Logic:
    /// <https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-metrics/>.
    Sumo(SumoFormat),
    /// Log records by OTLP over HTTP.
    OtlpLogs,
    /// Log records for an HTTP source of Sumo Logic, as lines of JSON.
    SumoLogs,
}

impl Kind {
    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::RemoteWrite => "remote-write",
            Self::Sumo(SumoFormat::Prometheus) => "sumo, prometheus",
            Self::Sumo(SumoFormat::Carbon2) => "sumo, carbon2",
            Self::OtlpLogs => "otlp-logs",
            Self::SumoLogs => "sumo-logs",
        }
    }

    /// Whether it gets log records, and no series.
    pub const fn is_logs(self) -> bool {
        matches!(self, Self::OtlpLogs | Self::SumoLogs)
    }
}

/// What is sent to an HTTP source of Sumo Logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumoFormat {
    /// The text format of Prometheus.
    Prometheus,
    /// Carbon 2.0.
    Carbon2,
}

/// A URL. Its path and query may be secret, and are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL.
    uri: Uri,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub is_tls: bool,
}

impl Endpoint {
    /// Path and query, for the request alone.
    pub fn path_and_query(&self) -> PathAndQuery {
        self.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// How much of a spool is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolBounds {
    /// Bytes on the disk.
    pub bytes: u64,
    /// How old the oldest may be.
    pub age: Duration,
}

/// Where the files of a target are read.
pub(super) struct Source<'a> {
    pub(super) folder: &'a Path,
    pub(super) files: &'a mut Files,
    pub(super) roots: Roots,
    pub(super) warnings: Vec<String>,
}

impl Source<'_> {
    /// Checks a target, and reads the files that it names.
    pub(super) fn target(&mut self, table: Spanned<TargetTable>) -> Result<Target, Problem> {
        let whole = table.span();
        let TargetTable {
            name,
            kind,
            url,
            url_file,
            interval,
            headers,
            header_files,
            token_file,
            basic_auth,
            ca_file,
            cert_file,
            key_file,
            series,
            logs,
            points_per_minute,
            gzip,
            spool,
            format,
            source_name,
            source_host,
            source_category,
            source_fields,
        } = table.into_inner();
        let name = checked_name(name)?;
        let sumo = SumoKeys { format, source_name, source_host, source_category, source_fields };
        let (kind, mut sent) = sumo.kind(&kind)?;
        let (endpoint, url_at) = self.endpoint(url, url_file, whole)?;
        self.add_headers(headers, header_files, &mut sent)?;
        self.add_login(token_file, basic_auth, &mut sent)?;
        let files = TlsFiles { ca: ca_file, certificate: cert_file, key: key_file };
        let tls = if endpoint.is_tls {
            Some(self.tls(&files, url_at)?)
        } else if let Some(file) = files.first() {
            return Err(Problem::at(file.span(), "files for TLS, but the URL has none: write https://"));
        } else {
            None
        };
        let has_secret = sent.values().any(HeaderValue::is_sensitive);
        if has_secret && tls.is_none() && !is_local(&endpoint.host) {
            self.warnings.push(format!(
                "the target {name} is told a secret over http: who reads along on the way to {endpoint} learns it"
            ));
        }
        let gzip_at = gzip.as_ref().map_or(0..0, Spanned::span);
        let gzip = gzip.map(Spanned::into_inner);
        if kind == Kind::RemoteWrite && gzip.is_some() {
            return Err(Problem::at(gzip_at, "remote write is compressed by snappy always: leave gzip out"));
        }
        Ok(Target {
            name,
            kind,
            endpoint,
            headers: sent,
            tls,
            interval: values::duration(interval, INTERVAL, &INTERVALS)?,
            logs: checked_logs(kind, logs, series.as_ref())?,
            series: checked_series(series)?,
            points_per_minute: checked_budget(points_per_minute)?,
            gzip: gzip.unwrap_or(true),
            spool: checked_bounds(spool)?,
        })
    }

    /// Reads a file that a key names.
    pub(super) fn read(&mut self, key: &str, path: &Spanned<String>) -> Result<Vec<u8>, Problem> {
        let full = self.folder.join(path.get_ref());
        self.files.read(&full).map_err(|error| {
            let message = format!(
                "{key} {}: {error}; it has to be there, and be readable for the user that foobar runs as",
                full.display()
            );
            Problem::at(path.span(), message)
        })
    }

    /// Reads a file that holds one line, which is secret.
    fn read_secret(&mut self, key: &str, path: &Spanned<String>) -> Result<Secret, Problem> {
        let bytes = self.read(key, path)?;
        let text = String::from_utf8(bytes).ok().map(|text| text.trim().to_owned());
        let is_line = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
        text.filter(is_line).map(Secret::new).ok_or_else(|| {
            Problem::at(
                path.span(),
                format!("{key}: the file has to hold one line of text, and nothing else"),
            )
        })
    }

    fn endpoint(
        &mut self,
        url: Option<Spanned<Secret>>,
        file: Option<Spanned<String>>,
        whole: Range<usize>,
    ) -> Result<(Endpoint, Range<usize>), Problem> {
        let (text, at) = match (url, file) {
            (Some(url), None) => {
                let at = url.span();
                (url.into_inner(), at)
            }
            (None, Some(path)) => (self.read_secret("url_file", &path)?, path.span()),
            (Some(_), Some(path)) => {
                return Err(Problem::at(path.span(), "url_file beside url: leave one of them out"));
            }
            (None, None) => return Err(Problem::at(whole, "a target without url: write url or url_file")),
        };
        let problem = |message: &str| Problem::at(at.clone(), message);
        let uri: Uri = text
            .reveal()
            .parse()
            .map_err(|_may_quote_it| problem("this is no URL: write one as https://host:port/path"))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(problem("the URL has to begin with https:// or http://")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(problem(
                "a login in the URL: write basic_auth = { user = …, password_file = … } instead",
            ));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| problem("the URL names no host"))?.to_owned();
        if authority.len() > host.len() && uri.port().is_none() {
            return Err(problem("the port of the URL is none: write a number from 1 to 65535"));
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok((Endpoint { uri, host, port, is_tls }, at))
    }

    fn add_headers(
        &mut self,
        written: BTreeMap<Spanned<String>, Spanned<Secret>>,
        from_files: BTreeMap<Spanned<String>, Spanned<String>>,
        sent: &mut HeaderMap,
    ) -> Result<(), Problem> {
        for (name, value) in written {
            let named = header_name(&name)?;
            if named == header::AUTHORIZATION || named == header::PROXY_AUTHORIZATION {
                let message =
                    "a secret belongs into a file of its own: write token_file, basic_auth or header_files";
                return Err(Problem::at(name.span(), message));
            }
            sent.insert(named, header_value(value.get_ref(), value.span())?);
        }
        for (name, path) in from_files {
            let value = self.read_secret(&format!("header_files.{}", name.get_ref()), &path)?;
            if sent.insert(header_name(&name)?, header_value(&value, path.span())?).is_some() {
                return Err(Problem::at(name.span(), "this header stands in headers, too"));
            }
        }
        Ok(())
    }

    fn add_login(
        &mut self,
        token: Option<Spanned<String>>,
        basic: Option<Spanned<BasicAuthTable>>,
        sent: &mut HeaderMap,
    ) -> Result<(), Problem> {
        let (login, at) = match (token, basic) {
            (None, None) => return Ok(()),
            (Some(path), None) => {
                let token = self.read_secret("token_file", &path)?;
                (Secret::new(format!("Bearer {}", token.reveal())), path.span())
            }
            (None, Some(table)) => {
                let at = table.span();
                let BasicAuthTable { user, password_file } = table.into_inner();
                if user.get_ref().contains(':') || user.get_ref().chars().any(char::is_control) {
                    let message = "no user has such a name: the first colon ends it (RFC 7617, section 2)";
                    return Err(Problem::at(user.span(), message));
                }
                let password = self.read_secret("password_file", &password_file)?;
                let login = BASE64_STANDARD.encode(format!("{}:{}", user.get_ref(), password.reveal()));
                (Secret::new(format!("Basic {login}")), at)
            }
            (Some(path), Some(_)) => {
                return Err(Problem::at(path.span(), "token_file beside basic_auth: leave one of them out"));
            }
        };
        if sent.insert(header::AUTHORIZATION, header_value(&login, at.clone())?).is_some() {
            return Err(Problem::at(at, "authorization stands in header_files, too: leave one of them out"));
        }
        Ok(())
    }
}

/// What is said for an HTTP source of Sumo Logic alone.
struct SumoKeys {
    format: Option<Spanned<String>>,
    source_name: Option<Spanned<String>>,
    source_host: Option<Spanned<String>>,
    source_category: Option<Spanned<String>>,
    source_fields: Option<Spanned<BTreeMap<String, String>>>,
}

impl SumoKeys {
    /// What is spoken, and the headers that belong to it.
    fn kind(self, kind: &Spanned<String>) -> Result<(Kind, HeaderMap), Problem> {
        let Self { format, source_name, source_host, source_category, source_fields } = self;
        let mut headers = HeaderMap::new();
        let written = [
            ("source_name", "x-sumo-name", &source_name),
            ("source_host", "x-sumo-host", &source_host),
            ("source_category", "x-sumo-category", &source_category),
        ];
        if !matches!(kind.get_ref().as_str(), "sumo" | "sumo-logs") {
            let named = written.iter().find_map(|(key, _, value)| Some((*key, value.as_ref()?.span())));
            let fields = source_fields.as_ref().map(|fields| ("source_fields", fields.span()));
            let format = format.as_ref().map(|format| ("format", format.span()));
            if let Some((key, span)) = named.or(fields).or(format) {
                return Err(Problem::at(span, format!("{key} is for kind = \"sumo\" alone: leave it out")));
            }
        }
        let kind = match kind.get_ref().as_str() {
            "otlp" => return Ok((Kind::Otlp, headers)),
            "otlp-logs" => return Ok((Kind::OtlpLogs, headers)),
            "remote-write" => return Ok((Kind::RemoteWrite, headers)),
            "sumo-logs" => match format {
                None => Kind::SumoLogs,
                Some(format) => {
                    return Err(Problem::at(
                        format.span(),
                        "log records are lines of JSON always: leave format out",
                    ));
                }
            },
            "sumo" => match format.as_ref().map(|format| format.get_ref().as_str()) {
                None | Some("prometheus") => Kind::Sumo(SumoFormat::Prometheus),
                Some("carbon2") => Kind::Sumo(SumoFormat::Carbon2),
                Some(other) => {
                    let span = format.as_ref().map_or(0..0, Spanned::span);
                    return Err(Problem::at(
                        span,
                        format!("no format {other:?}: write prometheus or carbon2"),
                    ));
                }
            },
            other => {
                let message = format!(
                    "no kind {other:?}: write otlp, remote-write or sumo, or for log records otlp-logs or sumo-logs"
                );
                return Err(Problem::at(kind.span(), message));
            }
        };
        for (key, header, value) in written {
            if let Some(value) = value {
                headers.insert(header, plain_value(key, value.get_ref(), value.span())?);
            }
        }
        if !headers.contains_key("x-sumo-host") {
            headers.insert("x-sumo-host", plain_value("source_host", &host_name(), 0..0)?);
        }
        if let Some(fields) = source_fields {
            let span = fields.span();
            let fields = fields.into_inner();
            if let Some(odd) =
                fields.iter().flat_map(|(key, value)| [key, value]).find(|word| word.contains([',', '=']))
            {
                return Err(Problem::at(span, format!("source_fields: no , or = can be in {odd:?}")));
            }
            let words: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
            headers.insert("x-sumo-fields", plain_value("source_fields", &words.join(","), span)?);
        }
        Ok((kind, headers))
    }
}

fn checked_name(name: Spanned<String>) -> Result<String, Problem> {
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let text = name.get_ref();
    if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(is_letter) {
        let message = format!(
            "no target can have the name {text:?}: write small letters, digits, - and _, {NAME_MAX} at most"
        );
        return Err(Problem::at(name.span(), message));
    }
    Ok(name.into_inner())
}

fn header_name(name: &Spanned<String>) -> Result<HeaderName, Problem> {
    let read = HeaderName::from_bytes(name.get_ref().as_bytes())
        .map_err(|error| Problem::at(name.span(), format!("{error}: {:?}", name.get_ref())))?;
    if OWN_HEADERS.contains(&read) {
        return Err(Problem::at(
            name.span(),
            format!("foobar writes the header {read} itself: leave it out"),
        ));
    }
    Ok(read)
}

/// A header that may be secret.
fn header_value(text: &Secret, span: Range<usize>) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::from_str(text.reveal()).map_err(|_may_quote_it| {
        Problem::at(span, "no header can have this value: it is one line of ASCII without control characters")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn plain_value(key: &str, text: &str, span: Range<usize>) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_says_no_more| {
        Problem::at(span, format!("{key}: write one line of ASCII without control characters"))
    })
}

fn checked_series(written: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Series, Problem> {
    let Some(list) = written else { return Ok(Series::default()) };
    let whole = list.span();
    let patterns = list.into_inner();
    let names: Vec<&str> = patterns.iter().map(|pattern| pattern.get_ref().as_str()).collect();
    let series = Series::new(&names).map_err(|(number, why)| {
        Problem::at(patterns.get(number).map_or(whole.clone(), Spanned::span), why)
    })?;
    if patterns.is_empty() || !catalogue::ALL.iter().any(|entry| series.allows(entry.name())) {
        let message =
            "series allows no metric that there is (METRICS.md lists them): leave it out to send all";
        return Err(Problem::at(whole, message));
    }
    Ok(series)
}

fn checked_logs(
    kind: Kind,
    written: Option<Spanned<Vec<Spanned<String>>>>,
    series: Option<&Spanned<Vec<Spanned<String>>>>,
) -> Result<Option<LogSources>, Problem> {
    if !kind.is_logs() {
        let misplaced = "logs is for kind = \"otlp-logs\" and \"sumo-logs\" alone: write a target for them";
        return written.map_or(Ok(None), |logs| Err(Problem::at(logs.span(), misplaced)));
    }
    if let Some(series) = series {
        return Err(Problem::at(series.span(), "this kind gets log records and no series: leave series out"));
    }
    let Some(written) = written else { return Ok(Some(LogSources { daemon: true, packets: true })) };
    let mut logs = LogSources::default();
    for word in written.get_ref() {
        logs.add(word.get_ref()).map_err(|problem| Problem::at(word.span(), problem))?;
    }
    if !logs.daemon && !logs.packets {
        return Err(Problem::at(written.span(), "no logs are none: leave the target out"));
    }
    Ok(Some(logs))
}

fn checked_budget(written: Option<Spanned<u64>>) -> Result<Option<u64>, Problem> {
    let Some(number) = written else { return Ok(None) };
    if *number.get_ref() == 0 {
        return Err(Problem::at(number.span(), "no points are none: leave the target out"));
    }
    Ok(Some(number.into_inner()))
}

fn checked_bounds(written: Option<Spanned<SpoolTable>>) -> Result<SpoolBounds, Problem> {
    let SpoolTable { bytes, age } = written.map(Spanned::into_inner).unwrap_or_default();
    Ok(SpoolBounds {
        bytes: values::size(bytes, SPOOL_BYTES, &SPOOL_BYTES_RANGE)?,
        age: values::duration(age, SPOOL_AGE, &SPOOL_AGES)?,
    })
}

/// Whether a name or address is of this machine for certain.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}
