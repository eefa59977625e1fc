//! What is left of a web server's throughput at saturation: nginx, asked by h2load, with and without foobar on its
//! interface.
//!
//! Load and server share the machine, and how fast that is changes from second to second. So each way of counting is
//! measured right after a run without foobar, in turns, and compared with that run alone.

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::{
    dataplane::{
        attach::Mode,
        filter::{Filter, FilterOptions, Pins},
        load::MapSizes,
    },
    rules::bundle::Bundle,
};
use foobar_tests::{
    bpffs::PinFolder,
    command::succeed,
    frames::Family,
    network::{Network, SERVER},
    tap::settle,
    web_server::WebServer,
};

use crate::{
    figures::{Figure, Spread},
    plan::{Plan, ServerPlan},
    report::{Report, Row},
    rules::compiled,
};

const PORT: u16 = 8080;
/// Keys of the service, by the name of what they ask for.
const WAYS: [(&str, &str); 3] = [
    ("raw", "protocol = \"raw\""),
    ("http1 without responses", "protocol = \"http1\"\nresponses = false"),
    ("http1", "protocol = \"http1\""),
];
const ANSWERS: [(&str, usize); 2] = [("trivial", 1), ("10 kB", 10_000)];
const CONNECTIONS: u64 = 50;

/// Measures all of them.
pub(crate) fn run(report: &mut Report, plan: &Plan) -> Result<()> {
    for (name, bytes) in ANSWERS {
        throughput(report, &plan.server, name, bytes)?;
    }
    Ok(())
}

fn throughput(report: &mut Report, plan: &ServerPlan, name: &str, bytes: usize) -> Result<()> {
    let network = Network::new()?;
    let server = WebServer::serving(&network.server, &[PORT], "location / { try_files $uri =404; }")?;
    server.put_file("page", bytes)?;
    let mut alone = Vec::new();
    let mut less = WAYS.map(|_| Vec::new());
    for turn in 0..=plan.alternations {
        report.say(&format!("server: {name} answers, turn {turn} of {}", plan.alternations));
        for ((_, keys), less) in WAYS.into_iter().zip(&mut less) {
            let without = requests_per_second(&network, plan.requests)?;
            let with = counted(&network, keys, plan.requests)?;
            // The first turn warms up.
            if turn > 0 {
                alone.push(without);
                less.push((1.0 - with / without) * 100.0);
            }
        }
    }
    for ((way, _), less) in WAYS.into_iter().zip(less) {
        report.add(
            Row::new("server", format!("{name} answers, {way}"))
                .with("requests of a run", Figure::Count(plan.requests))
                .with("percent fewer per second", Figure::Percent(Spread::of(less)))
                .with("per second without foobar", Figure::Rate(Spread::of(alone.clone()))),
        );
    }
    Ok(())
}

/// Requests per second while foobar counts them.
fn counted(network: &Network, keys: &str, requests: u64) -> Result<f64> {
    let rules = format!("schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/{PORT}\"\n{keys}\n");
    let ruleset = Bundle::of_text("rules", &rules).parse().context("read the rules")?;
    let compiled = compiled(&ruleset, SERVER)?;
    let pins = PinFolder::new()?;
    let options = FilterOptions {
        interfaces: vec![SERVER.to_owned()],
        mode: Mode::Native,
        pins: Pins::Ephemeral(pins.path().to_owned()),
        sizes: MapSizes::default(),
    };
    let filter = network.server.enter(|| Filter::start(options, &compiled))?;
    let rate = requests_per_second(network, requests)?;
    settle();
    let counters = filter.counters()?;
    let service = counters.services.values().next().context("a service")?;
    let wanted = if keys.contains("http1") { requests } else { CONNECTIONS };
    ensure!(service.requests() == wanted, "{} of {wanted} were counted: {keys}", service.requests());
    network.server.enter(|| filter.detach())?;
    Ok(rate)
}

/// What h2load reaches, which fails unless all requests are answered.
fn requests_per_second(network: &Network, requests: u64) -> Result<f64> {
    let url = format!("http://{}:{PORT}/page", Family::V4.server());
    let mut command = network.client.command("h2load");
    command.args(["--h1", "-n", &requests.to_string(), "-c", &CONNECTIONS.to_string(), &url]);
    let text = succeed(&mut command)?;
    ensure!(text.contains(&format!(" {requests} succeeded")), "not all were answered: {text}");
    let line =
        text.lines().find_map(|line| line.strip_prefix("finished in ")).context("a line with the rate")?;
    let rate = line.split(", ").find_map(|part| part.strip_suffix(" req/s")).context("a rate")?;
    rate.parse().with_context(|| format!("read the rate {rate}"))
}
