//! The page in a real browser, which complains of nothing.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    authority::Authority,
    browser::{Browser, Screen},
    command::succeed,
    daemon::Foobar,
    figures::say,
    network::{Network, SERVER},
};
use serde_json::Value;

use crate::site::{self, HOST, METRICS, Site};

const DESKTOP: Screen = Screen { width: 1280, height: 900, scale: 1, dark: false };
const PHONE: Screen = Screen { width: 360, height: 740, scale: 2, dark: false };

/// The row of a service has come.
const SHOWN: &str = "document.querySelector('#services tr')";

/// Opens the page of a site and waits until it shows numbers.
fn opened(site: &Site, screen: Screen) -> Result<Browser> {
    let mut browser = Browser::start(&site.network.client, None)?;
    browser.set_screen(screen)?;
    browser.open(&format!("http://{METRICS}/"))?;
    browser.wait_until("services", SHOWN)?;
    Ok(browser)
}

/// Nothing was asked of anybody else, and there was nothing to complain of.
fn check_quiet(browser: &mut Browser, origin: &str) -> Result<()> {
    let complaints = browser.take_complaints();
    ensure!(complaints.is_empty(), "{complaints:?}");
    for request in browser.requests() {
        let own = request.starts_with(origin) || request.starts_with("data:image/svg+xml,");
        ensure!(own, "asked elsewhere: {request}");
    }
    ensure!(
        browser.requests().iter().any(|request| request.ends_with("/events")),
        "{:?}",
        browser.requests()
    );
    Ok(())
}

fn is_wider_than_screen(browser: &mut Browser) -> Result<bool> {
    let wider = browser.evaluate("document.documentElement.scrollWidth > window.innerWidth")?;
    wider.as_bool().context("a truth value")
}

#[test]
fn numbers_appear_and_change_and_nobody_else_is_asked() -> Result<()> {
    let site = Site::start()?;
    let load = site.load(&["/", "/missing", "/broken"], 60);
    let mut browser = opened(&site, DESKTOP)?;
    browser.wait_until(
        "sixty requests a second",
        "(() => { const now = Number(document.querySelector('#services .strong').innerText); return now > 50 && now < 70; })()",
    )?;
    ensure!(browser.text("h1")? == HOST, "{}", browser.text("h1")?);
    ensure!(browser.text("#ready")? == "ready" && browser.text("#connection")? == "live");
    let title = browser.evaluate("document.title")?;
    let requests: f64 = title.as_str().unwrap_or_default().split(' ').next().unwrap_or_default().parse()?;
    ensure!(
        (50.0..70.0).contains(&requests) && title.as_str().is_some_and(|title| title.contains(HOST)),
        "{title}"
    );
    let about = browser.text(".about")?;
    let status = site.foobar.status()?;
    let hash = status["ruleset"]["hash"].as_str().context("hash")?;
    ensure!(
        about.contains(&hash[..12]) && about.contains("generation 1") && about.contains(SERVER),
        "{about}"
    );
    browser.wait_until("ends of requests", "document.querySelectorAll('#services .outcome').length === 3")?;
    let ended = browser.text("#services .ended")?;
    for word in ["2xx", "4xx", "5xx"] {
        ensure!(ended.contains(word), "{ended}");
    }
    let total = "Number(document.querySelector('#services tr').children[4].innerText)";
    let before = browser.evaluate(total)?.as_f64().context("a total")?;
    thread::sleep(Duration::from_secs(3));
    let after = browser.evaluate(total)?.as_f64().context("a total")?;
    ensure!((90.0..300.0).contains(&(after - before)), "{before}, and {after} three seconds later");
    // A point a second; a busy machine skips some.
    let points = "document.querySelector('#services .line').getAttribute('points').split(' ').length";
    browser.wait_until("a curve", &format!("{points} > 3"))?;

    // By what rules are in order, from the keyboard: the first is the head of the first column.
    let first = "document.querySelector('#rules th').innerText";
    ensure!(browser.evaluate(first)? == "web", "{}", browser.text("#rules")?);
    browser.evaluate("document.querySelector('[data-key=rule]').focus()")?;
    for kind in ["keyDown", "keyUp"] {
        let key = serde_json::json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
        browser.call("Input.dispatchKeyEvent", &key)?;
    }
    browser.wait_until("rules by name", &format!("{first} === 'metrics'"))?;
    ensure!(browser.evaluate("document.querySelector('[aria-sort]').innerText")? == "rule");
    let dim = "getComputedStyle([...document.querySelectorAll('#rules tr')].find((row) => row.innerText.includes('ping')).children[1]).color";
    let strong = "getComputedStyle(document.querySelector('#rules tr:not(.idle) th')).color";
    ensure!(browser.evaluate(dim)? != browser.evaluate(strong)?, "a rule that decided nothing is not dim");
    load.stop()?;
    browser.wait_until("no requests", "document.querySelector('#requests').innerText === '0.0'")?;
    check_quiet(&mut browser, &format!("http://{METRICS}/"))
}

