//! What the servers, the signals and the metrics hold of the one writer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::{
    balancers::Balancers,
    events::Hub,
    facts,
    live::{LiveFacts, RuleActions},
    start::Rules,
    traffic,
    writer::failed,
};
use crate::{
    bans::{
        Ban, Moment,
        busiest::{self, Looks, Stopping},
        request::{WantedBans, WantedLifts},
    },
    certificates::Certificates,
    control::{
        bans::{BanInForce, BanStopping},
        protocol::{Changed, Refusal, RulesInForce, SetInForce, Status, Traffic},
    },
    dataplane::counters::CounterReader,
    fleet::{Fleet, FleetFacts, Offered, members::Member},
    host::Host,
    metrics::account::Account,
    page::viewers::Viewers,
    push::live::Push,
    rules::{
        model::{Ruleset, ServicePort},
        names::prefix_words,
        sets::edit::SetEdit,
    },
    web_config::live::Live,
};

/// How long a look waits for the writer, which may be loading a ruleset. Scrapers wait for ten seconds by default.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// How long a change waits for the writer.
const CHANGE_TIME: Duration = Duration::from_secs(100);
/// Requests that wait for the writer at a time.
pub const QUEUE: usize = 64;
/// Bans that `status` tells of what they have stopped.
const BUSIEST_IN_STATUS: usize = 10;
/// Bans that `top` is told of.
const BUSIEST_IN_TOP: usize = 50;

/// Asks the writer; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: SyncSender<Request>,
    /// Counters are read past the writer.
    pub counters: CounterReader,
    /// Events, too.
    pub events: Hub,
    /// Who may read the metrics.
    pub web: Arc<Live>,
    /// What earlier daemons have told.
    pub account: Arc<Mutex<Account>>,
    /// What is known of the fleet, if there is one.
    pub fleet: Option<Arc<Fleet>>,
    /// Who may be banned in the place of others.
    pub balancers: Balancers,
    /// Who gets the metrics, if anybody does.
    pub push: Option<Arc<Push>>,
    /// The machine, if its health is told.
    pub host: Option<Arc<Host>>,
    /// When certificates expire.
    pub certificates: Arc<Certificates>,
    /// Who looks at the live page.
    pub viewers: Arc<Viewers>,
    /// When bans were last looked at.
    looks: Arc<Looks>,
}

/// What is asked past the writer.
pub struct Beside {
    /// The counters of the filter.
    pub counters: CounterReader,
    /// Its events.
    pub events: Hub,
    /// Who may read the metrics.
    pub web: Arc<Live>,
    /// What earlier daemons have told.
    pub account: Account,
    /// What is known of the fleet, if there is one.
    pub fleet: Option<Arc<Fleet>>,
    /// Who gets the metrics, if anybody does.
    pub push: Option<Push>,
    /// The machine, if its health is told.
    pub host: Option<Host>,
    /// When certificates expire.
    pub certificates: Certificates,
}

/// Something that the writer does, one after the other.
#[derive(Debug)]
pub enum Request {
    /// Tell what is.
    Facts(SyncSender<Facts>),
    /// Tell what the other members of the fleet are told.
    Member(SyncSender<Member>),
    /// Tell the rules in force, without the entries of sets, if some of them ban by source.
    BanningRules(SyncSender<Option<Box<Ruleset>>>),
    /// Tell the rules in force.
    Rules(SyncSender<Result<RulesInForce, Refusal>>),
    /// Tell what has been counted of services, and what else `top` shows.
    Traffic(SyncSender<Result<Traffic, Refusal>>),
    /// Tell what the live page shows, with the flows that are known or without.
    Live(bool, SyncSender<Result<LiveFacts, Refusal>>),
    /// Tell what each rule in force does.
    RuleActions(SyncSender<RuleActions>),
    /// Tell the sets in force.
    Sets(SyncSender<Vec<SetInForce>>),
    /// Tell a set in force with its entries.
    Set(String, SyncSender<Result<(SetInForce, Vec<IpNet>), Refusal>>),
    /// Tell the bans in force.
    Bans(SyncSender<Vec<(IpNet, Ban)>>),
    /// Tell those in force of these.
    BansOf(Vec<IpNet>, SyncSender<HashMap<IpNet, Ban>>),
    /// Change something.
    Change(Asked),
    /// Look after the interfaces: one of them has changed.
    Tend,
    /// End, and leave the filter in force unless it is ephemeral.
    Stop,
}

/// A change that somebody asks for.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub change: Change,
    /// Who asks, in words.
    pub by: String,
    /// Where the result goes, if anybody waits for it; it is logged in any case.
    pub reply: Option<SyncSender<Result<Changed, Refusal>>>,
}

impl Asked {
    /// Whether this is a reload whose end nobody waits for.
    pub fn is_signal(&self) -> bool {
        self.reply.is_none() && matches!(self.change, Change::Reload)
    }
}

