//! Settings of the daemon: flags, then the settings file, then defaults.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Result;
use foobar_common::{
    counters::INTERFACES_MAX,
    event::{RING_BYTES, RING_BYTES_RANGE},
    tracking::FLOWS_MAX,
};
use serde::Deserialize;

use crate::{
    certificates::{CERTIFICATES_MAX, Wanted},
    dataplane::{attach::Mode, pins},
    fleet::{access::EtcdAccess, settings::FleetSettings},
    log::LogSources,
    outcome::InvalidInput,
    web_config::exposure::Exposure,
};

/// The settings file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/foobar/foobar.toml";
/// Where rules are looked for.
pub const DEFAULT_RULES: &str = "/etc/foobar/rules";
/// Where metrics are served.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9477";
/// The control socket.
pub const DEFAULT_CONTROL: &str = "/run/foobar/control.sock";
/// Applied rulesets and counter slots.
pub const DEFAULT_STATE: &str = "/var/lib/foobar";

/// How many flows can be kept, at least and at most.
const FLOWS_RANGE: (u32, u32) = (1_024, 4_194_304);

/// What one source, the flags or the file, says of each setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Names of the interfaces to filter.
    pub interface: Option<Vec<String>>,
    /// Rule file or folder, or a place in etcd.
    pub rules: Option<PathBuf>,
    /// What it takes to speak to etcd.
    pub etcd: Option<EtcdAccess>,
    /// The name of this member of a fleet.
    pub member: Option<String>,
    /// Native, generic, or whichever works.
    pub mode: Option<Mode>,
    /// Address and port of the metrics.
    pub listen: Option<SocketAddr>,
    /// The web configuration file: TLS and passwords of the metrics.
    pub web_config: Option<PathBuf>,
    /// Whether the metrics may be served off the loopback without any protection.
    pub insecure_listen: Option<bool>,
    /// The push file: which services get the metrics.
    pub push: Option<PathBuf>,
    /// Whether the health of the machine is among the metrics.
    pub host_metrics: Option<bool>,
    /// Certificates whose end is watched.
    pub certificate: Option<Vec<Wanted>>,
    /// Path of the control socket.
    pub control: Option<PathBuf>,
    /// The state folder.
    pub state: Option<PathBuf>,
    /// The pin folder.
    pub pins: Option<PathBuf>,
    /// Whether the filter goes away with the daemon.
    pub ephemeral: Option<bool>,
    /// Whether bits behind a prefix are set to zero in set files.
    pub lenient: Option<bool>,
    /// Whether the kernel's settings are changed that SYN cookies need.
    pub set_sysctls: Option<bool>,
    /// Bytes of the buffer of events.
    pub event_buffer: Option<BufferSize>,
    /// How many flows are kept.
    pub flows: Option<u32>,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log: Option<String>,
    /// Which log records systemd's journal gets.
    pub journal: Option<LogSources>,
}

impl Source {
    /// This source where it says something, `other` where it does not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            interface: self.interface.or(other.interface),
            rules: self.rules.or(other.rules),
            etcd: match (self.etcd, other.etcd) {
                (Some(flags), Some(file)) => Some(flags.or(file)),
                (flags, file) => flags.or(file),
            },
            member: self.member.or(other.member),
            mode: self.mode.or(other.mode),
            listen: self.listen.or(other.listen),
            web_config: self.web_config.or(other.web_config),
            insecure_listen: self.insecure_listen.or(other.insecure_listen),
            push: self.push.or(other.push),
            host_metrics: self.host_metrics.or(other.host_metrics),
            certificate: self.certificate.or(other.certificate),
            control: self.control.or(other.control),
            state: self.state.or(other.state),
            pins: self.pins.or(other.pins),
            ephemeral: self.ephemeral.or(other.ephemeral),
            lenient: self.lenient.or(other.lenient),
            set_sysctls: self.set_sysctls.or(other.set_sysctls),
            event_buffer: self.event_buffer.or(other.event_buffer),
            flows: self.flows.or(other.flows),
            log: self.log.or(other.log),
            journal: self.journal.or(other.journal),
        }
    }

    /// Reads the settings file: the one named, else the default one if it exists.
    ///
    /// # Errors
    /// A named file that is missing, one that cannot be read, and one that says something unknown.
    pub fn read(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                let path = path.display();
                return Err(InvalidInput(format!("read settings {path}: {error}; check --config")).into());
            }
        };
        Self::parse(&text)
            .map_err(|error| InvalidInput(format!("read settings {}: {error}", path.display())).into())
    }

    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// Shows line and column of what is wrong, and the known keys if a key is not known.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// How large a buffer is, as `64KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BufferSize(u32);

