//! Faults around the filter: each ends in one clear line and an exit code, and leaves in force what was.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::chown, net::UnixListener},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, PerCpuArray};
use foobar_tests::{
    daemon::{Foobar, LISTEN},
    foreign::{self, ForeignProgram},
    frames::{Family, udp},
    metrics::Highest,
    namespace::Namespace,
    network::{CLIENT, Network, SERVER},
    refusal,
    sender::PacketSocket,
    tap::{Tap, is_udp_to, settle},
    wait,
};

const RULES: &str = r#"
schema = 1
[[rule]]
id = "closed"
action = "drop"
protocol = "udp"
destination_port = [9]
"#;
const NOTHING: Vec<PathBuf> = Vec::new();
const NOBODY: u32 = 65_534;

#[test]
fn an_interface_that_does_not_exist() -> Result<()> {
    let network = Network::new()?;
    for interfaces in [&["nope0"][..], &[SERVER, "nope0"]] {
        let foobar = Foobar::new(&network.server, interfaces, RULES)?;
        refusal::check(&foobar.run_to_end()?, 1, &["nope0", "does not exist", "ip link"])?;
        assert_eq!(network.xdp_program()?, None);
        assert_eq!(foobar.pins().pins()?, NOTHING);
    }
    Ok(())
}

#[test]
fn an_interface_that_vanishes_and_returns_is_filtered_again() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    send_dropped(&network, 100)?;
    let mut highest = Highest::default();
    highest.observe(&foobar.scrape()?, &[])?;
    assert_eq!(foobar.scrape()?.rule("closed"), 100);

    network.unplug()?;
    wait::until("/readyz says that the interface is gone", Duration::from_secs(10), || {
        let answer = foobar.get("/readyz")?;
        Ok(answer.status == 503 && answer.body.contains(SERVER))
    })?;
    ensure!(foobar.log()?.contains("vanished") || foobar.log()?.contains("gone"), "{}", foobar.log()?);
    highest.observe(&foobar.scrape()?, &[])?;

    network.plug()?;
    foobar.wait_until_ready()?;
    ensure!(network.xdp_program()?.is_some(), "ready without a program");
    send_dropped(&network, 100)?;
    let metrics = foobar.scrape()?;
    highest.observe(&metrics, &[])?;
    assert_eq!(metrics.rule("closed"), 200);
    ensure!(foobar.is_running()?);
    Ok(())
}

#[test]
fn a_foreign_program_is_named_and_left_alone() -> Result<()> {
    let network = Network::new()?;
    let _foreign = ForeignProgram::attach(&network.server, SERVER)?;
    let program = network.xdp_program()?;
    for mode in ["auto", "native", "generic"] {
        let foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        let id = program.context("no foreign program")?.to_string();
        refusal::check(&foobar.run_to_end()?, 1, &[SERVER, foreign::NAME, &id])?;
        assert_eq!(network.xdp_program()?, program, "the foreign program is still there");
        assert_eq!(foobar.pins().pins()?, NOTHING);
    }
    Ok(())
}

#[test]
fn a_second_installation_on_one_interface_is_refused() -> Result<()> {
    let network = Network::new()?;
    let mut first = Foobar::new(&network.server, &[SERVER], RULES)?;
    first.start()?;
    let program = network.xdp_program()?;
    let second =
        Foobar::new(&network.server, &[SERVER], RULES)?.with_listen(SocketAddr::from(([127, 0, 0, 1], 9478)));
    refusal::check(&second.run_to_end()?, 1, &[SERVER, "another XDP program", "ingress"])?;
    assert_eq!(network.xdp_program()?, program);
    send_dropped(&network, 50)?;
    assert_eq!(first.scrape()?.rule("closed"), 50);
    Ok(())
}

#[test]
fn a_second_daemon_with_the_same_state_is_refused_and_told_of_the_first() -> Result<()> {
    let network = Network::new()?;
    let mut first = Foobar::new(&network.server, &[SERVER], RULES)?;
    first.start()?;
    let program = network.xdp_program()?;
    refusal::check(&first.run_to_end()?, 1, &["in use", &first.pid()?.to_string()])?;
    let second = Foobar::new(&network.server, &[SERVER], RULES)?
        .with_listen(SocketAddr::from(([127, 0, 0, 1], 9478)))
        .with_state(first.state_path());
    refusal::check(&second.run_to_end()?, 1, &["in use", &first.pid()?.to_string()])?;
    assert_eq!(network.xdp_program()?, program);
    first.succeed(&["status"])?;
    Ok(())
}

