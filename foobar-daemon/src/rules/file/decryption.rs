//! `decrypt_by` and `decrypt_from` of a `[[service]]`.

use foobar_common::service::Protocol;

use super::{
    error::Errors,
    value::{Section, Value},
};
use crate::rules::model::DecryptFrom;

const FROM_KEYS: [&str; 2] = ["unit", "path"];
const FROM_HELP: &str = "write decrypt_from = { unit = \"nginx.service\" } or { path = \"/usr/sbin/nginx\" }, or leave it \
                         out: then the processes are taken that listen on the ports of the service";

/// Whose TLS library tells the requests of a service, if one does.
pub(super) fn read(
    section: &Section<'_>,
    protocol: Protocol,
    errors: &mut Errors<'_>,
) -> Option<DecryptFrom> {
    let from = section.get("decrypt_from");
    let Some(by) = section.get("decrypt_by") else {
        if let Some(from) = from {
            let message = "decrypt_from says nothing without decrypt_by".to_owned();
            errors.add(&from.place, message, "write decrypt_by = \"uprobe\", too, or leave this out");
        }
        return None;
    };
    by.word("decrypt_by", &[("uprobe", ())], errors)?;
    if protocol != Protocol::Tls {
        let message = "only of a service with protocol = \"tls\" there is something to decrypt".to_owned();
        errors.add(&by.place, message, "write protocol = \"tls\", or leave this out");
        return None;
    }
    match from {
        Some(from) => named(&from, errors),
        None => Some(DecryptFrom::Listeners),
    }
}

fn named(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<DecryptFrom> {
    let section = value.section("decrypt_from", FROM_HELP, errors)?;
    section.check_keys(&FROM_KEYS, errors);
    match (section.get("unit"), section.get("path")) {
        (Some(unit), None) => {
            let name = unit.string("unit", errors)?;
            // A unit without its type is a name that no control group has.
            if name.contains('/') || !name.contains('.') {
                errors.add(
                    &unit.place,
                    format!("{name:?} is no name of a unit"),
                    "write unit = \"nginx.service\"",
                );
                return None;
            }
            Some(DecryptFrom::Unit(name.to_owned()))
        }
        (None, Some(path)) => {
            let text = path.string("path", errors)?;
            if !text.starts_with('/') {
                let message = format!("{text:?} is no path from the root");
                errors.add(&path.place, message, "write path = \"/usr/sbin/nginx\"");
                return None;
            }
            Some(DecryptFrom::Path(text.to_owned()))
        }
        (Some(_), Some(path)) => {
            errors.add(
                &path.place,
                "decrypt_from names both a unit and a path".to_owned(),
                "leave one of them out",
            );
            None
        }
        (None, None) => {
            errors.add(&value.place, "decrypt_from names nothing".to_owned(), FROM_HELP);
            None
        }
    }
}