#[test]
fn it_fits_every_screen_in_light_and_dark_with_enough_contrast() -> Result<()> {
    let hostile = "rule".repeat(16);
    let rules = format!(
        "{}\n[[rule]]\nid = \"{hostile}\"\naction = \"drop\"\nprotocol = \"udp\"\n\n[[service]]\nname = \"{}\"\n\
         port = \"tcp/8443\"\nprotocol = \"h2c\"\n",
        site::rules(),
        "s".repeat(60)
    );
    let mut site = Site::prepare(&rules)?;
    site.foobar.start()?;
    let _load = site.load(&["/", "/broken", "/missing"], 40);
    let mut browser = opened(&site, PHONE)?;
    browser.wait_until("ends of requests", "document.querySelectorAll('#services .outcome').length === 3")?;
    let mut grounds = Vec::new();
    for dark in [false, true] {
        for width in [320, 360, 600, 800, 1000, 1280, 1920] {
            browser.set_screen(Screen { width, dark, ..PHONE })?;
            ensure!(!is_wider_than_screen(&mut browser)?, "{width} pixels are not enough");
            // Nothing stands over the edge of its section.
            let over = browser.evaluate(
                "[...document.querySelectorAll('section')].flatMap((section) => [...section.querySelectorAll('th, td, p')] \
                 .filter((one) => one.getBoundingClientRect().right > section.getBoundingClientRect().right) \
                 .map((one) => one.innerText))",
            )?;
            ensure!(over == Value::Array(Vec::new()), "at {width} pixels these stand over the edge: {over}");
        }
        grounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor")?);
        browser.set_screen(Screen { dark, ..DESKTOP })?;
        let contrast = browser.evaluate(CONTRAST)?;
        say(&format!("least contrast, dark {dark}: {contrast}"));
        ensure!(contrast["least"].as_f64() >= Some(4.5), "{contrast}");
    }
    ensure!(grounds[0] == "rgb(245, 246, 248)" && grounds[1] == "rgb(14, 18, 22)", "{grounds:?}");
    // Every table says what its rows and columns are.
    let heads = browser.evaluate(
        "[...document.querySelectorAll('table')].every((table) => table.getAttribute('aria-labelledby') \
         && table.querySelector('thead th[scope=col]') && [...table.querySelectorAll('tbody tr')].every((row) => row.querySelector('th[scope=row]')))",
    )?;
    ensure!(heads == true, "a table without heads");
    let moves = browser.evaluate(
        "document.getAnimations().length + [...document.styleSheets[0].cssRules].filter((rule) => /transition|animation/.test(rule.cssText)).length",
    )?;
    ensure!(moves == 0, "something moves");
    check_quiet(&mut browser, &format!("http://{METRICS}/"))
}

/// The least contrast of text to what it stands on, as WCAG 2.2 (1.4.3) defines it.
const CONTRAST: &str = "(() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const color = channels(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    let worst = { least: 21, text: '' };
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || element.closest('script, noscript, style') || !element.checkVisibility()) continue;
        const [one, other] = [channels(getComputedStyle(element).color), ground(element)].map(light).sort((a, b) => b - a);
        const least = (one + 0.05) / (other + 0.05);
        if (least < worst.least) worst = { least, text: element.textContent.trim() };
    }
    return worst;
})()";

