//! Pictures of the page for the documentation: `FOOBAR_PICTURES=renew cargo test --package foobar-tests --test page pictures`
//! makes them anew, with the traffic of real servers.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    browser::{Browser, Screen},
    command::succeed,
    database::{Database, PASSWORD, PORT, USER},
    frames::{Family, tcp_syn},
    name_server::NameServer,
    network::{CLIENT, SERVER_V4, SERVER_V6},
    packets,
    sender::Flood,
};
use mysql::{Conn, OptsBuilder, prelude::Queryable as _};

use crate::site::{self, Load, METRICS, Names, Site};

/// Name, screen.
const PICTURES: [(&str, Screen); 3] = [
    ("page-light", Screen { width: 1280, height: 920, scale: 1, dark: false }),
    ("page-dark", Screen { width: 1280, height: 920, scale: 1, dark: true }),
    ("page-phone", Screen { width: 360, height: 760, scale: 2, dark: false }),
];

/// Largest picture, in bytes.
const SIZE_MAX: usize = 150_000;

/// More services than the web server has, and more rules.
const MORE_RULES: &str = r#"
[[service]]
name = "db"
port = "tcp/3306"
protocol = "mysql"

[[service]]
name = "names"
port = "udp/53"
protocol = "dns"

[[service]]
name = "ssh"
port = "tcp/22"

[[rule]]
id = "database"
action = "accept"
protocol = "tcp"
destination_port = 3306
source = "192.0.2.0/24"

[[rule]]
id = "names"
action = "accept"
protocol = "udp"
destination_port = 53
limit = { rate = "2000/s", per = "source" }

[[rule]]
id = "mail-refused"
action = "reject"
protocol = "tcp"
destination_port = [25, 587]

[[rule]]
id = "old-office"
action = "accept"
source = "198.51.100.0/24"
protocol = "tcp"
destination_port = 8443
"#;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures").join(format!("{name}.png"))
}

#[test]
fn pictures_of_the_documentation_are_there() -> Result<()> {
    if std::env::var_os("FOOBAR_PICTURES").is_some_and(|value| value == "renew") {
        renew()?;
    }
    for (name, Screen { width, height, scale, .. }) in PICTURES {
        let path = path(name);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        // PNG (RFC 2083): eight bytes, then a chunk that begins with width and height.
        let size = [width * scale, height * scale].map(u32::to_be_bytes).concat();
        ensure!(
            bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.get(16..24) == Some(&*size),
            "{name} is none"
        );
        ensure!(bytes.len() < SIZE_MAX, "{name} has {} bytes", bytes.len());
    }
    Ok(())
}

fn renew() -> Result<()> {
    let mut site = Site::prepare(&(site::rules() + MORE_RULES))?;
    let client = &site.network.client;
    let _database = Database::start(&site.network.server, 1)?;
    let _names = NameServer::start(&site.network.server, [SERVER_V4.into(), SERVER_V6.into()])?;
    site.network.introduce()?;
    site.foobar.start()?;
    site.foobar.succeed(&[
        "ban",
        "203.0.113.7",
        "203.0.113.64/29",
        "2001:db8:bad::/48",
        "--reason",
        "too loud",
    ])?;

    let mut loads = vec![
        site.load(&["/", "/", "/large", "/", "/", "/missing", "/", "/", "/", "/"], 180),
        site.load(&["/large", "/", "/"], 40),
        site.load(&["/broken", "/", "/", "/", "/"], 5),
        site.load(&["/slow"], 1),
    ];
    let mut names = Names::new(client)?;
    loads.push(Load::start(90, move || names.ask()));
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(SERVER_V4.to_string()))
        .tcp_port(PORT)
        .user(Some(USER))
        .pass(Some(PASSWORD));
    let mut database = client.enter(|| Ok(Conn::new(options)?))?;
    loads.push(Load::start(60, move || Ok(database.query_drop("SELECT 1 + 1")?)));
    let curl = std::sync::Arc::clone(client);
    loads.push(Load::start(6, move || {
        succeed(curl.command("curl").args(["--silent", "--insecure", "https://192.0.2.1/"])).map(drop)
    }));
    let banned = packets::udp(("203.0.113.7", 40_000), ("192.0.2.1", 9), 40).frame();
    let frames = vec![
        tcp_syn(Family::V4, 23)?,
        tcp_syn(Family::V4, 3389)?,
        tcp_syn(Family::V6, 25)?,
        banned.clone(),
        banned,
    ];
    let _flood = Flood::start(client, CLIENT, frames, 130)?;
    // Two minutes in which more and less comes, for the curves.
    for wave in 0..8_u32 {
        let more = site.load(&["/", "/", "/large"], 20 + 25 * (wave % 4));
        thread::sleep(Duration::from_secs(9));
        drop(more);
        thread::sleep(Duration::from_secs(7));
    }
    fs::create_dir_all(path("page").parent().context("a folder")?)?;
    let mut browser = Browser::start(client, None)?;
    browser.open(&format!("http://{METRICS}/"))?;
    browser.wait_until("numbers", "document.querySelector('.services .ended .outcome')")?;
    for (name, screen) in PICTURES {
        browser.set_screen(screen)?;
        thread::sleep(Duration::from_secs(3));
        fs::write(path(name), packed(&browser.picture()?)?)?;
    }
    Ok(())
}

/// The same picture in fewer bytes: filters, which browsers use, are for photographs.
fn packed(picture: &[u8]) -> Result<Vec<u8>> {
    let mut reader = png::Decoder::new(Cursor::new(picture)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("a picture that is too large")?];
    let png::OutputInfo { width, height, color_type, bit_depth, .. } = reader.next_frame(&mut pixels)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color_type);
    encoder.set_depth(bit_depth);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}
