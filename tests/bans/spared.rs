//! Who must not be banned is not, whatever came first.

use std::time::Duration;

use anyhow::{Result, ensure};
use foobar_tests::wait;
use nix::sys::signal::Signal;

use crate::{RULES, Site};

#[test]
fn who_must_not_be_banned_is_not() -> Result<()> {
    let site = Site::new()?;
    for (address, why) in [
        ("198.51.100.10", "failsafe.peers names it"),
        ("198.51.0.0/16", "198.51.100.10 is inside, which failsafe.peers names"),
        ("192.0.2.200", "it is inside 192.0.2.128/25, which failsafe.never_ban names"),
        ("192.0.0.0/8", "192.0.2.128/25 is inside, which failsafe.never_ban names"),
        ("2001:db8::ff:1", "it is inside 2001:db8::ff:0/112, which failsafe.never_ban names"),
        ("2001:db8::/32", "2001:db8::ff:0/112 is inside, which failsafe.never_ban names"),
    ] {
        let [_, err] = site.says(&["ban", address, "203.0.113.7"], 2)?;
        ensure!(err.contains(&format!("{address} must not be banned: {why}")), "{err}");
    }
    assert_eq!(site.addresses()?, [""; 0]);
    let [out, _] = site.says(&["ban", "198.51.100.10", "203.0.113.7", "--partial"], 3)?;
    ensure!(out.starts_with("1 banned, 1 refused until "), "{out}");
    assert_eq!(site.foobar.scrape()?.count("foobar_bans_refused_total", &[]), 7);
    site.assert_banned("spared", &[("198.51.100.10", false), ("203.0.113.7", true), ("192.0.2.200", false)])
}

#[test]
fn rules_that_spare_more_lift_bans_and_cut_prefixes() -> Result<()> {
    let mut site = Site::new()?;
    site.says(&["ban", "203.0.113.7", "198.18.0.0/15", "2001:db8:bad::/48", "203.0.113.9"], 0)?;
    let spare = |more: &str| RULES.replace("never_ban = [", &format!("never_ban = [{more}"));
    let said = site.foobar.apply(&spare("\"203.0.113.0/29\", \"198.18.7.0/24\", \"2001:db8:bad::1\", "))?;
    for words in [
        "the ban of 203.0.113.7 is lifted, as failsafe.never_ban names it",
        "the ban of 198.18.0.0/15 does not reach 198.18.7.0/24, which failsafe.never_ban names",
        "the ban of 2001:db8:bad::/48 does not reach 2001:db8:bad::1, which failsafe.never_ban names",
    ] {
        ensure!(said.contains(words), "{said}");
        ensure!(site.foobar.log()?.contains(words), "{words}");
    }
    let expected = [
        ("203.0.113.7", false),
        ("203.0.113.9", true),
        ("198.18.7.1", false),
        ("198.18.8.1", true),
        ("2001:db8:bad::1", false),
        ("2001:db8:bad::2", true),
    ];
    site.assert_banned("spared", &expected)?;
    assert_eq!(site.addresses()?, ["198.18.0.0/15", "203.0.113.9", "2001:db8:bad::/48"]);
    site.foobar.kill()?;
    site.foobar.start()?;
    site.assert_banned("restarted", &expected)?;

    // A daemon that starts with such rules does the same.
    site.foobar.kill()?;
    site.foobar.write_rules(&spare("\"203.0.113.9\", "))?;
    site.foobar.start()?;
    let expected =
        [("203.0.113.7", false), ("203.0.113.9", false), ("198.18.7.1", true), ("198.18.8.1", true)];
    site.assert_banned("started", &expected)?;

    // So do files that are read again.
    site.foobar.write_rules(&spare("\"198.18.0.0/15\", "))?;
    site.foobar.signal(Signal::SIGHUP)?;
    wait::until("the ban is lifted", Duration::from_secs(10), || {
        Ok(site.addresses()? == ["2001:db8:bad::/48"])
    })?;
    site.assert_banned("reloaded", &[("198.18.8.1", false)])
}
