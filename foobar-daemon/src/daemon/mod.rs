//! The daemon: binds, puts rules in force, serves, and ends in order.
//!
//! One thread, the [`writer`], owns everything that changes; servers, signals and the watch over the interfaces
//! send it requests through a [`handle`].

pub mod balancers;
pub mod bans;
pub mod events;
pub mod guarding;
pub mod handle;
pub mod kept_rules;
pub mod live;
pub mod sets;
pub mod start;
pub mod summary;
pub mod writer;

mod facts;
mod notify;
mod syn_cookies;
mod traffic;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};
use foobar_common::maps;
use sd_notify::NotifyState;
use tempfile::TempDir;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

use self::{
    bans::Bans,
    events::Hub,
    guarding::GuardFacts,
    handle::{Beside, Handle, QUEUE, Request},
    kept_rules::KeptRules,
    start::{Rules, Start},
    summary::Summary,
    writer::{End, Writer},
};
use crate::{
    bans::Moment,
    certificates::Certificates,
    config::Settings,
    control::{protocol::Reload, server, socket::ControlSocket},
    dataplane::{
        features,
        filter::{Filter, FilterOptions, Pins},
        interfaces::Watch,
        load::MapSizes,
        pins::PinFolder,
    },
    env::Env,
    fleet::Fleet,
    host::{self, Host},
    log::{journal::Journal, packets},
    memory,
    metrics::{account::Account, serve},
    outcome::Outcome,
    page,
    push::{encode::Since, live::Push},
    rates::RequestHistory,
    reconcile::Reconciler,
    rules::sets::masked_words,
    state::{State, store::Store, unix_ms},
    web_config::live::Live,
};

/// How long answers that are on their way are waited for at the end.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Runs the daemon until a signal or `detach` ends it. With `summary`, tells once a second what passes.
///
/// # Errors
/// Whatever prevents the start; nothing is attached then, and what an earlier daemon had in force still is.
pub fn run(settings: Settings, summary: bool, env: &mut Env<'_>) -> Result<Outcome> {
    features::check_privileges()?;
    memory::share_one_heap();
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the threads that serve")?;
    let ended = runtime.block_on(serve_until_end(settings, summary, env));
    // A client that never ends must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

/// What ends or interrupts the daemon.
struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            reload: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

async fn serve_until_end(settings: Settings, summary: bool, env: &mut Env<'_>) -> Result<Outcome> {
    let mut signals = Signals::new()?;
    let state_folder = StateFolder::new(&settings)?;
    let web = Arc::new(Live::open(settings.web_config.as_deref(), settings.exposure)?);
    let store = Store::open(state_folder.path())?;
    let fleet = settings.fleet.as_ref().map(Fleet::open).transpose()?.map(Arc::new);
    let now = unix_ms((env.now)());
    let start = match &fleet {
        None => start::prepare(&store, &settings, now)?,
        Some(fleet) => start::prepare_before_etcd(fleet, &store, &settings, now).await?,
    };
    let push = settings.push.as_deref().map(|path| Push::open(path, state_folder.path())).transpose()?;
    // Both before anything is attached: a port or socket in use must leave everything as it is.
    let metrics_listener = listen(&settings)?;
    let (control_socket, control_listener) = ControlSocket::bind(&settings.control)?;

    let writer = put_in_force(settings.clone(), store, start, env)?;
    let (requests, taken) = sync_channel(QUEUE);
    let account = Account::open(state_folder.path(), writer.started_unix_ms);
    let since = counting_since(&writer, &account);
    let host = writer.settings.host_metrics.then(|| Host {
        interfaces: writer.settings.interfaces.clone(),
        state: state_folder.path().to_owned(),
    });
    let beside = Beside {
        counters: writer.filter.counter_reader(),
        events: writer.events.clone(),
        web,
        account,
        fleet,
        push,
        host,
        certificates: Certificates::new(writer.settings.certificates.clone()),
    };
    let handle = Handle::new(requests, beside);
    watch_interfaces(handle.clone())?;
    let summary = summary.then(|| Summary::new(&writer.rules.services, env.color));
    let mut ended = spawn_writer(writer, taken)?;

    let control = server::Server::new(control_listener, handle.clone())?;
    let registry = serve::registry(handle.clone())?;
    let metrics = serve::Server::new(metrics_listener, Arc::clone(&registry), handle.clone())?;
    let places = [control.places(), metrics.places()];
    let mut servers = vec![tokio::spawn(control.serve()), tokio::spawn(metrics.serve())];
    if handle.certificates.is_any() {
        servers.push(tokio::spawn(Arc::clone(&handle.certificates).run()));
    }
    let hub = handle.events.clone();
    servers.extend(handle.push.clone().map(|push| tokio::spawn(push.run(registry, hub, since))));
    if settings.journal.is_some_and(|journal| journal.packets) {
        servers.extend(follow_packets(handle.events.clone()));
    }
    let mut followers =
        vec![tokio::spawn(balancers::look(handle.clone())), tokio::spawn(page::feed::run(handle.clone()))];
    followers.extend(handle.fleet.iter().flat_map(|fleet| fleet.spawn(&handle)));
    notify::state(&[NotifyState::Ready]);
    tracing::info!("serving metrics on {}, control on {}", handle.web.url(), settings.control.display());

    let mut signalled = None;
    let result = {
        let tick = work(&mut signals, &handle, summary, env);
        tokio::select! {
            result = &mut ended => Some(result),
            name = tick => {
                signalled = Some(name?);
                None
            }
        }
    };
    notify::state(&[NotifyState::Stopping]);
    if let Some(name) = signalled {
        tracing::info!("{name}: ending");
        handle.stop();
    }
    let result = match result {
        Some(result) => result,
        None => ended.await,
    };
    for follower in followers {
        follower.abort();
    }
    // The server that waits for the next connection holds a place.
    for server in servers {
        server.abort();
        if let Err(error) = server.await
            && error.is_panic()
        {
            tracing::error!("a server broke off: {error}");
        }
    }
    // Those who watch would never be answered.
    handle.events.end();
    handle.viewers.end();
    for places in places {
        places.drained(DRAIN_TIME).await;
    }
    drop(control_socket);
    drop(state_folder);
    match result {
        Ok(Ok(End::Stopped | End::Detached)) => Ok(Outcome::Done),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(anyhow!(
            "the daemon's writer broke off; the filter stays in force, start foobar again to look after it"
        )),
    }
}

/// Handles signals and shows the summary until a signal says to end; gives its name.
async fn work(
    signals: &mut Signals,
    handle: &Handle,
    mut summary: Option<Summary>,
    env: &mut Env<'_>,
) -> Result<&'static str> {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok("SIGTERM"),
            _ = signals.interrupt.recv() => return Ok("SIGINT"),
            _ = signals.reload.recv() => {
                handle.reload("SIGHUP");
                let web = Arc::clone(&handle.web);
                drop(spawn_blocking(move || web.reread()));
                if let Some(push) = &handle.push {
                    push.reread();
                }
                handle.certificates.look_now();
            }
            _ = second.tick(), if summary.is_some() => {
                if let Some(shown) = &mut summary && let Err(error) = shown.show(handle, env) {
                    // Nobody reads it any more; the filter goes on.
                    tracing::warn!("show the summary: {error:#}");
                    summary = None;
                }
            }
        }
    }
}

