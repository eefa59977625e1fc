//! Nodes of MariaDB with Galera, which are a cluster from the first moment on.
//!
//! Every node begins with a copy of the same state. A made-up last view of the cluster (`gvwstate.dat`), the same in all copies, has
//! them find each other and be the cluster again: no node has to be the first, and nothing has to be transferred.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_tests::command::{stderr, succeed};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Service, words};
use crate::{hosts::Host, lab::Lab, say::say, site};

const PROGRAM: &str = "/usr/sbin/mariadbd";
/// The file with the last view that a node had of its cluster.
const VIEW: &str = "gvwstate.dat";
/// What every database begins with.
const SCHEMA: &str = "CREATE DATABASE site; \
    CREATE TABLE site.pages (id BIGINT AUTO_INCREMENT PRIMARY KEY, tag VARCHAR(64), node VARCHAR(64), KEY (tag)) ENGINE=InnoDB; \
    GRANT ALL ON site.* TO 'site'@'%' IDENTIFIED BY 'site'; \
    GRANT USAGE ON *.* TO 'check'@'%' IDENTIFIED BY 'check';";

pub(super) fn prepare(lab: &Lab, service: Service, number: u8) -> Result<Vec<String>> {
    let path = lab.write(service, "mariadb.cnf", include_str!("../files/mariadb.cnf"), &[])?;
    let data = lab.folder_of(service)?.join("data");
    let mut start = as_mysql();
    start.extend(words([PROGRAM, &format!("--defaults-file={}", path.display())]));
    if data.exists() {
        // A node that comes back under the number it had is not taken for a new one, and waits for itself.
        match fs::remove_file(data.join(VIEW)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        start.push(format!("--wsrep-start-position={}", position(&path)?));
    } else {
        succeed(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(Lab::seed()?).arg(&data))?;
        fs::write(data.join(VIEW), view(number))?;
    }
    Ok(start)
}

/// The words before a program that is to be the user mysql, and may look into every folder all the same. As root, the rsync that
/// transfers state would become nobody, who may do nothing.
fn as_mysql() -> Vec<String> {
    words([
        "setpriv",
        "--reuid=mysql",
        "--regid=mysql",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        // Otherwise access(2) would ask what it may do without.
        "--securebits=+no_setuid_fixup",
    ])
}

/// Up to which change of the cluster a node that was killed has all of them, so that it asks for the later ones alone. This is what
/// Debian's `galera_recovery` does before each start.
fn position(settings: &Path) -> Result<String> {
    let output = Command::new("env")
        .args(as_mysql())
        .arg(PROGRAM)
        .arg(format!("--defaults-file={}", settings.display()))
        .arg("--wsrep-recover")
        .output()
        .context("ask mariadbd where it was")?;
    let said = stderr(&output);
    let position = said.lines().find_map(|line| line.split_once("Recovered position:"));
    let (_, position) = position.with_context(|| format!("mariadbd does not say where it was: {said}"))?;
    Ok(position.trim().to_owned())
}

/// What node `number` believes to have seen when the cluster was last whole.
fn view(number: u8) -> String {
    let id = |number: u8| format!("00000000-0000-11f1-8000-00000000000{number}");
    let members = [1, 2, 3].map(|member| format!("member: {} 0", id(member))).join("\n");
    format!("my_uuid: {}\n#vwbeg\nview_id: 3 {} 3\nbootstrap: 0\n{members}\n#vwend\n", id(number), id(1))
}

/// Makes the state that every node begins with, if it is not there: a life of one node, all alone, that ends well.
pub(crate) fn seed() -> Result<()> {
    let seed = Lab::seed()?;
    if seed.join("grastate.dat").exists() {
        return Ok(());
    }
    say("making the databases' first state, which is kept for the next time");
    let began = Instant::now();
    let making = seed.with_extension("making");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    let data = making.join("data");
    succeed(
        Command::new("mariadb-install-db")
            .env("TMPDIR", &making)
            .args([
                "--no-defaults",
                "--user=root",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg("--innodb-log-file-size=32M")
            .arg(format!("--datadir={}", data.display())),
    )?;
    live_once(&making, &data)?;
    let state = fs::read_to_string(data.join("grastate.dat"))?;
    ensure!(state.contains("safe_to_bootstrap: 1"), "the first state is not whole: {state}");
    for name in ["galera.cache", VIEW] {
        match fs::remove_file(data.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    fs::rename(&data, &seed)?;
    fs::remove_dir_all(&making)?;
    say(&format!("made in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Starts a cluster of one node without a network, gives it the schema, and ends it.
fn live_once(folder: &Path, data: &Path) -> Result<()> {
    let socket = folder.join("socket");
    let log = folder.join("log");
    let mut child = Command::new(PROGRAM)
        .args(["--no-defaults", "--user=root", "--skip-networking", "--wsrep-on=ON", "--wsrep-new-cluster"])
        .args(["--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-cluster-address=gcomm://"])
        .args(["--wsrep-cluster-name=lab", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"])
        .args([
            "--wsrep-node-address=127.0.0.1",
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:0",
        ])
        .args(["--innodb-log-file-size=32M", "--lc-messages-dir=/usr/share/mysql"])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--tmpdir={}", folder.display()))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()
        .context("start mariadbd")?;
    let made = give_schema(&mut child, &socket);
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let status = child.wait()?;
    made.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    ensure!(status.success(), "mariadbd ended with {status}: {}", fs::read_to_string(&log)?);
    Ok(())
}

fn give_schema(child: &mut Child, socket: &Path) -> Result<()> {
    let began = Instant::now();
    let ask = |statements: &str| {
        succeed(
            Command::new("mariadb")
                .args(["--no-defaults", "--user=root", "--execute", statements])
                .arg(format!("--socket={}", socket.display())),
        )
    };
    while ask("SELECT 1").is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("mariadbd ended with {status}");
        }
        ensure!(began.elapsed() < Duration::from_mins(1), "mariadbd does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    ask(SCHEMA).map(drop)
}

/// Whether a node is in the cluster and takes writes.
pub(crate) fn synced(lab: &Lab, number: u8) -> Result<()> {
    let state = status(lab, number)?;
    ensure!(site::takes_writes(&state), "node {number} is not in the cluster yet: {state:?}");
    Ok(())
}

/// Whether a node is in a cluster of so many that takes writes.
pub(crate) fn synced_with(lab: &Lab, number: u8, members: u8) -> Result<()> {
    synced(lab, number)?;
    let size = run(lab, number, "SHOW STATUS LIKE 'wsrep_cluster_size'")?;
    let size = size.trim().rsplit('\t').next().unwrap_or_default();
    ensure!(size == members.to_string(), "node {number} is in a cluster of {size} and not of {members}");
    Ok(())
}

/// Executes statements on a node, over its own socket; what they print. What other nodes have acknowledged before, is there: without
/// `wsrep_sync_wait` a node answers while it still applies it.
pub(crate) fn run(lab: &Lab, number: u8, statements: &str) -> Result<String> {
    let socket: PathBuf = lab.folder_of(Service::Database(number))?.join("socket");
    succeed(
        Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--skip-column-names", "--user=root", "--connect-timeout=2"])
            .arg(format!("--socket={}", socket.display()))
            .args(["--execute", &format!("SET SESSION wsrep_sync_wait = 1; {statements}")]),
    )
    .with_context(|| format!("ask the database on {}", Host::Web(number).name()))
}

fn status(lab: &Lab, number: u8) -> Result<Vec<(String, String)>> {
    let text = run(lab, number, "SHOW STATUS LIKE 'wsrep_%'")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect())
}
