//! `foobar run`.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    certificates::Wanted,
    config::{BufferSize, Settings, Source},
    daemon,
    dataplane::attach::Mode,
    env::Env,
    fleet::access::EtcdAccess,
    log::{self, LogSources},
    outcome::Outcome,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Attach the filter, keep it in force and serve its counters.\n\nThe filter outlives the daemon: when \
     the daemon ends, however it ends, packets are judged and counted as before, and the next `foobar \
     run` takes over without a gap. `foobar detach` takes the filter away; with --ephemeral it goes away \
     with the daemon.\n\nOf the rule files and the rules that were applied with `foobar rules apply`, \
     those that came last are put in force. SIGHUP reads the rule files again; rules that cannot be used \
     leave the old ones in force. The files of --web-config and --push are read again when they change, or one that they name.\n\n\
     --listen serves /metrics for Prometheus, / for browsers: a page that shows live what passes and changes nothing, \
     /healthz and /readyz. --web-config protects all of them alike.\n\n\
     With rules from etcd, a change there is in force on all servers within a second. It is guarded: if a service loses traffic \
     within the time that `[guard]` of the rules says (half of it within 30s, if nothing is said), the old rules come back, and the \
     new ones are not put in force again until a key of them is written. While etcd is away, the rules in force stay, over a \
     restart, too.";

/// Flags of `foobar run`. What is not given is taken from the settings file, which has the same keys.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  A first look that changes nothing and ends with Ctrl-C:\n    foobar run \
                       --interface eth0 --rules rules/default.toml --mode generic --ephemeral --summary\n\n  \
                       A server with two interfaces:\n    foobar run --interface eth0 eth1 --rules \
                       /etc/foobar/rules\n\n  The same by /etc/foobar/foobar.toml:\n    interface = [\"eth0\", \
                       \"eth1\"]\n    rules = \"/etc/foobar/rules\"\n    listen = \"127.0.0.1:9477\"\n\n  Metrics for the \
                       network, by TLS, client certificates or passwords:\n    \
                       foobar run --interface eth0 --listen 0.0.0.0:9477 --web-config /etc/foobar/web.yml\n\n  Rules for many \
                       servers from etcd:\n    foobar run --interface eth0 --rules \
                       etcds://etcd-1:2379,etcd-2:2379/foobar --etcd-ca /etc/foobar/etcd-ca.pem\n    \
                       foobar fleet status\n\n  What it \
                       does:\n    foobar status\n    foobar rules show --counters\n    curl \
                       http://127.0.0.1:9477/metrics\n    http://127.0.0.1:9477/ in a browser, which shows what passes, live\n\nExit codes: 0 ended by SIGTERM, SIGINT or `foobar detach`; \
                       1 failed; 2 wrong usage, settings or rules."
)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Args {
    /// Interface to filter; several by several names or flags
    #[arg(long, value_name = "IF", num_args = 1.., value_delimiter = ',')]
    interface: Vec<String>,
    /// Rule file, or folder whose *.toml are read in name order as one, or the same in etcd, as
    /// etcd://HOST:2379,HOST:2379/PREFIX (etcds:// by TLS) [default: /etc/foobar/rules]
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    #[command(flatten)]
    etcd: EtcdAccess,
    /// Name of this server in the fleet that has its rules from etcd [default: the name of the host]
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    /// Settings file [default: /etc/foobar/foobar.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where in the kernel to filter: in the driver (native), in the network stack (generic: works everywhere,
    /// slower), or in the driver where it can [default: auto]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Address and port to serve metrics and the live page on; one that others reach takes --web-config or --insecure-listen
    /// [default: 127.0.0.1:9477]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How to protect both: a web configuration file as Prometheus and its exporters have it (TLS, client
    /// certificates, passwords), read anew when it changes
    #[arg(long, value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// Serve both to whoever reaches --listen, even off the loopback without TLS or passwords
    #[arg(long)]
    insecure_listen: bool,
    /// Send the metrics to services, as this push file says (OTLP, Prometheus remote write, Sumo Logic), which is read anew
    /// when it changes; `foobar push` checks and tries it
    #[arg(long, value_name = "FILE", env = "FOOBAR_PUSH")]
    push: Option<PathBuf>,
    /// Leave the health of the machine (`foobar_host_`: processors, memory, disks) out of the metrics, where others tell it;
    /// in the settings file: `host_metrics = false`
    #[arg(long)]
    no_host_metrics: bool,
    /// Tell when the certificate of this name expires, as clients see it: by a handshake each hour, and at SIGHUP, with the address
    /// of the name or the one that follows; as www.foobar.com@127.0.0.1:443
    #[arg(id = "watched_certificate", long = "certificate", value_name = "NAME[@ADDRESS:PORT]")]
    certificate: Vec<Wanted>,
    /// Control socket to make [default: /run/foobar/control.sock]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Folder for applied rules and counter slots [default: /var/lib/foobar, or a temporary one with --ephemeral]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Folder on a BPF file system for what outlives the daemon [default: below /sys/fs/bpf/foobar, by version]
    #[arg(long, value_name = "DIR")]
    pins: Option<PathBuf>,
    /// Take the filter away when the daemon ends
    #[arg(long)]
    ephemeral: bool,
    /// In set files, set bits behind a prefix to zero, where they are errors otherwise; the log says how many
    #[arg(long)]
    lenient: bool,
    /// Set `net.ipv4.tcp_syncookies` and `net.ipv4.tcp_timestamps` to 2 when a service has `syn_cookies`, which needs them;
    /// the log says what was changed
    #[arg(long)]
    set_sysctls: bool,
    /// Size of the buffer that keeps events (`log`, `log_drops`) until they are read, a power of two from 64KiB to 64MiB;
    /// an event takes 312 bytes [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    event_buffer: Option<BufferSize>,
    /// How many flows of IPv4 and of IPv6 each are kept, those in use last, from 1024 to 4194304; one takes about 100 bytes of
    /// IPv4 and 130 of IPv6, and half as many are kept of which there is no proof yet [default: 131072]
    #[arg(long, value_name = "NUMBER")]
    flows: Option<u32>,
    /// Show once a second what passes
    #[arg(long)]
    summary: bool,
    /// What to log on stderr, in the syntax of `RUST_LOG`: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Write to systemd's journal, as records with fields (`FOOBAR_EVENT=ban`): daemon, which is what is logged, and packets, which are
    /// those that rules draw as samples; none for neither [default: daemon, if stderr is the journal]
    #[arg(long, value_name = "LOGS")]
    journal: Option<LogSources>,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let flags = Source {
        interface: (!args.interface.is_empty()).then(|| args.interface.clone()),
        rules: args.rules.clone(),
        etcd: Some(args.etcd.clone()),
        member: args.member.clone(),
        mode: args.mode,
        listen: args.listen,
        web_config: args.web_config.clone(),
        insecure_listen: args.insecure_listen.then_some(true),
        push: args.push.clone(),
        host_metrics: args.no_host_metrics.then_some(false),
        certificate: (!args.certificate.is_empty()).then(|| args.certificate.clone()),
        control: args.control.clone(),
        state: args.state.clone(),
        pins: args.pins.clone(),
        ephemeral: args.ephemeral.then_some(true),
        lenient: args.lenient.then_some(true),
        set_sysctls: args.set_sysctls.then_some(true),
        event_buffer: args.event_buffer,
        flows: args.flows,
        log: args.log.clone(),
        journal: args.journal,
    };
    let settings = Settings::complete(flags.or(Source::read(args.config.as_deref())?))?;
    log::start(settings.log.as_deref(), settings.journal)?;
    daemon::run(settings, args.summary, env)
}
