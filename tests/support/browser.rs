//! Chromium without a screen, driven by its `DevTools` protocol (<https://chromedevtools.github.io/devtools-protocol/>) over a pipe.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::namespace::Namespace;

/// How long the browser may take to do what it is told.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a page is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Pixels of a picture for each of them.
    pub scale: u32,
    /// Whether whoever looks prefers dark colours.
    pub dark: bool,
}

/// A browser with one page; it ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: String,
    login: Option<(String, String)>,
    /// What the page has asked for.
    requests: Vec<String>,
    /// What the page or the browser has to complain of: errors and warnings in the console, uncaught exceptions, violations of
    /// the security policy, what could not be loaded.
    complaints: Vec<String>,
    // Removed after the browser has ended.
    folder: TempDir,
}

impl Browser {
    /// One in a namespace that shows nothing yet. It takes certificates of whoever, and names itself with this name and password
    /// where it is asked.
    pub fn start(namespace: &Namespace, login: Option<(&str, &str)>) -> Result<Self> {
        let folder = TempDir::new()?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = namespace.command("setpriv");
        // The browser reads commands from descriptor 3 and answers on 4.
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c"]);
        command.args(["exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh", "chromium"]);
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            // For root.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--no-proxy-server",
            "--ignore-certificate-errors",
            "--hide-scrollbars",
        ]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.env("HOME", folder.path()).env_remove("DISPLAY");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("start chromium")?;
        let commands = child.stdin.take().context("a pipe to chromium")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe from chromium")?);
        let (tell, messages) = channel();
        thread::spawn(move || {
            for message in answers.split(0) {
                let Some(message) = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
                    return;
                };
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let login = login.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let mut browser = Self {
            child,
            commands,
            messages,
            number: 0,
            session: String::new(),
            login,
            requests: Vec::new(),
            complaints: Vec::new(),
            folder,
        };
        browser.prepare().with_context(|| {
            format!(
                "chromium said: {}",
                fs::read_to_string(browser.folder.path().join("log")).unwrap_or_default()
            )
        })?;
        Ok(browser)
    }

    fn prepare(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", &attach)?;
        session["sessionId"].as_str().context("a session")?.clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        if self.login.is_some() {
            self.call("Fetch.enable", &json!({ "handleAuthRequests": true }))?;
        }
        Ok(())
    }

    /// Shows on this screen from now on.
    pub fn set_screen(&mut self, screen: Screen) -> Result<()> {
        let Screen { width, height, scale, dark } = screen;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// Goes to a page.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", &json!({ "url": url }))?;
        ensure!(opened["errorText"].is_null(), "open {url}: {opened}");
        Ok(())
    }

    /// What an expression of JavaScript gives in the page.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &asked)?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].clone())
    }

    /// The text of the first element of a CSS selector, as a viewer sees it; none if there is no such element.
    pub fn text(&mut self, selector: &str) -> Result<String> {
        let selector = Value::from(selector);
        let text = self.evaluate(&format!("document.querySelector({selector})?.innerText ?? ''"))?;
        Ok(text.as_str().context("a text")?.to_owned())
    }

    /// Waits until an expression of JavaScript is true.
    ///
    /// # Errors
    /// Shows the page if it does not become so.
    pub fn wait_until(&mut self, what: &str, expression: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.evaluate(&format!("Boolean({expression})")) {
                Ok(value) if value == true => return Ok(()),
                Ok(_) => {}
                // The page goes to another one just now.
                Err(error) if error.to_string().contains("navigated") => {}
                Err(error) => return Err(error),
            }
            if begun.elapsed() > PATIENCE / 3 {
                let page = self.evaluate("document.title + '\\n' + document.body.innerText")?;
                bail!("{what}: {page:#}\ncomplaints: {:?}", self.complaints);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A picture of what the screen shows, as PNG.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        BASE64_STANDARD.decode(answer["data"].as_str().context("a picture")?).context("read a picture")
    }

    /// What the page has asked for up to now.
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    /// What there was to complain of since this was last asked.
    pub fn take_complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Has the browser do something, and gives its answer.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let number = self.send(method, parameters)?;
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let message = self.messages.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => anyhow::anyhow!("chromium does not answer {method}"),
                RecvTimeoutError::Disconnected => {
                    anyhow::anyhow!("chromium has ended before it answered {method}")
                }
            })?;
            if message["id"] == number {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.note(&message)?;
        }
    }

    fn send(&mut self, method: &str, parameters: &Value) -> Result<u64> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.commands.write_all(&bytes).with_context(|| format!("tell chromium {method}"))?;
        Ok(self.number)
    }

    /// What happens by itself.
    fn note(&mut self, message: &Value) -> Result<()> {
        let parameters = &message["params"];
        let complaint = match message["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
                return Ok(());
            }
            "Fetch.requestPaused" => {
                self.send("Fetch.continueRequest", &json!({ "requestId": parameters["requestId"] }))?;
                return Ok(());
            }
            "Fetch.authRequired" => return self.log_in(&parameters["requestId"]),
            "Runtime.exceptionThrown" => parameters["exceptionDetails"].to_string(),
            "Runtime.consoleAPICalled" => parameters["args"].to_string(),
            "Log.entryAdded" => parameters["entry"].to_string(),
            _ => return Ok(()),
        };
        self.complaints.push(complaint);
        Ok(())
    }

    fn log_in(&mut self, request: &Value) -> Result<()> {
        let answer = match &self.login {
            Some((name, password)) => {
                json!({ "response": "ProvideCredentials", "username": name, "password": password })
            }
            None => json!({ "response": "CancelAuth" }),
        };
        let parameters = json!({ "requestId": request, "authChallengeResponse": answer });
        self.send("Fetch.continueWithAuth", &parameters).map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        // Its helpers end with it; it may have ended by itself.
        drop(self.send("Browser.close", &json!({})));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