impl BufferSize {
    /// In bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl FromStr for BufferSize {
    type Err = String;

    /// # Errors
    /// Says which sizes there are.
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("KiB", 10), ("MiB", 20)];
        let bytes = units.into_iter().find_map(|(unit, shift)| {
            let digits = text.strip_suffix(unit)?;
            let number =
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())??;
            number.checked_mul(1 << shift)
        });
        let (least, most) = RING_BYTES_RANGE;
        bytes.filter(|bytes| (least..=most).contains(bytes) && bytes.is_power_of_two()).map(Self).ok_or_else(
            || {
                format!(
                    "a buffer of events cannot have {text:?}: write a power of two from {}KiB to {}MiB, as 1MiB",
                    least >> 10,
                    most >> 20
                )
            },
        )
    }
}

impl TryFrom<String> for BufferSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// All settings, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    /// Names of the interfaces to filter, each once, in their order.
    pub interfaces: Vec<String>,
    /// Rule file or folder; a place in etcd where `fleet` is set.
    pub rules: PathBuf,
    /// Where rules come from instead, and who is told.
    pub fleet: Option<FleetSettings>,
    /// Native, generic, or whichever works.
    pub mode: Mode,
    /// Where the metrics are served.
    pub exposure: Exposure,
    /// The web configuration file: TLS and passwords of the metrics.
    pub web_config: Option<PathBuf>,
    /// The push file: which services get the metrics.
    pub push: Option<PathBuf>,
    /// Whether the health of the machine is among the metrics.
    pub host_metrics: bool,
    /// Certificates whose end is watched.
    pub certificates: Vec<Wanted>,
    /// Path of the control socket.
    pub control: PathBuf,
    /// The state folder; `None` is one that is made for this run and removed after it.
    pub state: Option<PathBuf>,
    /// The pin folder.
    pub pins: PathBuf,
    /// Whether the filter goes away with the daemon.
    pub ephemeral: bool,
    /// Whether bits behind a prefix are set to zero in set files, where they are errors otherwise.
    pub lenient: bool,
    /// Whether the kernel's settings are changed that SYN cookies need.
    pub set_sysctls: bool,
    /// Bytes of the buffer that keeps events until they are read, where rules draw samples.
    pub event_buffer: u32,
    /// How many flows of which there is proof are kept.
    pub flows: u32,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log: Option<String>,
    /// Which log records systemd's journal gets; if nothing is said, it is the daemon's log where stderr is the journal.
    pub journal: Option<LogSources>,
}