/// A change of what is in force.
#[derive(Debug)]
pub enum Change {
    /// Put these rules in force.
    Apply {
        /// They, with their texts.
        rules: Box<Rules>,
        /// Take them back after this time unless they are confirmed.
        confirm_within: Option<Duration>,
        /// Take them back if services lose traffic within this time.
        guard: Option<Duration>,
    },
    /// Judge the rules that etcd has.
    Offer(Box<Offered>),
    /// Keep the rules that wait for their confirmation.
    Confirm,
    /// Put the rules before them back in force.
    Rollback,
    /// Put the rule files of `--rules` in force.
    Reload,
    /// Change the entries of a set; the rules stay.
    EditSet(AskedEdit),
    /// Ban addresses and prefixes.
    Ban(AskedBans),
    /// Lift bans.
    Lift(AskedLifts),
    /// Take the filter away and end.
    Detach,
}

/// Bans to be made.
#[derive(Debug)]
pub struct AskedBans {
    /// Of what, and for how long.
    pub wanted: WantedBans,
    /// Whether to ban what can be if something cannot.
    pub partial: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Bans to be lifted.
#[derive(Debug)]
pub enum AskedLifts {
    /// Every one.
    All,
    /// Those of these.
    These(WantedLifts),
}

/// A change of the entries of a set.
#[derive(Debug)]
pub struct AskedEdit {
    /// Name of the set.
    pub name: String,
    /// What becomes of its entries.
    pub edit: SetEdit,
    /// How many of the given entries had bits behind the prefix, which were set to zero.
    pub masked: usize,
}

/// What is, for `status` and metrics.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `status` shows it.
    pub status: Status,
    /// The ports of the services in force.
    pub service_ports: Vec<ServicePort>,
}

