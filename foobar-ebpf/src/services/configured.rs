//! What the rules say of the service of a packet.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{counters::SERVICE_SLOTS, service::ServiceSettings};

#[btf_map]
static SERVICE_SETTINGS: Array<ServiceSettings, { SERVICE_SLOTS as usize }> = Array::new();

/// Those of the service with this counter slot.
#[inline(always)]
pub(crate) fn of(service: u32) -> Option<ServiceSettings> {
    SERVICE_SETTINGS.get(service).copied()
}
