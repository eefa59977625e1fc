//! When certificates expire.

use prometheus::proto::MetricFamily;

use super::catalogue;
use crate::certificates::CertificateFacts;

pub(super) fn families(certificates: &[CertificateFacts], families: &mut Vec<MetricFamily>) {
    let mut ends = catalogue::CERTIFICATE_NOT_AFTER.family();
    let mut seen = catalogue::CERTIFICATE_SEEN.family();
    for CertificateFacts { name, address: _, not_after, problem } in certificates {
        if let Some(seconds) = not_after {
            ends.add_integer([name], *seconds);
        }
        seen.add_flag([name], problem.is_none());
    }
    families.extend([ends.into_proto(), seen.into_proto()]);
}