#[test]
fn a_broken_connection_is_said_and_mended_and_another_build_loads_itself() -> Result<()> {
    let mut site = Site::start()?;
    let mut browser = opened(&site, DESKTOP)?;
    check_quiet(&mut browser, &format!("http://{METRICS}/"))?;
    browser.evaluate("window.isTheSame = true")?;
    site.foobar.terminate()?;
    browser.wait_until(
        "it says so",
        "document.querySelector('#connection').innerText.startsWith('no connection since ')",
    )?;
    browser.wait_until("the title, too", "document.title.startsWith('no connection since ')")?;
    ensure!(browser.evaluate("document.body.className")? == "stale");
    site.foobar.start()?;
    browser.wait_until("it goes on", "document.querySelector('#connection').innerText === 'live'")?;
    ensure!(browser.evaluate("document.body.className")? == "");
    ensure!(browser.evaluate("window.isTheSame")? == true, "it was loaded anew without need");
    // A page of another build.
    browser.evaluate("document.documentElement.dataset.page = 'of another build'")?;
    browser.wait_until("it is loaded anew", &format!("window.isTheSame === undefined && {SHOWN}"))?;

    // Who finds no place is told why, and gets one as soon as there is one.
    browser.open("about:blank")?;
    let client = Arc::clone(&site.network.client);
    let mut streams =
        (0..32).map(|_| crate::stream::Stream::open(&client, METRICS)).collect::<Result<Vec<_>>>();
    if streams.is_err() {
        // The page before was still leaving.
        thread::sleep(Duration::from_secs(1));
        streams = (0..32).map(|_| crate::stream::Stream::open(&client, METRICS)).collect();
    }
    let streams = streams?;
    browser.open(&format!("http://{METRICS}/"))?;
    browser.wait_until(
        "why",
        "document.querySelector('#notices')?.innerText.includes('32 look at this page already')",
    )?;
    drop(streams);
    browser.wait_until("numbers", SHOWN)?;
    browser.wait_until("no notice", "document.querySelector('#notices').innerText === ''")
}

#[test]
fn hostile_names_stay_text() -> Result<()> {
    // Names of interfaces have up to 15 bytes, of hosts up to 64.
    const INTERFACE: &str = "<b>\"&'x";
    let network = Network::new()?;
    succeed(network.server.command("ip").args(["link", "add", INTERFACE, "type", "veth"]))?;
    succeed(network.server.command("ip").args(["link", "set", INTERFACE, "up"]))?;
    let host = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let set = format!("echo '{host}' > /proc/sys/kernel/hostname && exec \"$@\"");
    let mut foobar = Foobar::new(&network.server, &[SERVER, INTERFACE], &site::rules())?
        .with_listen(METRICS)
        .with_options(&["--insecure-listen", "--mode", "generic"])
        .with_wrapper(&["unshare", "--uts", "sh", "-c", &set, "sh"]);
    foobar.start()?;
    let mut browser = Browser::start(&network.client, None)?;
    browser.set_screen(PHONE)?;
    browser.open(&format!("http://{METRICS}/"))?;
    browser.wait_until("services", SHOWN)?;
    ensure!(browser.text("h1")? == host, "{}", browser.text("h1")?);
    ensure!(browser.text("#interfaces")?.contains(INTERFACE), "{}", browser.text("#interfaces")?);
    // It goes away: what is said of that is text, too.
    succeed(network.server.command("ip").args(["link", "del", INTERFACE]))?;
    browser.wait_until("it is said", "document.querySelector('#notices').innerText.includes('<b>')")?;
    ensure!(browser.text("#ready")? == "NOT READY");
    ensure!(browser.evaluate("document.querySelectorAll('img, b, body script').length")? == 1);
    ensure!(!is_wider_than_screen(&mut browser)?, "a hostile name is wider than a phone");
    check_quiet(&mut browser, &format!("http://{METRICS}/"))
}

#[test]
fn it_works_behind_tls_and_a_password_and_behind_a_proxy_below_a_path() -> Result<()> {
    let site = Site::start()?;
    let mut browser = Browser::start(&site.network.client, None)?;
    for origin in ["http://192.0.2.1/foobar/", "https://192.0.2.1/foobar/"] {
        browser.open(origin)?;
        browser.wait_until("services", SHOWN)?;
        let before = browser.text("#in-packets")?;
        browser
            .wait_until("news", &format!("document.querySelector('#in-packets').innerText !== '{before}'"))?;
    }
    let complaints = browser.take_complaints();
    ensure!(complaints.is_empty(), "{complaints:?}");
    for request in browser.requests().iter().filter(|request| !request.starts_with("data:")) {
        ensure!(request.contains("://192.0.2.1/foobar/"), "{request}");
    }
    drop((browser, site));

    let authority = Authority::new("authority")?;
    let server = authority.server(&["192.0.2.1"])?;
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], &site::rules())?.with_listen(METRICS);
    let path = foobar.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\nbasic_auth_users:\n  alice: {}\n",
            server.certificate.display(),
            server.key.display(),
            // "secret"
            "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
        ),
    )?;
    foobar = foobar.with_options(&["--web-config", &path.display().to_string()]);
    foobar.start_guarded()?;
    let mut browser = Browser::start(&network.client, Some(("alice", "secret")))?;
    let origin = format!("https://{METRICS}/");
    browser.open(&origin)?;
    browser.wait_until("services", SHOWN)?;
    let before = browser.text("#in-packets")?;
    browser.wait_until("news", &format!("document.querySelector('#in-packets').innerText !== '{before}'"))?;
    check_quiet(&mut browser, &origin)
}
