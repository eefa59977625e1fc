//! What a daemon has to know to be a member of a fleet.

use std::{path::Path, sync::Arc};

use nix::sys::utsname::uname;

use super::{access::EtcdAccess, place::EtcdPlace};
use crate::outcome::InvalidInput;

/// Longest name of a member.
const NAME_MAX: usize = 64;

/// Where rules come from, and what is told there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// Where the rules are.
    pub place: Arc<EtcdPlace>,
    /// What it takes to read them.
    pub access: EtcdAccess,
    /// The name of this member.
    pub member: String,
}

impl FleetSettings {
    /// What a value of `--rules` and the settings around it mean; `None` if rules come from files.
    ///
    /// # Errors
    /// What of it cannot be, and how to write it.
    pub fn of(
        rules: &Path,
        access: EtcdAccess,
        member: Option<String>,
    ) -> Result<Option<Self>, InvalidInput> {
        let Some(text) = rules.to_str().filter(|text| EtcdPlace::is_meant(text)) else { return Ok(None) };
        let place = text.parse().map_err(|why| InvalidInput(format!("--rules: {why}")))?;
        let host = || Some(uname().ok()?.nodename().to_str()?.to_owned());
        let member = member.or_else(host).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if member.is_empty() || member.len() > NAME_MAX || !member.bytes().all(is_plain) {
            return Err(InvalidInput(format!(
                "{member:?} cannot be the name of a member of a fleet: write 1 to {NAME_MAX} of the characters A-Z a-z 0-9 _ \
                 . - with --member"
            )));
        }
        Ok(Some(Self { place: Arc::new(place), access, member }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_etcd_make_a_member() {
        let of = |rules: &str, member: Option<&str>| {
            FleetSettings::of(Path::new(rules), EtcdAccess::default(), member.map(str::to_owned))
        };
        assert_eq!(of("/etc/foobar/rules", None).unwrap(), None);
        assert_eq!(of("etcd", Some("b/c")).unwrap(), None);
        assert_eq!(of("etcd://a/p", Some("web-1.x")).unwrap().unwrap().member, "web-1.x");
        for (rules, member, said) in [
            ("etcd://a", Some("b"), "no prefix"),
            ("etcd://a/p", Some("b/c"), "--member"),
            ("etcd://a/p", Some(""), "--member"),
        ] {
            let error = of(rules, member).unwrap_err().0;
            assert!(error.contains(said), "{error}");
        }
    }
}
