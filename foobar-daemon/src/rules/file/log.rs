//! `log` of a rule and `policy.log_drops`.

use super::{error::Errors, value::Value};
use crate::rules::log::OneIn;

/// Reads what such a key says.
pub(super) fn one_in(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<OneIn> {
    let text = value.string(what, errors)?;
    let digits = text.strip_prefix("1/").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let one_in = digits.and_then(|digits| OneIn::new(digits.parse().ok()?));
    if one_in.is_none() {
        errors.add(
            &value.place,
            format!("{what} cannot be {text:?}"),
            format!(
                "write \"1/1000\" for one packet in a thousand, from \"1/1\" for each to \"1/{}\"",
                u32::MAX
            ),
        );
    }
    one_in
}
