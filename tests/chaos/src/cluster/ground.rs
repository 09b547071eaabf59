//! What the processes stand on: ports, and a small file system that can be filled.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Below those that the system hands out, so that a server finds its own port free when it comes back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Room for the longest run's rows and logs of the database.
const DISK_BYTES: u64 = 1_500_000_000;

/// A loopback address that nobody listens on.
pub fn free_address(rng: &mut StdRng) -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rng.random_range(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A directory for a database; a file system of its own where we may mount one.
pub struct Disk {
    path: PathBuf,
    mounted: bool,
}

impl Disk {
    pub fn prepare(path: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<Self> {
        std::fs::create_dir(path)?;
        let (uid, gid) = owner.unwrap_or_else(|| {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        });
        let options = format!("size={DISK_BYTES},mode=700,uid={uid},gid={gid}");
        let options = std::ffi::CString::new(options)?;
        let mounted =
            mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).is_ok();
        if !mounted {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(Self { path: path.to_owned(), mounted })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Only a file system of its own may be filled.
    pub fn can_be_filled(&self) -> bool {
        self.mounted
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.mounted, "this disk is everybody's");
        let mut file = std::fs::File::create(self.filler())?;
        let block = vec![0_u8; 64 * 1024];
        for size in [block.len(), 4096, 1] {
            while std::io::Write::write_all(&mut file, &block[..size]).is_ok() {}
        }
        Ok(())
    }

    pub fn free(&self) {
        // It may have been freed already.
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}
