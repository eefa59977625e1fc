//! A client behind the balancer is banned, and nobody else.

use anyhow::{Context as _, Result, ensure};

use crate::{
    hosts::{Host, OTHER_CLIENT},
    lab::Lab,
    services::ask_firewall,
    site::{visit, visit_from},
};

/// Bans one of two clients on the servers, sees it turned away and the other one served, and lifts the ban.
pub(crate) fn show(lab: &Lab) -> Result<()> {
    let banned = OTHER_CLIENT.to_string();
    visit_from(lab, OTHER_CLIENT, "/").context("visit the site before the ban")?;
    everywhere(lab, &["ban", &banned, "--for", "10m", "--reason", "shown in the lab"])?;
    let turned_away = visit_from(lab, OTHER_CLIENT, "/");
    let served = visit(lab, "/");
    everywhere(lab, &["unban", &banned])?;
    ensure!(turned_away.is_err(), "{banned} is banned, and gets the page");
    served.context("visit the site while another client is banned")?;
    visit_from(lab, OTHER_CLIENT, "/").context("visit the site after the ban was lifted").map(drop)
}

fn everywhere(lab: &Lab, words: &[&str]) -> Result<()> {
    Host::SERVERS.into_iter().try_for_each(|host| ask_firewall(lab, host, words).map(drop))
}
