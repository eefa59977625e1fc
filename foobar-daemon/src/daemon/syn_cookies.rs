//! Whether the kernel's settings let services answer with SYN cookies, and what they can offer.

use super::writer::Writer;
use crate::{control::protocol::SynCookieFacts, sysctls, sysctls::Sysctls};

impl Writer {
    /// Looks at the kernel's settings after rules came into force; sets them, if that is wanted.
    pub(super) fn begin_syn_cookies(&mut self) {
        self.sysctls = None;
        if !self.rules.sends_cookies() {
            return;
        }
        if self.settings.set_sysctls {
            match sysctls::set() {
                Ok(changed) => changed.iter().for_each(|words| tracing::warn!("--set-sysctls: {words}")),
                Err(error) => tracing::error!("--set-sysctls: {error:#}"),
            }
        }
        self.tend_syn_cookies();
    }

    /// Looks whether they have changed: answers that offer more than the kernel takes back make connections that hang.
    pub(super) fn tend_syn_cookies(&mut self) {
        if !self.rules.sends_cookies() {
            return;
        }
        let sysctls = Sysctls::read(&self.settings.interfaces);
        if self.sysctls == Some(sysctls) {
            return;
        }
        if let Err(error) = self.filter.offer(sysctls.offer()) {
            tracing::error!("answers to SYNs offer what they did: {error:#}");
            return;
        }
        if let Some(problem) = sysctls.problem() {
            tracing::error!("no SYN cookies: {problem}");
        } else {
            tracing::info!("SYN cookies with {}", sysctls.words());
        }
        for note in sysctls.notes() {
            tracing::warn!("SYN cookies: {note}");
        }
        self.sysctls = Some(sysctls);
    }

    /// What is known of them; `None` if no service sends cookies.
    pub(super) fn syn_cookie_facts(&self) -> Option<SynCookieFacts> {
        let sysctls = self.sysctls?;
        Some(SynCookieFacts { problem: sysctls.problem(), notes: sysctls.notes(), sysctls: sysctls.words() })
    }
}
