//! The web configuration file as it is written: YAML with places, in the form of exporter-toolkit.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::{rate_limit::RateLimit, users::Hash};

/// What can be said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    pub(super) tls_server_config: Option<At<TlsSection>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) http_server_config: HttpSection,
    #[serde(deserialize_with = "or_default")]
    pub(super) basic_auth_users: BTreeMap<String, Text>,
    #[serde(deserialize_with = "or_default")]
    pub(super) rate_limit: RateSection,
}

/// `tls_server_config`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSection {
    #[serde(deserialize_with = "written")]
    pub(super) cert: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) cert_file: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) key: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) key_file: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) client_auth_type: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) client_ca: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) client_ca_file: Option<Text>,
    pub(super) client_allowed_sans: Option<At<Vec<String>>>,
    #[serde(deserialize_with = "written")]
    pub(super) min_version: Option<Text>,
    #[serde(deserialize_with = "written")]
    pub(super) max_version: Option<Text>,
    pub(super) cipher_suites: Option<Vec<Text>>,
    pub(super) curve_preferences: Option<Vec<Text>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
}

impl TlsSection {
    /// Whether it says nothing, so that TLS is not spoken.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `http_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSection {
    /// Whether HTTP/2 may be spoken; foobar speaks HTTP/1.1 alone, and clients of HTTP/2 speak that, too.
    pub(super) http2: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(super) headers: HeadersSection,
}

/// `headers` of `http_server_config`: no others can be set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeadersSection {
    #[serde(rename = "Content-Security-Policy", deserialize_with = "written")]
    pub(super) content_security_policy: Option<Text>,
    #[serde(rename = "Strict-Transport-Security", deserialize_with = "written")]
    pub(super) strict_transport_security: Option<Text>,
    #[serde(rename = "X-Content-Type-Options", deserialize_with = "written")]
    pub(super) x_content_type_options: Option<Text>,
    #[serde(rename = "X-Frame-Options", deserialize_with = "written")]
    pub(super) x_frame_options: Option<Text>,
    #[serde(rename = "X-XSS-Protection", deserialize_with = "written")]
    pub(super) x_xss_protection: Option<Text>,
}

/// `rate_limit`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateSection {
    #[serde(deserialize_with = "written")]
    interval: Option<Text>,
    burst: Option<At<u32>>,
}

impl RateSection {
    /// The limit, if there is one.
    ///
    /// # Errors
    /// An interval that is no time, and a burst that lets nothing pass.
    pub(super) fn build(&self) -> Result<Option<RateLimit>, Problem> {
        let Some(At { value: text, place }) = &self.interval else { return Ok(None) };
        let interval = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
        let interval = interval.map_err(|_of_another_syntax| {
            place.problem(format!(
                "an interval cannot be {text:?}: write a time, as 1s or 500ms, or 0 for no limit"
            ))
        })?;
        if interval.is_zero() {
            return Ok(None);
        }
        match self.burst {
            Some(At { value: burst @ 1.., .. }) => Ok(Some(RateLimit::new(interval, burst))),
            Some(At { value: 0, place }) => {
                Err(place.problem("a burst of 0 lets no request pass: write 1 or more"))
            }
            None => {
                Err(place.problem("an interval without a burst lets no request pass: write burst: 1 or more"))
            }
        }
    }
}

/// The hashes of `basic_auth_users`.
///
/// # Errors
/// A name that cannot be sent, and a hash that cannot be checked.
pub(super) fn hashes(users: BTreeMap<String, Text>) -> Result<BTreeMap<String, Hash>, Problem> {
    let hash = |(name, At { value, place }): (String, Text)| {
        if name.contains(':') {
            return Err(place.problem(format!(
                "nobody can log in as {name:?}: a name ends at its first colon (RFC 7617, section 2)"
            )));
        }
        let hash = value.parse().map_err(|why| place.problem(format!("password of {name:?}: {why}")))?;
        Ok((name, hash))
    };
    users.into_iter().map(hash).collect()
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A text of the file.
pub(super) type Text = At<String>;

/// A place in the file; both are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    line: u64,
    column: u64,
}

/// What is wrong with the file, and what to do.
#[derive(Debug)]
pub(super) struct Problem {
    /// Where, if it is not the file as a whole.
    pub(super) place: Option<Place>,
    pub(super) message: String,
}

impl Document {
    /// Reads the text of a file. One that says nothing is no error.
    ///
    /// # Errors
    /// What is no YAML, no key that there is, or no value of the right form.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let line =
                bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() as u64 + 1;
            Place { line, column: 1 }.problem("this is no text in UTF-8")
        })?;
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Option<Self> =
            serde_saphyr::from_str_with_options(text, options).map_err(Problem::from)?;
        Ok(document.unwrap_or_default())
    }
}

/// A section that is left empty says nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A text that is left empty says nothing.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
    Ok(Option::<Text>::deserialize(deserializer)?.filter(|text| !text.value.is_empty()))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        Ok(Self { value, place: referenced.into() })
    }
}

/// Two values are the same wherever they stand.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl Place {
    /// Something is wrong here.
    pub(super) fn problem(self, message: impl Into<String>) -> Problem {
        Problem { place: Some(self), message: message.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

impl Problem {
    /// In one line, with the file.
    pub(super) fn told(&self, path: &Path) -> String {
        let message = self.message.replace(|letter: char| letter.is_control(), " ");
        match self.place {
            Some(place) => format!("{}:{place}: {message}", path.display()),
            None => format!("{}: {message}", path.display()),
        }
    }
}

impl From<serde_saphyr::Error> for Problem {
    fn from(error: serde_saphyr::Error) -> Self {
        let location = error.location();
        let mut message = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        if let Some(location) = location {
            // It is told before.
            let place = format!(" at line {}, column {}", location.line(), location.column());
            message.truncate(message.strip_suffix(&place).unwrap_or(&message).len());
        }
        // What the parser calls its own things is no help.
        let message = match message.as_str() {
            "expected mapping start" => {
                "keys with values are expected here, as `key: value` in lines of their own".to_owned()
            }
            "invalid boolean" => "true or false is expected here".to_owned(),
            "invalid u32" => "a whole number is expected here, from 0 to 4294967295".to_owned(),
            _ => message,
        };
        Self { place: location.map(Place::from), message }
    }
}
