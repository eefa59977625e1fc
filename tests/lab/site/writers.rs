//! Eight that write to the database without a pause, each row with a name of its own, and note each row that was acknowledged.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process,
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use mysql::{Conn, OptsBuilder, prelude::Queryable as _};

use crate::{hosts::Host, lab::Lab, services::database_run};

const WRITERS: usize = 8;

/// Writes until the process is ended; notes go into this file, a line for each row.
pub(crate) fn write(notes: &Path) -> Result<()> {
    let notes = Mutex::new(File::create(notes).with_context(|| format!("create {}", notes.display()))?);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let notes = &notes;
                    move || write_on(writer, notes)
                })
            })
            .collect();
        for writer in writers {
            writer.join().map_err(|_payload| anyhow!("a writer panicked"))??;
        }
        Ok(())
    })
}

fn write_on(writer: usize, notes: &Mutex<File>) -> Result<()> {
    let mut row = 0_u64;
    loop {
        // Of a connection that is lost, the last row may be there or not: nobody was told. It is not written again.
        if let Ok(mut connection) = connect() {
            loop {
                row += 1;
                let tag = format!("{}-{writer}-{row}", process::id());
                if connection
                    .exec_drop("INSERT INTO pages (tag, node) VALUES (?, @@wsrep_node_name)", (&tag,))
                    .is_err()
                {
                    break;
                }
                let mut file = notes.lock().map_err(|_poisoned| anyhow!("another writer panicked"))?;
                writeln!(file, "{tag}")?;
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn connect() -> Result<Conn> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(Host::Balancer.address().to_string()))
        .user(Some("site"))
        .pass(Some("site"))
        .db_name(Some("site"))
        .tcp_connect_timeout(Some(Duration::from_secs(2)))
        .read_timeout(Some(Duration::from_secs(5)));
    Conn::new(options).context("connect to the database")
}

/// How many rows were acknowledged so far.
pub(crate) fn acknowledged(lab: &Lab) -> Result<usize> {
    let path = super::acknowledged(lab)?;
    Ok(fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.lines().count())
}

/// Makes sure that a node has each acknowledged row, and once; gives how many there are.
pub(crate) fn verify(lab: &Lab, number: u8) -> Result<usize> {
    let path = super::acknowledged(lab)?;
    let notes = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let acknowledged: BTreeSet<&str> = notes.lines().collect();
    let process =
        acknowledged.first().and_then(|tag| tag.split('-').next()).context("nothing was acknowledged")?;
    let text =
        database_run(lab, number, &format!("SELECT tag FROM site.pages WHERE tag LIKE '{process}-%'"))?;
    let rows: Vec<&str> = text.lines().collect();
    let there: BTreeSet<&str> = rows.iter().copied().collect();
    ensure!(rows.len() == there.len(), "node {number} has {} rows twice", rows.len() - there.len());
    let missing: Vec<&&str> = acknowledged.difference(&there).collect();
    ensure!(
        missing.is_empty(),
        "node {number} lacks {} of {} acknowledged rows, the first is {:?}",
        missing.len(),
        acknowledged.len(),
        missing.first()
    );
    Ok(acknowledged.len())
}
