//! The document of the live page: markup, style and script in one answer, which loads nothing else.

use std::sync::LazyLock;

use axum::{body::Bytes, http::HeaderValue};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::rules::bundle::hexadecimal;

/// Where style, script and version go.
const MARKUP: &str = include_str!("page.html");
const STYLE: &str =
    concat!(include_str!("colours.css"), include_str!("style.css"), include_str!("screens.css"));
/// One script, in reading order.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("words.js"),
    include_str!("elements.js"),
    include_str!("tables.js"),
    include_str!("live.js")
);

/// What the browser gets.
#[derive(Clone, Debug)]
pub struct Document {
    /// The whole page.
    pub html: Bytes,
    /// What it may do (`Content-Security-Policy`, <https://www.w3.org/TR/CSP3/>): run this script and no other, be styled by this
    /// style, and ask where it came from.
    pub policy: HeaderValue,
}

impl Document {
    /// The one of this build.
    pub fn new() -> Self {
        let html = MARKUP
            .replace("{{version}}", version())
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        // Words of the format above and Base64 are such a value.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { html: html.into(), policy }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells pages of different builds apart: a page that is still open when a daemon with another one takes over loads that.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let digest = Sha256::digest([MARKUP, STYLE, SCRIPT, env!("CARGO_PKG_VERSION")].concat());
        hexadecimal(&digest).chars().take(16).collect()
    });
    &VERSION
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_loads_nothing_and_runs_nothing_that_data_could_make() {
        let html = String::from_utf8(Document::new().html.to_vec()).unwrap();
        assert!(!html.contains("{{") && html.contains(version()), "{html}");
        // What stands between the tags is what the hashes are of.
        let between = |from: &str, to: &str| html.split(from).nth(1).and_then(|rest| rest.split(to).next());
        assert_eq!(between("<script>", "</script>"), Some(SCRIPT));
        assert_eq!(between("<style>", "</style>"), Some(STYLE));
        let without_svg = html.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=", "@import", "url(", " style=\"", "onclick"] {
            assert!(!without_svg.contains(word), "{word}");
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        let policy = Document::new().policy;
        assert!(
            policy.to_str().unwrap().starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy:?}"
        );
    }
}
