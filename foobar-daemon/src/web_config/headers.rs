//! `http_server_config`: what each answer says besides.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::document::{At, HttpSection, Problem};

/// The headers of all answers.
///
/// # Errors
/// A value that exporter-toolkit does not take, or that no header can have.
pub(super) fn build(HttpSection { http2: _, headers }: &HttpSection) -> Result<HeaderMap, Problem> {
    let table = [
        ("Content-Security-Policy", &headers.content_security_policy, &[][..]),
        ("Strict-Transport-Security", &headers.strict_transport_security, &[]),
        ("X-Content-Type-Options", &headers.x_content_type_options, &["nosniff"]),
        ("X-Frame-Options", &headers.x_frame_options, &["deny", "sameorigin"]),
        ("X-XSS-Protection", &headers.x_xss_protection, &[]),
    ];
    let mut map = HeaderMap::new();
    for (name, text, allowed) in table {
        let Some(At { value, place }) = text else { continue };
        if value.is_empty() {
            continue;
        }
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            let allowed = allowed.join(" or ");
            return Err(place.problem(format!("{name} cannot be {value:?}: write {allowed}")));
        }
        let value = HeaderValue::from_str(value).map_err(|_says_no_more| {
            place.problem(format!(
                "{name} cannot be {value:?}: a header is one line of ASCII without control characters"
            ))
        })?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| place.problem(format!("{name} is no header: {error}")))?;
        map.insert(name, value);
    }
    Ok(map)
}