#[test]
fn a_process_without_privileges_is_told_which_it_lacks() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_wrapper(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
    ]);
    // Its own files are not what it lacks.
    chown(foobar.folder(), Some(NOBODY), Some(NOBODY))?;
    chown(foobar.rules_path(), Some(NOBODY), Some(NOBODY))?;
    refusal::check(&foobar.run_to_end()?, 1, &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "root"])?;
    assert_eq!(network.xdp_program()?, None);
    Ok(())
}

#[test]
fn the_three_capabilities_are_enough() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_wrapper(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+bpf,+net_admin,+perfmon",
        "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
        "--bounding-set=-all,+bpf,+net_admin,+perfmon",
        "--",
    ]);
    chown(foobar.folder(), Some(NOBODY), Some(NOBODY))?;
    chown(foobar.rules_path(), Some(NOBODY), Some(NOBODY))?;
    // As an administrator prepares it.
    fs::create_dir_all(foobar.pins().path())?;
    chown(foobar.pins().path(), Some(NOBODY), Some(NOBODY))?;
    foobar.start()?;
    send_dropped(&network, 20)?;
    assert_eq!(foobar.scrape()?.rule("closed"), 20);
    foobar.kill()?;
    foobar.start()?;
    assert_eq!(foobar.scrape()?.rule("closed"), 20);
    Ok(())
}

#[test]
fn pins_of_another_layout_version_are_not_adopted() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    // A filter pinned where another version would have it, on another interface.
    let other = Foobar::new(&network.server, &["lo"], RULES)?;
    let folder = foobar.pins().of_layout(999);
    let mut other = other.with_pins(&folder).with_listen(SocketAddr::from(([127, 0, 0, 1], 9478)));
    other.start()?;
    other.kill()?;
    refusal::check(&foobar.run_to_end()?, 1, &["v999", "lo", "another version", "detach"])?;
    assert_eq!(network.xdp_program()?, None);
    ensure!(!foobar.pins().pins()?.is_empty(), "the pins of the other version are gone");
    // The mend that it names.
    other.succeed(&["detach"])?;
    foobar.start()
}

#[test]
fn a_pinned_map_of_another_shape_is_not_adopted() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    let folder = foobar.pins().path().join("maps");
    fs::create_dir_all(&folder)?;
    let map: PerCpuArray<MapData, u64> = PerCpuArray::create(7, 0)?;
    map.pin(folder.join("RULE_COUNTERS"))?;
    refusal::check(&foobar.run_to_end()?, 1, &["RULE_COUNTERS", "detach"])?;
    assert_eq!(network.xdp_program()?, None);
    Ok(())
}

#[test]
fn a_control_socket_left_behind_is_replaced() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    drop(UnixListener::bind(foobar.control_path())?);
    ensure!(foobar.control_path().exists());
    foobar.start()?;
    foobar.succeed(&["status"])?;
    // And the one that a killed daemon leaves.
    foobar.kill()?;
    foobar.start()?;
    foobar.succeed(&["status"])?;
    foobar.terminate()?;
    ensure!(!foobar.control_path().exists(), "the socket stays after an ordered end");
    refusal::check(&foobar.command(&["status"])?, 1, &["control.sock"])
}

#[test]
fn what_stands_in_place_of_the_control_socket_is_not_removed() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    fs::write(foobar.control_path(), "somebody's file")?;
    refusal::check(&foobar.run_to_end()?, 1, &["control.sock"])?;
    assert_eq!(fs::read_to_string(foobar.control_path())?, "somebody's file");
    assert_eq!(network.xdp_program()?, None);
    fs::remove_file(foobar.control_path())?;
    let _somebody = UnixListener::bind(foobar.control_path())?;
    refusal::check(&foobar.run_to_end()?, 1, &["control.sock"])?;
    assert_eq!(network.xdp_program()?, None);
    Ok(())
}

