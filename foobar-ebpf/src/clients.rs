//! Whom proxies speak for.
//!
//! In a connection that begins with a PROXY header, the source of packets is the proxy, and the client is whom the header
//! names. The program of the service reads it ([`crate::services`]) and keeps the client here; by that, bans and limits of
//! rules reach who hides behind a proxy, and never the proxy.
//!
//! What comes before the header, as the handshake does, has no client yet. If the limit of a rule is to be charged to one, it
//! waits: once the header is there, one packet is charged for all of them.

#![expect(clippy::needless_borrows_for_generic_args, reason = "a key that is moved is copied to the stack")]

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::ConnectionKey,
    flow::{Direction, tcp_flag::SYN},
    proxy::{CLIENTS_MAX, Client, WAITING_MAX},
    rule::{NO_RULE, uses},
    verdict::{Reason, Verdict},
};

use crate::{
    bans, classify, limit, scratch,
    services::{self, Passage},
    settings,
};

#[btf_map]
static PROXY_CLIENTS: LruHashMap<ConnectionKey, Client, { CLIENTS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static PROXY_WAITING: LruHashMap<ConnectionKey, u32, { WAITING_MAX as usize }> = LruHashMap::new();

/// Whom the present packet names.
#[btf_map]
static NOTED_CLIENT: PerCpuArray<Client, 1> = PerCpuArray::new();

/// Whether proxies speak for clients at the service with this counter slot.
#[inline(always)]
pub(crate) fn are_named(service: u32) -> bool {
    settings::uses(uses::CLIENTS)
        && services::settings_of(service).is_some_and(|settings| settings.proxy != 0)
}

/// Whether the present packet, which comes in and is counted at this port slot, is of a connection whose client is banned.
#[inline(always)]
pub(crate) fn are_banned(port: u32) -> bool {
    settings::uses(uses::CLIENTS) && client_is_banned(port) != 0
}

/// 1 if it is; 0 if it is not, or if the client is not known.
///
/// A global function: the verifier walks it once, and not in each state that a packet's headers can be in.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn client_is_banned(port: u32) -> u32 {
    if !bans::are_some() || !are_named(port) {
        return 0;
    }
    present().map_or(0, |client| u32::from(is_banned(client)))
}

#[inline(always)]
fn is_banned(client: &Client) -> bool {
    let Some(family) = client.family() else { return false };
    bans::reach_address(family, &client.address)
}

/// Whether no ban and no limit of a rule reaches a client.
#[inline(always)]
pub(crate) fn is_never_banned(client: &Client) -> bool {
    client.family().is_some_and(|family| classify::is_never_banned(family, &client.address))
}

/// The client of the present packet, which comes in; `None` if it is not known.
///
/// A function of its own, whose part of the stack others use before and after.
#[inline(never)]
pub(crate) fn present() -> Option<&'static Client> {
    let flow = &scratch::headers(Direction::In)?.flow;
    // A SYN opens another connection.
    if flow.tcp_flags & SYN != 0 {
        return None;
    }
    let place = PROXY_CLIENTS.get_ptr(ConnectionKey::of(flow, Direction::In))?;
    // SAFETY: the map gave the pointer. What is read of a client whose place another one gets meanwhile is, for one packet, a
    // mixture of both, which is the kernel's way with such maps.
    Some(unsafe { &*place })
}

#[inline(always)]
fn present_key() -> Option<ConnectionKey> {
    Some(ConnectionKey::of(&scratch::headers(Direction::In)?.flow, Direction::In))
}

/// Has the limit of the rule with this counter slot wait until it is known who the client of the present packet is.
///
/// A function of its own, as [`present`].
#[inline(never)]
pub(crate) fn wait(rule: u32) -> u32 {
    let Some(key) = present_key() else { return 0 };
    // SAFETY: a word that is read at once.
    if unsafe { PROXY_WAITING.get(&key) }.copied() != Some(rule) {
        // If it fails, what came before the header is not charged to anybody.
        let _kept: Result<(), i32> = PROXY_WAITING.insert(&key, rule, 0);
    }
    0
}

/// Notes whom the header in the present packet names, which comes in: nobody, if that is the proxy itself, or one from which
/// everything is accepted.
#[inline(always)]
pub(crate) fn note(client: &Client) {
    if let Some(place) = noted() {
        *place =
            if is_proxy(client) || Passage::is_failsafe(Direction::In) { Client::NOBODY } else { *client };
    }
}

/// Whether a header names the proxy itself, or nobody.
#[inline(always)]
fn is_proxy(client: &Client) -> bool {
    let (Some(family), Some(headers)) = (client.family(), scratch::headers(Direction::In)) else {
        return true;
    };
    headers.flow.family == family && headers.flow.source == client.address
}

/// Keeps the client that has been noted; or judges the present packet anew: it ends here if that client is banned, or over
/// the limit that waits for it. Whether it does.
///
/// In steps of their own, one after the other: inside of each other, they would not have the stack that they take.
#[inline(always)]
pub(crate) fn refuse_noted() -> bool {
    if is_noted_banned() != 0 || is_noted_over() != 0 {
        return true;
    }
    keep_noted();
    false
}

/// 1 if the client that has been noted is banned: the packet then is rejected.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_noted_banned() -> u32 {
    if !noted().is_some_and(|client| is_banned(client)) {
        return 0;
    }
    Passage::decide(Direction::In, Verdict::Reject, Reason::Ban, NO_RULE);
    1
}

/// 1 if it is over the limit that waits for it: the packet then gets what that has for it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_noted_over() -> u32 {
    let rule = waiting();
    let Some(client) = noted() else { return 0 };
    if rule == NO_RULE {
        return 0;
    }
    let Some(limit) = limit::exceeded_by(client, rule) else { return 0 };
    Passage::decide(Direction::In, settings::verdict(limit.over), Reason::Limit, limit.over_slot);
    1
}

/// The rule that waits for the client of the present packet, or [`NO_RULE`].
#[inline(never)]
fn waiting() -> u32 {
    let Some(key) = present_key() else { return NO_RULE };
    // SAFETY: a word that is read at once.
    unsafe { PROXY_WAITING.get(&key) }.copied().unwrap_or(NO_RULE)
}

/// Keeps the client that has been noted. Always zero.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn keep_noted() -> u32 {
    let (Some(key), Some(client)) = (present_key(), noted()) else { return 0 };
    if PROXY_WAITING.get_ptr(&key).is_some() {
        // Another one may have been forgotten for it.
        let _there: Result<(), i32> = PROXY_WAITING.remove(&key);
    }
    // If it fails, the client is not known.
    let _kept: Result<(), i32> = PROXY_CLIENTS.insert(&key, &*client, 0);
    0
}

#[inline(always)]
fn noted() -> Option<&'static mut Client> {
    let place = NOTED_CLIENT.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, only programs for what comes in use it, which do not interrupt each other on a
    // processor, and any two references to it are used one after the other.
    Some(unsafe { &mut *place })
}

/// Forgets the client of a connection whose ends open another one.
#[inline(always)]
pub(crate) fn forget(key: &ConnectionKey) {
    if PROXY_CLIENTS.get_ptr(key).is_some() {
        // Another one may have been forgotten for it.
        let _there: Result<(), i32> = PROXY_CLIENTS.remove(key);
    }
}
