//! A guest image as a file that a child process can open, without a trace on disk where Linux allows it.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempPath;

/// Lowest number of an image's descriptor.
const FIRST_FD: RawFd = 16;

/// A read-only file that lives as long as this value.
#[derive(Debug)]
pub(super) enum Image {
    /// In memory, sealed against every change.
    Memory(File),
    /// A temporary file, where the host forbids executable memory files (`vm.memfd_noexec`).
    Disk(TempPath),
}

impl Image {
    /// A file with these bytes, which may also be executed.
    pub(super) fn new(bytes: &[u8]) -> io::Result<Self> {
        Self::in_memory(bytes).or_else(|_| Self::on_disk(bytes))
    }

    /// The path under which this process opens the file, and a child too that inherits [`Image::fd`].
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Memory(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            Self::Disk(path) => path.to_path_buf(),
        }
    }

    /// The descriptor that [`Image::path`] depends on, if it does.
    pub(super) fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Memory(file) => Some(file.as_raw_fd()),
            Self::Disk(_) => None,
        }
    }

    fn in_memory(bytes: &[u8]) -> io::Result<Self> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // Linux before 6.3 does not know MFD_EXEC, and needs it not.
        let mut file = memfd(flags | libc::MFD_EXEC).or_else(|_| memfd(flags))?;
        file.write_all(bytes)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
        // SAFETY: the call takes a descriptor, which `file` keeps open, and two integers.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self::Memory(file))
    }

    fn on_disk(bytes: &[u8]) -> io::Result<Self> {
        let mut file =
            tempfile::Builder::new().prefix("evlab-").permissions(Permissions::from_mode(0o700)).tempfile()?;
        file.write_all(bytes)?;
        // Closes the descriptor: Linux executes no file that is open for writing.
        Ok(Self::Disk(file.into_temp_path()))
    }
}

fn memfd(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name is a C string that outlives the call, which returns a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"evlab".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created, so nothing else owns it.
    let low = unsafe { File::from_raw_fd(fd) };
    // A child may be given descriptors with fixed low numbers, which would then replace the image.
    // SAFETY: the call takes a descriptor, which `low` keeps open, and two integers, and returns a new one or -1.
    let fd = unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FD) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_hold_the_bytes_and_refuse_change() {
        for image in [Image::new(b"bytes"), Image::on_disk(b"bytes")] {
            let image = image.expect("the host has memory or a temporary folder");
            assert_eq!(std::fs::read(image.path()).expect("it can be read"), b"bytes");
            if let Image::Memory(mut file) = image {
                assert!(file.write_all(b"more").is_err(), "it is sealed");
            }
        }
    }

    #[test]
    fn a_temporary_file_goes_with_its_value() {
        let image = Image::on_disk(b"bytes").expect("there is a temporary folder");
        let path = image.path();
        assert!(path.exists());
        drop(image);
        assert!(!path.exists());
    }
}
