//! Takes the filter of interfaces away by its pins alone, without the daemon that made it.

use std::{fs, io, path::Path};

use anyhow::Result;
use foobar_common::flow::Direction;

use super::{egress, pins::PinFolder};

/// Takes away what a daemon that no longer runs left below `pins`, and says of which interfaces.
pub fn detach_pinned(pins: &Path) -> Result<Vec<String>> {
    let pins = PinFolder::new(pins);
    let interfaces = pins.interfaces()?;
    for name in &interfaces {
        egress::remove_clsact(name);
    }
    pins.remove()?;
    Ok(interfaces)
}

/// Ends the filter of an interface, as far as nothing else holds it.
pub(super) fn remove_pins(pins: &PinFolder, interface: &str) {
    for direction in Direction::ALL {
        remove_pin(pins, direction, interface);
    }
}

/// The same in one direction.
pub(super) fn remove_pin(pins: &PinFolder, direction: Direction, interface: &str) {
    let path = pins.link(direction, interface);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("remove {}: {error}", path.display());
        }
        _ => {}
    }
    match direction {
        Direction::In => {}
        Direction::Out => egress::remove_clsact(interface),
    }
}
