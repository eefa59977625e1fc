//! Who may use the control socket: root, the daemon's own user, and the group `foobar`.

use std::{ffi::CString, fmt};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::unix::UCred;

/// The group whose members may use the socket.
pub const GROUP: &str = "foobar";

/// The process at the other end of a connection, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// The other groups of its user.
    pub groups: Vec<u32>,
    /// Name of its user, if it has one.
    pub user: Option<String>,
    /// Its process id, if it is in this process namespace or below.
    pub pid: Option<i32>,
}

impl Peer {
    /// Looks up who a peer is.
    pub fn from_credentials(credentials: &UCred) -> Self {
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let groups = user
            .as_ref()
            .and_then(|user| {
                let name = CString::new(user.name.as_str()).ok()?;
                getgrouplist(&name, user.gid).ok()
            })
            .unwrap_or_default();
        Self {
            uid,
            gid,
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            user: user.map(|user| user.name),
            pid: credentials.pid(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uid = self.uid;
        match (&self.user, self.pid) {
            (Some(user), Some(pid)) => write!(formatter, "{user} (uid {uid}, pid {pid})"),
            (Some(user), None) => write!(formatter, "{user} (uid {uid})"),
            (None, Some(pid)) => write!(formatter, "uid {uid} (pid {pid})"),
            (None, None) => write!(formatter, "uid {uid}"),
        }
    }
}

/// Who may use the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The daemon's own user.
    pub own_uid: u32,
    /// The group `foobar`, if there is one.
    pub group: Option<u32>,
}

impl Allowed {
    /// What this machine says.
    pub fn here() -> Self {
        Self { own_uid: Uid::effective().as_raw(), group: group().map(Gid::as_raw) }
    }

    /// Whether this peer may.
    pub fn allows(&self, peer: &Peer) -> bool {
        let member = |group| peer.gid == group || peer.groups.contains(&group);
        peer.uid == 0 || peer.uid == self.own_uid || self.group.is_some_and(member)
    }
}

/// The group `foobar`, if there is one.
pub fn group() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_group_may() {
        let allowed = Allowed { own_uid: 900, group: Some(50) };
        for (what, uid, gid, groups, may) in [
            ("root", 0, 0, vec![], true),
            ("the daemon's user", 900, 900, vec![], true),
            ("primary group", 1000, 50, vec![], true),
            ("supplementary group", 1000, 1000, vec![27, 50], true),
            ("another group", 1000, 1000, vec![27, 0], false),
            ("group root", 1000, 0, vec![], false),
            ("nobody", 65_534, 65_534, vec![], false),
        ] {
            let peer = Peer { uid, gid, groups, user: None, pid: None };
            assert_eq!(allowed.allows(&peer), may, "{what}");
        }
    }

    #[test]
    fn without_the_group_nobody_is_a_member() {
        let allowed = Allowed { own_uid: 0, group: None };
        let peer = Peer { uid: 1000, gid: 50, groups: vec![50], user: None, pid: None };
        assert!(!allowed.allows(&peer));
    }

    #[test]
    fn a_peer_shows_who_it_is() {
        let peer = Peer { uid: 0, gid: 0, groups: vec![], user: Some("root".to_owned()), pid: Some(7) };
        assert_eq!(peer.to_string(), "root (uid 0, pid 7)");
        let peer = Peer { user: None, pid: None, ..peer };
        assert_eq!(peer.to_string(), "uid 0");
    }
}
