//! Links between the program and interfaces.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where in the kernel the program runs, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Native where the driver can, otherwise generic.
    #[default]
    Auto,
    /// In the driver, before the kernel allocates anything.
    Native,
    /// In the network stack: works with every driver, slower.
    Generic,
}

/// Where in the kernel the program runs, in fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

/// An interface and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its index, or `None` while it does not exist.
    pub index: Option<u32>,
    /// How the program is attached, or `None` if it is not.
    pub mode: Option<AttachedMode>,
    /// Why it is not native though native was tried first.
    pub fallback: Option<String>,
    /// Id of the program that was put there.
    pub expected_program: Option<u32>,
    /// Id of the program that the kernel says is there.
    pub found_program: Option<u32>,
}
