//! Packets that rules draw, as log records.

use std::time::Duration;

use tokio::time::sleep;

use super::record::LogRecord;
use crate::{
    control::events::{Told, Wanted},
    daemon::events::Hub,
};

/// How long until it is asked again whether there are packets to watch.
const AGAIN: Duration = Duration::from_secs(5);

/// Gives each packet away that rules draw, for ever.
pub async fn follow(hub: &Hub, put: impl Fn(LogRecord)) {
    loop {
        // There is nothing to watch as long as no rule draws any, and rules change.
        if let Ok(mut watch) = hub.watch(Wanted::default()) {
            while let Some(lines) = watch.next_lines().await {
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    if let Ok(Told::Event(event)) = serde_json::from_slice(line) {
                        put(LogRecord::of_packet(&event));
                    }
                }
            }
        }
        sleep(AGAIN).await;
    }
}