impl Handle {
    /// A handle of the writer that takes these requests.
    pub fn new(requests: SyncSender<Request>, beside: Beside) -> Self {
        let Beside { counters, events, web, account, fleet, push, host, certificates } = beside;
        Self {
            requests,
            counters,
            events,
            web,
            account: Arc::new(Mutex::new(account)),
            fleet,
            push: push.map(Arc::new),
            host: host.map(Arc::new),
            certificates: Arc::new(certificates),
            balancers: Balancers::default(),
            viewers: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// Asks what is.
    pub fn facts(&self) -> Result<Facts, Refusal> {
        let mut facts = self.ask(LOOK_TIME, Request::Facts)?;
        facts.status.web_config = self.web.facts();
        facts.status.few_sources = self.balancers.found();
        if let Some(fleet) = &self.fleet {
            let decision = facts.status.fleet.take().and_then(|known| known.decision);
            facts.status.fleet = Some(FleetFacts { decision, ..fleet.facts() });
        }
        facts.status.push = self.push.as_ref().map(|push| push.facts());
        facts.status.certificates = self.certificates.facts();
        facts.status.page_viewers = self.viewers.count();
        Ok(facts)
    }

    /// Asks what is, which connections are open, and which bans have stopped most.
    pub fn status(&self) -> Result<Status, Refusal> {
        let mut status = self.facts()?.status;
        facts::add_open(&mut status, self.counters.open());
        let now = Moment::now(SystemTime::now()).map_err(failed)?;
        let most = match self.counters.bans() {
            Ok(bans) => busiest::most(bans, now.since_boot(), BUSIEST_IN_STATUS),
            Err(error) => {
                status.problems.push(format!("{error:#}"));
                Vec::new()
            }
        };
        let known = self.bans_of(most.iter().map(|(prefix, _)| *prefix).collect())?;
        let busiest = most
            .iter()
            .filter_map(|(prefix, packets)| Some(BanInForce::of(prefix, known.get(prefix)?, *packets, now)));
        status.busiest_bans = busiest.collect();
        Ok(status)
    }

    /// Asks for the rules in force.
    pub fn rules(&self) -> Result<RulesInForce, Refusal> {
        self.ask(LOOK_TIME, Request::Rules)?
    }

    /// Asks what the other members of the fleet are told; their name for this one is not known there.
    pub fn member(&self) -> Result<Member, Refusal> {
        self.ask(LOOK_TIME, Request::Member)
    }

    /// Asks for the rules if some of them ban by source.
    pub fn banning_rules(&self) -> Result<Option<Box<Ruleset>>, Refusal> {
        self.ask(LOOK_TIME, Request::BanningRules)
    }

    /// Asks what the live page shows, with what has been counted. The flows that are known are counted only if they are wanted,
    /// as that takes a while.
    pub fn live(&self, flows: bool) -> Result<LiveFacts, Refusal> {
        let facts = self.ask(LOOK_TIME, |reply| Request::Live(flows, reply))??;
        let counters = self.counters.read().context("read the counters").map_err(failed)?;
        Ok(LiveFacts { traffic: traffic::with_counters(facts.traffic, counters), ..facts })
    }

    /// Asks what each rule in force does.
    pub fn rule_actions(&self) -> Result<RuleActions, Refusal> {
        self.ask(LOOK_TIME, Request::RuleActions)
    }

    /// Asks what has been counted.
    pub fn traffic(&self) -> Result<Traffic, Refusal> {
        let traffic = self.ask(LOOK_TIME, Request::Traffic)??;
        let counters = self.counters.read().context("read the counters").map_err(failed)?;
        let bans = self.stopping()?;
        Ok(Traffic { bans, ..traffic::with_counters(traffic, counters) })
    }

    /// The bans that have stopped most since somebody last looked.
    fn stopping(&self) -> Result<Vec<BanStopping>, Refusal> {
        let now = Moment::now(SystemTime::now()).map_err(failed)?;
        let stopping = self.looks.look(now.since_boot(), BUSIEST_IN_TOP, || self.counters.bans());
        let stopping = stopping.map_err(failed)?;
        let known = self.bans_of(stopping.iter().map(|ban| ban.prefix).collect())?;
        let told = stopping.iter().filter_map(|Stopping { prefix, packets, recent: _, per_second }| {
            Some(BanStopping {
                address: prefix_words(prefix),
                packets: *packets,
                packets_per_second: *per_second,
                made: known.get(prefix)?.made.as_ref().clone(),
            })
        });
        Ok(told.collect())
    }

    /// Asks for the sets in force.
    pub fn sets(&self) -> Result<Vec<SetInForce>, Refusal> {
        self.ask(LOOK_TIME, Request::Sets)
    }

    /// Asks for a set in force and its entries.
    pub fn set(&self, name: String) -> Result<(SetInForce, Vec<IpNet>), Refusal> {
        self.ask(LOOK_TIME, |reply| Request::Set(name, reply))?
    }

    /// Asks for the bans in force, and for what each of them has stopped.
    pub fn bans(&self) -> Result<Vec<BanInForce>, Refusal> {
        let bans = self.ask(LOOK_TIME, Request::Bans)?;
        let now = Moment::now(SystemTime::now()).map_err(failed)?;
        let counted = self.counters.bans().map_err(failed)?;
        let counted: HashMap<IpNet, u64> = counted.into_iter().map(|ban| (ban.prefix, ban.packets)).collect();
        let packets = |prefix| counted.get(prefix).copied().unwrap_or(0);
        Ok(bans.iter().map(|(prefix, ban)| BanInForce::of(prefix, ban, packets(prefix), now)).collect())
    }

    /// Asks for those bans of these that are in force; of none, nobody is asked.
    fn bans_of(&self, prefixes: Vec<IpNet>) -> Result<HashMap<IpNet, Ban>, Refusal> {
        if prefixes.is_empty() {
            return Ok(HashMap::new());
        }
        self.ask(LOOK_TIME, |reply| Request::BansOf(prefixes, reply))
    }

    /// Has something changed, and waits until it is.
    pub fn change(&self, change: Change, by: &str) -> Result<Changed, Refusal> {
        let by = by.to_owned();
        self.ask(CHANGE_TIME, |reply| Request::Change(Asked { change, by, reply: Some(reply) }))?
    }

    /// Has the rule files read again; the log tells how that ended.
    pub fn reload(&self, by: &str) {
        if let Some(fleet) = &self.fleet {
            tracing::info!("reload by {by}: the rules are read from etcd again");
            return fleet.reread();
        }
        let request = Request::Change(Asked { change: Change::Reload, by: by.to_owned(), reply: None });
        if let Err(refusal) = self.send(request) {
            tracing::error!("reload by {by}: {}", refusal.error);
        }
    }

    /// Has the interfaces looked after; `false` when there is no writer any more.
    pub fn tend(&self) -> bool {
        // With a full queue the writer is busy, and looks after them within a second of being done.
        !matches!(self.requests.try_send(Request::Tend), Err(TrySendError::Disconnected(_)))
    }

    /// Has the writer end. Waits for its place in the queue, but not for the end.
    pub fn stop(&self) {
        if self.requests.send(Request::Stop).is_err() {
            tracing::debug!("the writer had ended before it was asked to");
        }
    }

    fn ask<T>(
        &self,
        patience: Duration,
        request: impl FnOnce(SyncSender<T>) -> Request,
    ) -> Result<T, Refusal> {
        let (reply, answer) = sync_channel(1);
        self.send(request(reply))?;
        answer.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => Refusal::failed(format!(
                "the daemon is still busy after {} s; `foobar status` tells later how it ended",
                patience.as_secs()
            )),
            RecvTimeoutError::Disconnected => Refusal::failed("the daemon is ending"),
        })
    }

    fn send(&self, request: Request) -> Result<(), Refusal> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                Refusal::failed(format!("{QUEUE} requests wait for the daemon already; try again later"))
            }
            TrySendError::Disconnected(_) => Refusal::failed("the daemon is ending"),
        })
    }
}
