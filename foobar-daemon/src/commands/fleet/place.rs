//! Which fleet a command is about.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::Source,
    fleet::{
        access::{EtcdAccess, Keys},
        place::EtcdPlace,
    },
    outcome::InvalidInput,
};

/// Flags that name a fleet.
#[derive(Debug, clap::Args)]
pub(super) struct FleetPlace {
    /// Where the rules are, as etcd://HOST:2379,HOST:2379/PREFIX, or etcds:// by TLS [default: `rules` of the settings file]
    #[arg(long, value_name = "URL")]
    etcd: Option<String>,
    #[command(flatten)]
    access: EtcdAccess,
    /// Settings file [default: /etc/foobar/foobar.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FleetPlace {
    /// Where it is, and what it takes to speak to etcd there.
    ///
    /// # Errors
    /// [`InvalidInput`] when none is named, or when files that are named cannot be used.
    pub(super) fn open(&self) -> anyhow::Result<(Arc<EtcdPlace>, Arc<Keys>)> {
        let source = match (&self.etcd, &self.config) {
            // Nothing of the settings file is asked for, so a broken one is no hindrance.
            (Some(_), None) => Source::default(),
            (_, config) => Source::read(config.as_deref())?,
        };
        let named =
            |rules: &Path| rules.to_str().filter(|rules| EtcdPlace::is_meant(rules)).map(str::to_owned);
        let rules = self.etcd.clone().or_else(|| source.rules.as_deref().and_then(named)).ok_or_else(|| {
            InvalidInput("no fleet is named: say --etcd etcd://HOST:2379/PREFIX, or write rules = \"etcd://…\" into the settings file".to_owned())
        })?;
        let place: EtcdPlace = rules.parse().map_err(InvalidInput)?;
        let keys = self.access.clone().or(source.etcd.unwrap_or_default()).open(place.is_tls)?;
        Ok((Arc::new(place), Arc::new(keys)))
    }
}