fn listen(settings: &Settings) -> Result<TcpListener> {
    let address = settings.exposure.listen;
    let listener = TcpListener::bind(address).with_context(|| {
        format!("listen on {address} for metrics; end who has the port (`ss -ltnp` tells) or name another with --listen")
    })?;
    listener.set_nonblocking(true).with_context(|| format!("listen on {address}"))?;
    Ok(listener)
}

/// Remembers what is to be in force, then puts it in force.
fn put_in_force(settings: Settings, store: Store, start: Start, env: &Env<'_>) -> Result<Writer> {
    let Start {
        rules,
        laid,
        compiled,
        slots,
        slots_before,
        state,
        state_before,
        confirm_within,
        why,
        problems,
    } = start;
    let started_unix_ms = unix_ms((env.now)());
    for problem in &problems {
        tracing::error!("{problem}");
    }
    store.add_ruleset(&rules.bundle)?;
    slots.save(&store.slots())?;
    store.set_state(&state)?;
    let deadline = confirm_within.map(|within| Instant::now() + within);
    let pins = if settings.ephemeral {
        Pins::Ephemeral(settings.pins.clone())
    } else {
        Pins::Lasting(settings.pins.clone())
    };
    let options = FilterOptions {
        interfaces: settings.interfaces.clone(),
        mode: settings.mode,
        pins,
        sizes: MapSizes { ring_bytes: settings.event_buffer, flows: settings.flows },
    };
    let failsafe = &rules.ruleset.failsafe;
    let mut bans = Bans::read(&store, failsafe, (env.now)())?;
    bans.follow(&compiled);
    let started = Filter::start_with_bans(options, &compiled, |maps| {
        bans.reconcile(maps, failsafe, Moment::now((env.now)())?)
    });
    let mut filter = started.inspect_err(|_| {
        let restored = store.set_state(&state_before).and_then(|()| slots_before.save(&store.slots()));
        if let Err(error) = restored {
            tracing::error!("remember that nothing was changed: {error:#}");
        }
    })?;
    memory::much_is_free();
    laid.forget_void(&store);
    bans.settle(Moment::now((env.now)())?);
    tell_attachments(&filter);
    tell_rules(&rules, &state, why, confirm_within);
    for name in laid.overlays.keys() {
        tracing::info!("the set {name} is as it was changed at runtime");
    }
    let guarded_since = state.guard().map(|_| Duration::ZERO);
    let last_reload = Reload {
        success: problems.is_empty(),
        unix_ms: started_unix_ms,
        what: "start".to_owned(),
        error: (!problems.is_empty()).then(|| problems.join("\n")),
    };
    let mut reconciler =
        Reconciler::new(runtime::Handle::current(), filter.counter_reader(), &settings.interfaces);
    reconciler.follow(&rules.ruleset.services);
    let events = Hub::of(&mut filter, &compiled)?;
    let mut writer = Writer {
        settings,
        store,
        state,
        slots,
        filter,
        events,
        reconciler,
        rules: KeptRules::of(rules, &compiled.slots),
        overlays: laid.overlays,
        bans,
        deadline,
        guarded_since,
        known_since: Duration::ZERO,
        guards: GuardFacts::default(),
        last_reload,
        now: env.now,
        started_unix_ms,
        started: Instant::now(),
        samples: [None; 2],
        requests: RequestHistory::default(),
        decrypted_requests: RequestHistory::default(),
        tended: None,
        sampled: None,
        sysctls: None,
        runs_before: BTreeMap::new(),
    };
    writer.begin_syn_cookies();
    Ok(writer)
}

