//! Small file systems of a test's own.

use std::path::Path;
use std::process::Command;

/// One of them, taken away when dropped.
pub struct Disk {
    folder: tempfile::TempDir,
    /// The file that holds it, where it is not in memory.
    image: Option<tempfile::TempDir>,
}

impl Disk {
    /// One in memory; `None`, having said so, where nothing can be mounted.
    pub fn in_memory(mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={mib}m");
        let mount = ["-t", "tmpfs", "-o", &options, "nrtest"];
        mounted(Command::new("mount").args(mount).arg(folder.path()))?;
        Some(Self { folder, image: None })
    }

    /// One of this kind in a file, such as `ext4`.
    pub fn in_file(kind: &str, mib: u64) -> Option<Self> {
        let (folder, holder) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let image = holder.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("a file");
        let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: mkfs.{kind} is not to be had: scripts/install test");
            return None;
        }
        mounted(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder.path()))?;
        Some(Self { folder, image: Some(holder) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts it otherwise: `size=9m`.
    pub fn remount(&self, options: &str) {
        let output =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.path()).output();
        assert!(output.expect("mount runs").status.success(), "{options}");
    }

    /// Mounts it again from its file, in which something was done meanwhile.
    pub fn mounted_again(&self, meanwhile: impl FnOnce(&Path)) {
        let image = self.image.as_ref().expect("it is in a file").path().join("image");
        let unmounted = Command::new("umount").arg(self.path()).output().expect("umount runs");
        assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
        meanwhile(&image);
        mounted(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(self.path())).expect("mounted");
    }

    /// Fills it but for so many bytes.
    pub fn fill_but(&self, bytes: u64) {
        let found = rustix::fs::statvfs(self.path()).expect("figures");
        let other = std::fs::File::create(self.path().join("other")).expect("a file");
        let size = (found.f_bavail * found.f_frsize).saturating_sub(bytes);
        rustix::fs::fallocate(&other, rustix::fs::FallocateFlags::empty(), 0, size).expect("room");
    }
}

fn mounted(command: &mut Command) -> Option<()> {
    let output = command.output().expect("mount runs");
    if !output.status.success() {
        eprintln!("skipped: cannot mount a file system: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success().then_some(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
