//! `cargo xtask lab break` and `heal`: what can fail, and which alert says so.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use foobar_tests::wait;

use crate::{
    denied,
    hosts::Host,
    lab::Lab,
    monitoring::wait_for_alerts,
    say::say,
    services::{
        Service, ask_firewall, ask_fleet, changed_by_hand, etcd_leader, mistaken_rules, put_rules,
        put_rules_of, synced_with,
    },
    site::{self, writers},
};

/// How long an alert may take to come, and to go.
const ALERT_WITHIN: Duration = Duration::from_secs(30);
/// How long something that was mended may take to work again.
const WORKS_WITHIN: Duration = Duration::from_secs(40);

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Break {
    /// nginx on web2 is killed
    WebServer,
    /// The database node on web2 is killed while eight write: no acknowledged row may be missing
    Database,
    /// A web server without TLS appears behind the balancer
    Plaintext,
    /// SYNs flood the balancer from addresses that nobody has
    SynFlood,
    /// Somebody changes the rules of web3 alone
    Rules,
    /// The foobar on web2 is killed: its filter stays, and traffic goes on
    Firewall,
    /// Rules come into etcd that close HTTPS by mistake: every server takes them back
    MistakenRules,
    /// The member of etcd that leads the others is killed
    EtcdLeader,
    /// The site gets a certificate that expires in two days
    Certificate,
}

