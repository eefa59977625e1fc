//! The program behind the site: pages that read and write the database, by way of the balancer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use mysql::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, prelude::Queryable as _};
use serde::Deserialize;

use super::takes_writes;
use crate::hosts::Host;

/// Where nginx finds it.
const LISTEN: &str = "127.0.0.1:8080";
/// How many connections to the database are kept at most.
const CONNECTIONS: usize = 16;

struct Site {
    pool: Pool,
    /// The node on the same host, which the balancer asks after.
    node: Opts,
    read: AtomicU64,
    written: AtomicU64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tag: String,
}

type Answer = Result<String, (StatusCode, String)>;

/// Serves on the host with this address until it is ended.
pub(crate) fn serve(address: &str) -> Result<()> {
    let balancer = OptsBuilder::new()
        .ip_or_hostname(Some(Host::Balancer.address().to_string()))
        .user(Some("site"))
        .pass(Some("site"))
        .db_name(Some("site"))
        .pool_opts(PoolOpts::default().with_constraints(PoolConstraints::new_const::<0, CONNECTIONS>()));
    let node = OptsBuilder::new()
        .ip_or_hostname(Some(address))
        .user(Some("check"))
        .pass(Some("check"))
        .tcp_connect_timeout(Some(std::time::Duration::from_secs(1)))
        .read_timeout(Some(std::time::Duration::from_secs(1)));
    let site = Arc::new(Site {
        pool: Pool::new(balancer)?,
        node: node.into(),
        read: AtomicU64::new(0),
        written: AtomicU64::new(0),
    });
    let pages = Router::new()
        .route("/hello", get(async || "hello\n"))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/database", get(database))
        .route("/statements", get(statements))
        .with_state(site);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::bind(LISTEN).await.with_context(|| format!("listen on {LISTEN}"))?;
        axum::serve(listener, pages).await.context("serve")
    })
}

async fn read(State(site): State<Arc<Site>>) -> Answer {
    with_database(move || {
        let last: Option<(u64, String)> =
            site.pool.get_conn()?.query_first("SELECT id, tag FROM pages ORDER BY id DESC LIMIT 1")?;
        site.read.fetch_add(1, Ordering::Relaxed);
        Ok(format!("last is {last:?}\n"))
    })
    .await
}

async fn write(State(site): State<Arc<Site>>, Query(page): Query<Page>) -> Answer {
    with_database(move || {
        let mut connection = site.pool.get_conn()?;
        connection.exec_drop("INSERT INTO pages (tag, node) VALUES (?, @@wsrep_node_name)", (page.tag,))?;
        site.written.fetch_add(1, Ordering::Relaxed);
        Ok(format!("written {}\n", connection.last_insert_id()))
    })
    .await
}

/// Whether the node on this host can be written to: an open port does not tell.
async fn database(State(site): State<Arc<Site>>) -> Answer {
    with_database(move || {
        let status: Vec<(String, String)> =
            Conn::new(site.node.clone())?.query("SHOW STATUS LIKE 'wsrep_%'")?;
        anyhow::ensure!(takes_writes(&status), "this node does not take writes");
        Ok("takes writes\n".to_owned())
    })
    .await
}

/// How many statements of each kind the database has executed for this program.
async fn statements(State(site): State<Arc<Site>>) -> String {
    format!("{} {}\n", site.read.load(Ordering::Relaxed), site.written.load(Ordering::Relaxed))
}

async fn with_database(work: impl FnOnce() -> Result<String> + Send + 'static) -> Answer {
    let done = tokio::task::spawn_blocking(work).await.context("a thread for the database").flatten();
    done.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")))
}