impl Settings {
    /// Fills in the defaults.
    ///
    /// # Errors
    /// When no interface is named, or one whose name no interface can have.
    pub fn complete(source: Source) -> Result<Self, InvalidInput> {
        let Source {
            interface,
            rules,
            etcd,
            member,
            mode,
            listen,
            web_config,
            insecure_listen,
            push,
            host_metrics,
            certificate,
            control,
            state,
            pins,
            ephemeral,
            lenient,
            set_sysctls,
            event_buffer,
            flows,
            log,
            journal,
        } = source;
        let mut interfaces: Vec<String> = Vec::new();
        for name in interface.unwrap_or_default() {
            // The kernel's IFNAMSIZ is 16 with the terminating zero (include/uapi/linux/if.h).
            let possible = (1..16).contains(&name.len())
                && !name.contains(|letter: char| letter == '/' || letter.is_whitespace());
            if !possible {
                return Err(InvalidInput(format!(
                    "interface {name:?}: no interface can have this name; `ip link` lists those that exist"
                )));
            }
            if !interfaces.contains(&name) {
                interfaces.push(name);
            }
        }
        if interfaces.is_empty() {
            return Err(InvalidInput(format!(
                "no interface to filter: say --interface NAME (`ip link` lists them) or write interface = \
                 [\"NAME\"] into {DEFAULT_FILE}"
            )));
        }
        if interfaces.len() > INTERFACES_MAX as usize {
            return Err(InvalidInput(format!(
                "{} interfaces are too many: there are counters for {INTERFACES_MAX}; filter the others by another \
                 foobar with its own --state, --pins, --control and --listen",
                interfaces.len()
            )));
        }
        let flows = flows.unwrap_or(FLOWS_MAX);
        let (least, most) = FLOWS_RANGE;
        if !(least..=most).contains(&flows) {
            return Err(InvalidInput(format!("flows = {flows}: write a number from {least} to {most}")));
        }
        let ephemeral = ephemeral.unwrap_or_default();
        // What a first look applies is not to come back with the real daemon.
        let state = state.or_else(|| (!ephemeral).then(|| PathBuf::from(DEFAULT_STATE)));
        let rules = rules.unwrap_or_else(|| DEFAULT_RULES.into());
        Ok(Self {
            interfaces,
            fleet: FleetSettings::of(&rules, etcd.unwrap_or_default(), member)?,
            rules,
            mode: mode.unwrap_or_default(),
            exposure: Exposure {
                listen: match listen {
                    Some(listen) => listen,
                    None => DEFAULT_LISTEN
                        .parse()
                        .map_err(|error| InvalidInput(format!("listen address {DEFAULT_LISTEN}: {error}")))?,
                },
                is_insecure_wanted: insecure_listen.unwrap_or_default(),
            },
            web_config,
            push,
            host_metrics: host_metrics.unwrap_or(true),
            certificates: checked_certificates(certificate)?,
            control: control.unwrap_or_else(|| DEFAULT_CONTROL.into()),
            state,
            pins: pins.unwrap_or_else(pins::default_folder),
            ephemeral,
            lenient: lenient.unwrap_or_default(),
            set_sysctls: set_sysctls.unwrap_or_default(),
            event_buffer: event_buffer.map_or(RING_BYTES, BufferSize::bytes),
            flows,
            log,
            journal,
        })
    }
}

