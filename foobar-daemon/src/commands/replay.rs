//! `foobar replay`.

use std::{
    io::{self, BufWriter, ErrorKind, IsTerminal as _, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use foobar_common::{frame::Frame, parse::parse};
use ipnet::IpNet;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    replay::{
        capture::{Capture, Stop},
        judge::{Aside, Judge, Judged, Totals},
        local::{Finder, Local},
        progress::Progress,
        report::{Form, Report},
    },
    rules::{bundle::Bundle, model::Ruleset, sets::masked_words},
};

/// The interface that frames come through if nobody says.
const INTERFACE: &str = "capture";

/// Flags of `foobar replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pcap or pcapng file
    pub capture: PathBuf,
    /// A rule file, or a folder of them
    #[arg(long, value_name = "PATH")]
    pub rules: PathBuf,
    /// Addresses of the server: frames from them go out [default: those that receive on a service port]
    #[arg(long, value_name = "CIDR", num_args = 1.., value_parser = prefix)]
    pub local: Vec<IpNet>,
    /// The interface that the frames come in through, for rules that ask
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// In set files, set bits behind a prefix to zero, where they are errors otherwise, and say how many
    #[arg(long)]
    pub lenient: bool,
    /// Print a JSON object per frame, then one with the summary
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Invalid rules, a capture that cannot be read or judged, or a kernel that refuses the program.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    match replay(args, env) {
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Outcome::Done),
        other => other,
    }
}

fn replay(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let ruleset = Bundle::read(&args.rules)?.lenient(args.lenient).parse()?;
    for masked in masked_words(&ruleset) {
        writeln!(env.err, "note: {masked}")?;
    }
    let size =
        std::fs::metadata(&args.capture).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let mut progress = Progress::new(io::stderr().is_terminal());
    // Opened first, so that a file which is none is told from one without local addresses.
    let mut capture = Capture::open(&args.capture)?;
    let local = if args.local.is_empty() {
        find_local(&args.capture, &ruleset, size, &mut progress, env.err)?
    } else {
        Local::Given(args.local.clone())
    };
    let interface = args.interface.as_deref().unwrap_or(INTERFACE);
    if args.interface.is_none() && ruleset.rules.iter().any(|rule| rule.interface.is_some()) {
        writeln!(
            env.err,
            "note: rules ask for an interface; the frames come through none that they name. Say which: \
             --interface NAME"
        )?;
    }

    let mut judge = Judge::new(&ruleset, interface, local)?;
    let mut out = BufWriter::with_capacity(1 << 16, &mut *env.out);
    let form = if args.json { Form::JsonLines } else { Form::Table };
    let mut report = Report::new(&mut out, form);
    let mut scratch = Vec::new();
    let mut broken = None;
    loop {
        let recorded = match capture.next_frame() {
            Ok(Some(recorded)) => recorded,
            Ok(None) => break,
            Err(Stop::Broken(error)) => {
                broken = Some(error);
                break;
            }
            Err(stop) => return Err(stop.into()),
        };
        let number = recorded.number;
        let length = recorded.link.ethernet_length(recorded.length);
        let frame = recorded.link.to_ethernet(recorded.bytes, &mut scratch);
        let judged: Judged = judge
            .judge(frame, length)
            .with_context(|| format!("judge frame {number} of {}", args.capture.display()))?;
        report.frame(number, &judged)?;
        progress.show(env.err, "judging", number, capture.bytes_read(), size)?;
    }
    progress.clear(env.err)?;
    let (totals, aside): (Totals, Aside) = judge.finish()?;
    let frames = report.frames();
    report.summary(&ruleset, &totals)?;
    drop(out);
    write_notes(&aside, env.err)?;
    match broken {
        None => Ok(Outcome::Done),
        Some(error) if frames == 0 => Err(error.into()),
        Some(error) => {
            writeln!(env.err, "foobar: {error}; the {frames} before it were judged")?;
            Ok(Outcome::Partly)
        }
    }
}

/// Reads the capture once for the addresses that receive packets on a service port.
fn find_local(
    path: &Path,
    ruleset: &Ruleset,
    size: Option<u64>,
    progress: &mut Progress,
    err: &mut dyn Write,
) -> Result<Local> {
    let mut finder = Finder::new(ruleset);
    if finder.is_futile() {
        return Ok(finder.finish());
    }
    if size.is_none() {
        let problem = format!(
            "{} can be read only once, and finding the local addresses takes a reading of its own; name them: \
             --local CIDR",
            path.display()
        );
        return Err(InvalidInput(problem).into());
    }
    let mut capture = Capture::open(path)?;
    let mut scratch = Vec::new();
    loop {
        let recorded = match capture.next_frame() {
            Ok(Some(recorded)) => recorded,
            // The second reading ends at the same place and says so.
            Ok(None) | Err(Stop::Broken(_)) => break,
            Err(stop) => return Err(stop.into()),
        };
        let number = recorded.number;
        let length = u32::try_from(recorded.link.ethernet_length(recorded.length)).unwrap_or(u32::MAX);
        let frame = recorded.link.to_ethernet(recorded.bytes, &mut scratch);
        if let Ok(flow) = parse(&Frame::from_first_buffer(frame, length)) {
            finder.see(&flow)?;
        }
        progress.show(err, "looking for local addresses", number, capture.bytes_read(), size)?;
    }
    progress.clear(err)?;
    Ok(finder.finish())
}

/// Says which frames were not judged as they came.
fn write_notes(aside: &Aside, err: &mut dyn Write) -> io::Result<()> {
    let notes = [
        (
            aside.short,
            "of less than 14 bytes, which the kernel does not take, judged by plain reading of the rules",
        ),
        (aside.long, "longer than the kernel takes in one piece, judged by plain reading of the rules"),
        (aside.completed, "not recorded to the end (snap length), judged with zeros for what is missing"),
        (
            aside.headerless,
            "not recorded to the end of the headers (snap length), judged as if they ended there",
        ),
    ];
    for (frames, what) in notes {
        if frames > 0 {
            writeln!(err, "note: frames {what}: {frames}")?;
        }
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(ErrorKind::BrokenPipe)
    })
}

/// Reads a prefix, or an address as one of full length.
fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let prefix: IpNet = match text.parse() {
        Ok(prefix) => prefix,
        Err(error) => return Err(format!("{error}; write an address or a prefix such as 192.0.2.0/24")),
    };
    if prefix.trunc() != prefix {
        return Err(format!("{text} has bits set behind its prefix; write {}", prefix.trunc()));
    }
    Ok(prefix)
}
