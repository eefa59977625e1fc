//! What runs on the hosts: how each service is started, and how one knows that it does what it is for.

mod balancer;
mod database;
mod etcd;
mod firewall;
mod monitoring;
mod web;

use std::env;

use anyhow::{Context as _, Result, ensure};

pub(crate) use self::{
    database::{run as database_run, seed, synced_with},
    etcd::{leader as etcd_leader, put as put_rules_of, put_rules},
    firewall::{ask as ask_firewall, ask_fleet, changed_by_hand, mistaken as mistaken_rules},
};
use crate::{
    collector::{Way, newest},
    hosts::Host,
    lab::Lab,
    monitoring::{alerts, ask, ask_center, targets},
    site,
};

/// A service on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// foobar.
    Firewall(Host),
    /// haproxy.
    Balancer,
    /// nginx with the site, on a web server of this number.
    Www(u8),
    /// nginx for administrators and the balancer's question after the database.
    Admin(u8),
    /// The program behind the site.
    Application(u8),
    /// A member of etcd, which has the rules.
    Etcd(u8),
    /// A node of MariaDB and Galera.
    Database(u8),
    /// Prometheus.
    Prometheus,
    /// alertmanager.
    Alertmanager,
    /// The Prometheus that servers write to, and that asks nobody.
    Center,
    /// Who takes what servers push otherwise.
    Collector,
    /// Who asks for a page now and then, day and night.
    Visitors,
    /// nginx without TLS, where there should be none.
    Former,
    /// Who asks for it.
    FormerVisitors,
    /// A flood of SYNs from addresses that nobody has.
    Flood,
    /// Who writes to the database without a pause, and notes what was acknowledged.
    Writers,
}

impl Service {
    /// What a lab that is up has, in the order in which it is started.
    pub(crate) fn all() -> Vec<Self> {
        let mut all: Vec<Self> = (1..=3).map(Self::Etcd).collect();
        all.extend(Host::FILTERED.map(Self::Firewall));
        all.extend((1..=3).map(Self::Database));
        for number in 1..=3 {
            all.extend([Self::Application(number), Self::Www(number), Self::Admin(number)]);
        }
        all.extend([
            Self::Balancer,
            Self::Alertmanager,
            Self::Center,
            Self::Collector,
            Self::Prometheus,
            Self::Visitors,
        ]);
        all
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        let of = |what: &str, host: Host| format!("{what}@{}", host.name());
        match self {
            Self::Firewall(host) => of("foobar", host),
            Self::Balancer => "haproxy".to_owned(),
            Self::Www(number) => of("www", Host::Web(number)),
            Self::Admin(number) => of("admin", Host::Web(number)),
            Self::Application(number) => of("application", Host::Web(number)),
            Self::Etcd(number) => of("etcd", Host::Web(number)),
            Self::Database(number) => of("database", Host::Web(number)),
            Self::Prometheus => "prometheus".to_owned(),
            Self::Alertmanager => "alertmanager".to_owned(),
            Self::Center => "center".to_owned(),
            Self::Collector => "collector".to_owned(),
            Self::Visitors => "visitors".to_owned(),
            Self::Former => "former".to_owned(),
            Self::FormerVisitors => "former-visitors".to_owned(),
            Self::Flood => "flood".to_owned(),
            Self::Writers => "writers".to_owned(),
        }
    }

    /// Where it runs.
    pub(crate) const fn host(self) -> Host {
        match self {
            Self::Firewall(host) => host,
            Self::Balancer => Host::Balancer,
            Self::Www(number)
            | Self::Admin(number)
            | Self::Application(number)
            | Self::Etcd(number)
            | Self::Database(number) => Host::Web(number),
            Self::Prometheus | Self::Alertmanager | Self::Center | Self::Collector => Host::Monitoring,
            Self::Visitors | Self::FormerVisitors | Self::Flood => Host::Client,
            Self::Former => Host::Web(3),
            Self::Writers => Host::Web(1),
        }
    }

    /// Writes what it is configured with and gives the words that it is started with.
    pub(crate) fn prepare(self, lab: &Lab) -> Result<Vec<String>> {
        match self {
            Self::Firewall(host) => firewall::prepare(lab, self, host),
            Self::Balancer => balancer::prepare(lab, self),
            Self::Www(_) => web::prepare_site(lab, self),
            Self::Admin(_) => web::prepare_admin(lab, self),
            Self::Former => web::prepare_former(lab, self),
            Self::Etcd(_) => etcd::prepare(lab, self),
            Self::Database(number) => database::prepare(lab, self, number),
            Self::Prometheus => monitoring::prepare_prometheus(lab, self),
            Self::Alertmanager => monitoring::prepare_alertmanager(lab, self),
            Self::Center => monitoring::prepare_center(lab, self),
            Self::Collector => own("collector", &[&lab.folder_of(self)?.display().to_string()]),
            Self::Application(number) => own("application", &[&Host::Web(number).address().to_string()]),
            Self::Visitors => own("visitors", &[]),
            Self::FormerVisitors => own("former-visitors", &[]),
            Self::Flood => own("flood", &[]),
            Self::Writers => own("writers", &[&site::acknowledged(lab)?.display().to_string()]),
        }
    }

    /// Whether it does what it is for.
    ///
    /// # Errors
    /// What it does not do yet.
    pub(crate) fn check(self, lab: &Lab) -> Result<()> {
        match self {
            Self::Firewall(host) => firewall::check(lab, host),
            Self::Balancer => balancer::check(lab),
            Self::Www(number) => {
                let page =
                    site::curl_from(lab, Host::Balancer, Host::Web(number), "/", web::speaks_first(lab))?;
                ensure!(page.contains("greets"), "the site says {page:?}");
                Ok(())
            }
            Self::Admin(_) | Self::Former => web::check_listener(lab, self),
            Self::Application(_) => web::check_application(lab, self),
            Self::Etcd(_) => etcd::check(lab, self),
            Self::Database(number) => database::synced(lab, number),
            Self::Prometheus => {
                let down: Vec<String> =
                    targets(lab)?.into_iter().filter(|(_, up)| !up).map(|(name, _)| name).collect();
                ensure!(down.is_empty(), "Prometheus does not reach {}", down.join(", "));
                // One that is wrong is answered with 500.
                ask(lab, Host::Monitoring, 9090, "/consoles/foobar.html").map(drop)
            }
            Self::Alertmanager => alerts(lab).map(drop),
            Self::Center => {
                let answer = ask_center(lab, "count(foobar_up)")?;
                let servers = answer.pointer("/data/result/0/value/1");
                ensure!(
                    servers.is_some_and(|servers| servers == "3"),
                    "not all servers have written: {answer}"
                );
                Ok(())
            }
            Self::Collector => {
                let folder = lab.folder_of(self)?;
                for (host, way) in Host::SERVERS.into_iter().zip([Way::Otlp, Way::Sumo, Way::Otlp]) {
                    newest(&folder, way, host.address())?;
                }
                Ok(())
            }
            Self::Visitors | Self::FormerVisitors | Self::Flood | Self::Writers => {
                lab.running(self).map(drop).context("it has ended")
            }
        }
    }
}

/// A command of this program itself, with arguments.
fn own(command: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let program = env::current_exe()?.display().to_string();
    Ok([&program, command]
        .into_iter()
        .map(ToOwned::to_owned)
        .chain(arguments.iter().map(|&word| word.to_owned()))
        .collect())
}

/// Words that a program is started with.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(ToOwned::to_owned).to_vec()
}