/// Writes the packets that rules draw to the journal, if there is one.
fn follow_packets(hub: Hub) -> Option<JoinHandle<()>> {
    match Journal::open() {
        Ok(journal) => Some(tokio::spawn(async move {
            // What the journal does not take is lost, as what the kernel's buffer has no room for is.
            packets::follow(&hub, |record| drop(journal.send(&record))).await;
        })),
        Err(error) => {
            tracing::warn!("packets that rules draw are not written to the journal: {error:#}");
            None
        }
    }
}

/// Says in the log which rules are in force, and what may become of them.
fn tell_rules(rules: &Rules, state: &State, why: &str, confirm_within: Option<Duration>) {
    tracing::info!(
        event = "rules",
        ruleset = rules.hash,
        generation = state.generation,
        "ruleset {} with {} rules is in force, generation {}: {why}",
        rules.hash.get(..12).unwrap_or(&rules.hash),
        rules.ruleset.rules.len(),
        state.generation
    );
    for masked in masked_words(&rules.ruleset) {
        tracing::warn!("{masked}");
    }
    if let Some(within) = confirm_within.filter(|_| state.guard().is_some()) {
        tracing::warn!("it is guarded still, for {} s: a daemon has ended meanwhile", within.as_secs());
    } else if let Some(within) = confirm_within {
        tracing::warn!("it is taken back in {} s unless `foobar rules confirm` is said", within.as_secs());
    }
}

/// Since when counters count: those of the filter, which outlive daemons, since their map was pinned.
fn counting_since(writer: &Writer, account: &Account) -> Since {
    let daemon = Duration::from_millis(writer.started_unix_ms);
    let pinned = PinFolder::new(&writer.settings.pins).made(maps::VERDICT_COUNTERS);
    let filter = pinned.filter(|_| !writer.settings.ephemeral);
    let filter = filter.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or(daemon);
    Since { filter, account: account.begun(), machine: host::started().unwrap_or(daemon) }
}

/// Says in the log how each interface is filtered.
fn tell_attachments(filter: &Filter) {
    for attachment in filter.attachments() {
        let mode = attachment.mode.map_or("no", |mode| mode.label());
        if let Some(why) = &attachment.fallback {
            tracing::warn!("filtering {} in {mode} mode: {why}", attachment.interface);
        } else {
            tracing::info!("filtering {} in {mode} mode", attachment.interface);
        }
    }
}

fn spawn_writer(writer: Writer, requests: Receiver<Request>) -> Result<oneshot::Receiver<Result<End>>> {
    let (end, ended) = oneshot::channel();
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || drop(end.send(writer.run(&requests))))
        .context("start the thread that writes")?;
    Ok(ended)
}

/// Tells the writer at once when an interface comes or goes.
fn watch_interfaces(handle: Handle) -> Result<()> {
    let watch = Watch::new()?;
    let look = move || loop {
        match watch.wait(Duration::from_secs(10)) {
            Ok(true) if handle.tend() => {}
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("{error:#}; interfaces are looked after once a second only");
                return;
            }
        }
    };
    thread::Builder::new()
        .name("interfaces".to_owned())
        .spawn(look)
        .context("start the thread that watches")?;
    Ok(())
}

/// The state folder, or one that goes away with the run.
enum StateFolder {
    Given(PathBuf),
    Temporary(TempDir),
}

impl StateFolder {
    fn new(settings: &Settings) -> Result<Self> {
        if let Some(path) = &settings.state {
            return Ok(Self::Given(path.clone()));
        }
        let folder = tempfile::Builder::new().prefix("foobar-").tempdir();
        folder.map(Self::Temporary).context("make a temporary state folder")
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}
