//! A small file system of its own, for a disk that runs full.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own in memory, gone with the value.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs of that size; this needs root or sudo.
    #[must_use]
    pub fn mount(megabytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        fs::create_dir(&path).expect("mount point");
        let options = format!("size={megabytes}m,mode=777");
        let as_root = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).arg(&path);
            command.status().is_ok_and(|status| status.success())
        };
        let mounted = as_root("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"])
            || as_root(
                "sudo",
                &["-n", "mount", "-t", "tmpfs", "-o", &options, "tmpfs"],
            );
        assert!(
            mounted,
            "this test mounts a tmpfs, so it needs root or sudo"
        );
        Self {
            path,
            _folder: folder,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of at most `bytes`, or until nothing more fits.
    #[must_use]
    pub fn ballast(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path.join(name);
        let mut file = File::create(&path).expect("a name is free");
        let block = vec![7_u8; 4096];
        let mut written = 0;
        while written < bytes && file.write_all(&block).is_ok() {
            written += block.len();
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for program in [&["umount", "-l"][..], &["sudo", "-n", "umount", "-l"][..]] {
            let (first, rest) = program.split_first().expect("a program");
            let done = Command::new(first).args(rest).arg(&self.path).status();
            if done.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}
