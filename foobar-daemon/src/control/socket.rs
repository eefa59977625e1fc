//! The socket file: made so that only those who may can open it, replaced when its daemon is dead.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        socket::{getsockopt, sockopt::PeerCredentials},
        stat::{Mode, umask},
    },
    unistd::chown,
};

use super::peer;

/// The bound socket; the file goes away with this value.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Device and inode, so that nobody else's file is removed.
    file: (u64, u64),
}

impl ControlSocket {
    /// Binds the socket, with its folder if there is none. One that a dead daemon left behind is replaced.
    ///
    /// # Errors
    /// When a living daemon has it, with its process id; when the path is something else; when it cannot be made.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        let shown = path.display();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .with_context(|| format!("make the folder of the control socket {shown}"))?;
        }
        clear_away(path)?;
        // Between bind and chmod the socket must not be open to everyone.
        let before = umask(Mode::from_bits_truncate(0o117));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener =
            bound.with_context(|| format!("bind the control socket {shown}; name another with --control"))?;
        let metadata = fs::metadata(path).with_context(|| format!("look at the control socket {shown}"))?;
        let socket = Self { path: path.to_path_buf(), file: (metadata.dev(), metadata.ino()) };
        if let Some(group) = peer::group() {
            chown(path, None, Some(group))
                .with_context(|| format!("give the control socket {shown} to the group {}", peer::GROUP))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .with_context(|| format!("set the rights of the control socket {shown}"))?;
        listener.set_nonblocking(true).with_context(|| format!("prepare the control socket {shown}"))?;
        Ok((socket, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let own = fs::metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("remove the control socket {}: {error}", self.path.display());
        }
    }
}

/// Makes the path free, unless somebody answers there.
fn clear_away(path: &Path) -> Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {shown}")),
    };
    if !metadata.file_type().is_socket() {
        bail!("{shown} exists and is no socket; move it away or name another path with --control");
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = getsockopt(&stream, PeerCredentials).map(|credentials| credentials.pid());
            let whose = pid.map(|pid| format!(" with process id {pid}")).unwrap_or_default();
            bail!(
                "a foobar daemon{whose} answers on the control socket {shown}; ask it with `foobar status`, end \
                 it, or name another path with --control"
            )
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!("replacing the control socket {shown}, which a daemon that is gone left behind");
            fs::remove_file(path).with_context(|| format!("remove the old control socket {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("try the control socket {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("control.sock");
        let (socket, listener) = ControlSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);

        let error = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process id {}", std::process::id())), "{error}");

        std::mem::forget(socket);
        drop(listener);
        assert!(path.exists(), "as after kill -9");
        let (socket, _listener) = ControlSocket::bind(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(ControlSocket::bind(&path).unwrap_err().to_string().contains("is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