/// Certificates, each name once: it is a label.
fn checked_certificates(wanted: Option<Vec<Wanted>>) -> Result<Vec<Wanted>, InvalidInput> {
    let wanted = wanted.unwrap_or_default();
    if wanted.len() > CERTIFICATES_MAX {
        return Err(InvalidInput(format!(
            "{} certificates are too many: there may be {CERTIFICATES_MAX}",
            wanted.len()
        )));
    }
    for (number, one) in wanted.iter().enumerate() {
        if wanted.iter().take(number).any(|before| before.name() == one.name()) {
            return Err(InvalidInput(format!(
                "the certificate of {} is named twice: leave one out",
                one.name()
            )));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let flags = Source {
            listen: Some("127.0.0.1:1".parse().unwrap()),
            ephemeral: Some(true),
            ..Source::default()
        };
        let file = Source::parse(
            r#"
            interface = ["eth0", "eth1", "eth0"]
            rules = "/srv/rules"
            mode = "native"
            listen = "[::1]:2"
            web_config = "/srv/web.yml"
            push = "/srv/push.toml"
            host_metrics = false
            certificate = ["www.foobar.com@127.0.0.1:443"]
            insecure_listen = true
            state = "/srv/state"
            event_buffer = "64KiB"
            flows = 4096
            log = "debug"
            journal = ["packets"]
            "#,
        )
        .unwrap();
        let settings = Settings::complete(flags.or(file)).unwrap();
        assert_eq!(
            settings,
            Settings {
                interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
                rules: "/srv/rules".into(),
                fleet: None,
                mode: Mode::Native,
                exposure: Exposure { listen: "127.0.0.1:1".parse().unwrap(), is_insecure_wanted: true },
                web_config: Some("/srv/web.yml".into()),
                push: Some("/srv/push.toml".into()),
                host_metrics: false,
                certificates: vec!["www.foobar.com@127.0.0.1:443".parse().unwrap()],
                control: DEFAULT_CONTROL.into(),
                state: Some("/srv/state".into()),
                pins: pins::default_folder(),
                ephemeral: true,
                lenient: false,
                set_sysctls: false,
                event_buffer: 1 << 16,
                flows: 4_096,
                log: Some("debug".to_owned()),
                journal: Some(LogSources { daemon: false, packets: true }),
            }
        );
    }

    #[test]
    fn the_documented_settings_of_a_fleet_are_read_and_flags_win() {
        let text = include_str!("../../rules/README.md").split("<!-- settings -->\n```text\n").nth(1);
        let file = Source::parse(text.unwrap().split("```").next().unwrap()).unwrap();
        let etcd = EtcdAccess { key: Some("/other.key".into()), ..EtcdAccess::default() };
        let flags = Source { interface: Some(vec!["lo".to_owned()]), etcd: Some(etcd), ..Source::default() };
        let fleet = Settings::complete(flags.or(file)).unwrap().fleet.unwrap();
        assert_eq!(
            (fleet.place.to_string().as_str(), fleet.member.as_str()),
            ("etcds://etcd-1:2379,etcd-2:2379,etcd-3:2379/foobar/web", "web-1")
        );
        assert_eq!(fleet.access.ca, Some("/etc/foobar/etcd-ca.pem".into()));
        assert_eq!(fleet.access.key, Some("/other.key".into()));
    }

    #[test]
    fn an_ephemeral_run_keeps_away_from_the_state_of_the_lasting_one() {
        let source = |ephemeral| Source {
            interface: Some(vec!["lo".to_owned()]),
            ephemeral: Some(ephemeral),
            ..Source::default()
        };
        assert_eq!(Settings::complete(source(true)).unwrap().state, None);
        assert_eq!(Settings::complete(source(false)).unwrap().state, Some(DEFAULT_STATE.into()));
    }

    #[test]
    fn an_unknown_key_shows_its_line_and_the_known_ones() {
        let error = Source::parse("interface = [\"lo\"]\nlisten_on = \"x\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1"), "{error}");
        assert!(error.contains("`listen`"), "{error}");
    }

    #[test]
    fn wrong_values_show_their_place() {
        for (text, place) in [
            ("listen = \"9477\"", "line 1, column 10"),
            ("\nmode = \"fast\"", "line 2, column 8"),
            ("interface = \"lo\"", "line 1, column 13"),
            ("ephemeral = 1", "line 1, column 13"),
            ("interface = [", "line 1"),
            ("event_buffer = \"1M\"", "line 1, column 16"),
        ] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn a_buffer_has_a_size_that_the_kernel_takes() {
        let bytes = |text: &str| text.parse().map(BufferSize::bytes);
        assert_eq!((bytes("64KiB"), bytes("1MiB"), bytes("64MiB")), (Ok(1 << 16), Ok(1 << 20), Ok(1 << 26)));
        for wrong in
            ["", "KiB", "1", "1048576", "32KiB", "128MiB", "3MiB", "-1MiB", "1 MiB", "1GiB", "4294967296KiB"]
        {
            assert!(bytes(wrong).unwrap_err().contains("write a power of two"), "{wrong}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let error = Source::read(Some(&folder.path().join("none.toml"))).unwrap_err();
        assert!(error.is::<InvalidInput>());
        assert!(error.to_string().contains("none.toml"), "{error}");
    }

    #[test]
    fn interfaces_are_needed_and_must_be_possible() {
        for (names, said) in [
            (vec![], "no interface to filter"),
            (vec!["a-name-of-16-byte"], "no interface can have this name"),
            (vec!["a b"], "no interface can have this name"),
            (vec![""], "no interface can have this name"),
            (vec!["1", "2", "3", "4", "5", "6", "7", "8", "9"], "9 interfaces are too many"),
        ] {
            let interface = Some(names.into_iter().map(str::to_owned).collect());
            let error = Settings::complete(Source { interface, ..Source::default() }).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