#[test]
fn a_port_of_the_metrics_in_use_leaves_the_old_filter_in_force() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    let occupy = || network.server.enter(|| Ok(TcpListener::bind(LISTEN)?));
    let occupied = occupy()?;
    refusal::check(&foobar.run_to_end()?, 1, &["127.0.0.1:9477", "--listen"])?;
    assert_eq!(network.xdp_program()?, None);
    assert_eq!(foobar.pins().pins()?, NOTHING);
    drop(occupied);

    foobar.start()?;
    let program = network.xdp_program()?;
    foobar.kill()?;
    let _occupied = occupy()?;
    refusal::check(&foobar.run_to_end()?, 1, &["127.0.0.1:9477", "--listen"])?;
    assert_eq!(network.xdp_program()?, program);
    send_dropped(&network, 10)
}

#[test]
fn a_start_that_fails_leaves_the_services_of_the_old_filter_as_they_were() -> Result<()> {
    let rules = format!(
        "{RULES}\n[[service]]\nname = \"www\"\nport = [\"tcp/443\"]\nprotocol = \"tls\"\nrequire_tls = true\n"
    );
    let (network, other) = (Network::new()?, ["foreign0", "foreign1"]);
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    foobar.kill()?;
    let before = foobar.pins().pins()?;
    ensure!(!before.is_empty(), "nothing is pinned");
    network.server.ip(&format!("link add {} type veth peer name {}\n", other[0], other[1]))?;
    let _foreign = ForeignProgram::attach(&network.server, other[0])?;
    let both = Foobar::new(&network.server, &[SERVER, other[0]], &rules)?
        .with_pins(foobar.pins().path())
        .with_state(foobar.state_path());
    refusal::check(&both.run_to_end()?, 1, &[other[0], foreign::NAME])?;
    assert_eq!(foobar.pins().pins()?, before);
    Ok(())
}

#[test]
fn a_bpffs_that_is_not_mounted_is_mounted() -> Result<()> {
    let network = Network::new()?;
    // In a mount namespace of its own, so that nobody else misses theirs.
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_wrapper(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "umount /sys/fs/bpf && exec \"$@\"",
        "sh",
    ]);
    foobar.start()?;
    ensure!(network.xdp_program()?.is_some());
    send_dropped(&network, 10)
}

#[test]
fn pins_outside_of_a_bpffs_are_refused_with_the_way_to_mount_one() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    let elsewhere = foobar.folder().join("pins");
    let foobar = foobar.with_pins(&elsewhere);
    refusal::check(&foobar.run_to_end()?, 1, &["BPF file system", "mount -t bpf", "--pins"])?;
    assert_eq!(network.xdp_program()?, None);
    Ok(())
}

#[test]
fn a_driver_without_native_mode_is_refused_or_falls_back_and_says_so() -> Result<()> {
    // The loopback interface runs XDP in generic mode only.
    let namespace = std::sync::Arc::new(Namespace::new()?);
    let native = Foobar::new(&namespace, &["lo"], RULES)?.with_options(&["--mode", "native"]);
    refusal::check(&native.run_to_end()?, 1, &["lo", "driver", "--mode auto"])?;

    let mut auto = Foobar::new(&namespace, &["lo"], RULES)?;
    auto.start()?;
    let status = auto.status()?;
    let interface = &status["interfaces"][0];
    assert_eq!(interface["mode"], "generic", "{status}");
    ensure!(interface["fallback"].as_str().is_some_and(|why| why.contains("driver")), "{status}");
    ensure!(auto.log()?.contains("driver"), "{}", auto.log()?);
    Ok(())
}

#[test]
fn a_damaged_state_is_an_error_and_the_filter_stays() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let program = network.xdp_program()?;
    for file in ["state.json", "slots.json"] {
        if foobar.is_running()? {
            foobar.kill()?;
        }
        let path = foobar.state_path().join(file);
        let sound = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(&path, "\0\0\0")?;
        refusal::check(&foobar.run_to_end()?, 1, &[file])?;
        assert_eq!(network.xdp_program()?, program);
        fs::write(&path, sound)?;
    }
    foobar.start()
}

/// Sends datagrams that the filter must drop, and sees that it does.
fn send_dropped(network: &Network, count: u64) -> Result<()> {
    let tap = Tap::start(&network.server, SERVER, |frame| is_udp_to(frame, 9))?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let frame = udp(Family::V4, 9, b"to be dropped")?;
    socket.send_times(&frame, count)?;
    settle();
    // The counters that a daemon reads are those of the kernel, and need no time.
    thread::sleep(Duration::from_millis(10));
    assert_eq!(tap.stop()?, 0, "datagrams that got through");
    Ok(())
}