impl Break {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::WebServer,
        Self::Database,
        Self::Plaintext,
        Self::SynFlood,
        Self::Rules,
        Self::Firewall,
        Self::MistakenRules,
        Self::EtcdLeader,
        Self::Certificate,
    ];

    /// The alert that it raises.
    pub(crate) const fn alert(self) -> &'static str {
        match self {
            Self::WebServer | Self::Database => "FleetServerDown",
            Self::Plaintext => "FoobarPlaintextBehindBalancer",
            Self::SynFlood => "FoobarSynFlood",
            Self::Rules => "FoobarRulesetDrift",
            Self::Firewall => "FoobarDown",
            Self::MistakenRules => "FoobarGuardTookRulesBack",
            Self::EtcdLeader => "FoobarEtcdMemberDown",
            Self::Certificate => "FoobarCertificateExpires",
        }
    }

    /// What may be raised besides, for a moment.
    const fn accompanied_by(self) -> &'static [&'static str] {
        match self {
            // Until the old rules are back, the site is closed.
            Self::MistakenRules => &["FleetServerDown", "FoobarRequestsCollapsed", "FoobarReloadFailed"],
            Self::WebServer
            | Self::Database
            | Self::Plaintext
            | Self::SynFlood
            | Self::Rules
            | Self::Firewall
            | Self::EtcdLeader
            | Self::Certificate => &[],
        }
    }

    /// What runs while it is broken, and only then.
    const fn runs(self) -> Option<Service> {
        match self {
            Self::Plaintext => Some(Service::FormerVisitors),
            Self::SynFlood => Some(Service::Flood),
            Self::WebServer
            | Self::Database
            | Self::Rules
            | Self::Firewall
            | Self::MistakenRules
            | Self::EtcdLeader
            | Self::Certificate => None,
        }
    }

    /// Its name, as it is written.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Breaks it, waits for its alert, and makes sure that there is no other and that nobody suffers more than has to be.
    pub(crate) fn inflict(self, lab: &Lab) -> Result<()> {
        let mut broken = broken(lab)?;
        ensure!(!broken.contains(&self.name()), "{} is broken already", self.name());
        broken.insert(self.name());
        note(lab, &broken)?;
        let began = Instant::now();
        match self {
            Self::WebServer => lab.kill(Service::Www(2))?,
            Self::Database => {
                lab.start(Service::Writers)?;
                thread::sleep(Duration::from_secs(3));
                lab.kill(Service::Database(2))?;
            }
            Self::Plaintext => {
                lab.start(Service::Former)?;
                lab.wait_for(Service::Former, WORKS_WITHIN)?;
                lab.start(Service::FormerVisitors)?;
            }
            Self::SynFlood => lab.start(Service::Flood)?,
            Self::Rules => {
                let rules = changed_by_hand(lab, Host::Web(3))?;
                ask_firewall(lab, Host::Web(3), &["rules", "apply", &rules.display().to_string()])?;
            }
            Self::Firewall => lab.kill(Service::Firewall(Host::Web(2)))?,
            Self::MistakenRules => put_rules_of(lab, Host::Web(1), &mistaken_rules(lab))?,
            Self::EtcdLeader => {
                let leader = etcd_leader(lab)?;
                say(&format!("web{leader} leads"));
                lab.kill(Service::Etcd(leader))?;
            }
            Self::Certificate => lab.renew_site_certificate("2")?,
        }
        let raised = self.wait(lab, &broken);
        if let Some(service) = self.runs()
            && lab.running(service).is_none()
        {
            bail!("{} has ended: {}", service.name(), lab.last_words(service));
        }
        raised?;
        say(&format!("{} was raised after {:.1} s", self.alert(), began.elapsed().as_secs_f64()));
        self.look_after(lab)
    }

    /// Mends it, and waits until its alert is gone.
    pub(crate) fn heal(self, lab: &Lab) -> Result<()> {
        let mut broken = broken(lab)?;
        ensure!(broken.contains(&self.name()), "{} is not broken", self.name());
        let began = Instant::now();
        match self {
            Self::WebServer => start_again(lab, Service::Www(2))?,
            Self::Database => {
                start_again(lab, Service::Database(2))?;
                let rows = writers::verify(lab, 2)?;
                say(&format!("web2 has all {rows} acknowledged rows, too"));
            }
            Self::Plaintext => {
                lab.stop(Service::FormerVisitors)?;
                lab.stop(Service::Former)?;
            }
            Self::SynFlood => lab.stop(Service::Flood)?,
            Self::Rules => ask_firewall(lab, Host::Web(3), &["rules", "rollback"]).map(drop)?,
            Self::Firewall => start_again(lab, Service::Firewall(Host::Web(2)))?,
            Self::MistakenRules => put_rules(lab)?,
            Self::EtcdLeader => {
                for number in 1..=3 {
                    start_again(lab, Service::Etcd(number))?;
                }
            }
            Self::Certificate => lab.renew_site_certificate("90")?,
        }
        broken.remove(&self.name());
        note(lab, &broken)?;
        self.wait(lab, &broken)?;
        say(&format!("{} was gone after {:.1} s", self.alert(), began.elapsed().as_secs_f64()));
        Ok(())
    }

    fn wait(self, lab: &Lab, broken: &BTreeSet<String>) -> Result<()> {
        let expected: BTreeSet<&str> =
            Self::ALL.into_iter().filter(|one| broken.contains(&one.name())).map(Self::alert).collect();
        wait_for_alerts(lab, ALERT_WITHIN, &expected, self.accompanied_by())
            .with_context(|| format!("alerts of {}", self.name()))
            .map(drop)
    }

    /// What has to be so while it is broken.
    fn look_after(self, lab: &Lab) -> Result<()> {
        if self == Self::MistakenRules {
            // One server after the other, and the balancer looks twice before it believes it.
            wait::until("the servers have the old rules back", WORKS_WITHIN, || {
                Ok(site::visit(lab, "/").is_ok())
            })?;
            wait_for_alerts(lab, ALERT_WITHIN, &BTreeSet::new(), &[self.alert(), "FoobarReloadFailed"])?;
        }
        for _ in 0..9 {
            let page =
                site::visit(lab, "/").with_context(|| format!("visit the site without {}", self.name()))?;
            ensure!(page.contains("greets"), "the site says {page:?}");
        }
        say("the site goes on");
        match self {
            Self::Database => {
                // A node that came back before the others have found out about it would have none of them go on.
                let so_far = writers::acknowledged(lab)?;
                wait::until("the other two nodes go on", WORKS_WITHIN, || {
                    let whole = [1, 3].iter().all(|number| synced_with(lab, *number, 2).is_ok());
                    Ok(whole && writers::acknowledged(lab)? > so_far)
                })?;
                lab.stop(Service::Writers)?;
                for number in [1, 3] {
                    let rows = writers::verify(lab, number)?;
                    say(&format!("web{number} has all {rows} acknowledged rows"));
                }
            }
            Self::Firewall => {
                denied::try_closed(lab, Host::Web(2))?;
                say("what was closed on web2 still is");
            }
            Self::MistakenRules => {
                let told = ask_fleet(lab, Host::Web(1))?;
                say(told.trim_end());
            }
            Self::WebServer
            | Self::Plaintext
            | Self::SynFlood
            | Self::Rules
            | Self::EtcdLeader
            | Self::Certificate => {}
        }
        Ok(())
    }
}

fn start_again(lab: &Lab, service: Service) -> Result<()> {
    lab.start(service)?;
    lab.wait_for(service, WORKS_WITHIN)
}

/// The names of what is broken.
fn broken(lab: &Lab) -> Result<BTreeSet<String>> {
    match fs::read_to_string(lab.folder().join(NOTE)) {
        Ok(text) => Ok(text.lines().map(ToOwned::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

fn note(lab: &Lab, broken: &BTreeSet<String>) -> Result<()> {
    let lines: Vec<&str> = broken.iter().map(String::as_str).collect();
    fs::write(lab.folder().join(NOTE), lines.join("\n")).context("note what is broken")
}

const NOTE: &str = "broken";
