//! KVM's binary statistics (KVM_GET_STATS_FD, Linux 5.14; Linux `Documentation/virt/kvm/api.rst`, 4.133).
//!
//! The file of a VM or of a vCPU holds a header, a block of descriptors and a block of 64-bit values; only the values
//! change, so the descriptors are read once.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_bindings::{KVM_STATS_TYPE_CUMULATIVE, KVM_STATS_TYPE_INSTANT, KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_PEAK};

use crate::counters::{Counter, Nature, Source};

/// `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// `struct kvm_stats_header`: flags, name_size, num_desc, id_offset, desc_offset, data_offset; 32 bits each.
const HEADER_SIZE: usize = 24;
/// `struct kvm_stats_desc` without its name: flags, exponent and size (16 bits each), offset, bucket_size.
const DESCRIPTOR_SIZE: usize = 16;
/// No KVM has more; guards against a file of another format.
const MAX_DESCRIPTORS: u32 = 4096;
const MAX_NAME: u32 = 1024;

/// One statistics file.
#[derive(Debug)]
pub(crate) struct KvmStats {
    file: File,
    data_offset: u64,
    data_size: usize,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    nature: Nature,
    offset: usize,
}

impl KvmStats {
    /// Opens the statistics of a VM or vCPU; `prefix` goes before every name.
    pub(crate) fn open(owner: &impl AsRawFd, prefix: &str) -> io::Result<Self> {
        // SAFETY: the request takes no argument and returns a new descriptor or an error.
        let fd = unsafe { libc::ioctl(owner.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        let mut header = [0; HEADER_SIZE];
        file.read_exact_at(&mut header, 0)?;
        let [name_size, count, _, desc_offset, data_offset] = [4, 8, 12, 16, 20].map(|at| u32_at(&header, at));
        if count > MAX_DESCRIPTORS || name_size > MAX_NAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "implausible KVM statistics header"));
        }
        let stride = DESCRIPTOR_SIZE + name_size as usize;
        let mut block = vec![0; stride * count as usize];
        file.read_exact_at(&mut block, u64::from(desc_offset))?;
        let fields: Vec<_> = block.chunks_exact(stride).filter_map(|d| field(d, prefix)).collect();
        let data_size = fields.iter().map(|f| f.offset + 8).max().unwrap_or(0);
        Ok(Self { file, data_offset: u64::from(data_offset), data_size, fields })
    }

    /// Reads the values now.
    pub(crate) fn read(&self) -> io::Result<Vec<Counter>> {
        let mut data = vec![0; self.data_size];
        self.file.read_exact_at(&mut data, self.data_offset)?;
        let counter = |f: &Field| {
            let mut value = [0; 8];
            value.copy_from_slice(&data[f.offset..f.offset + 8]);
            let value = u64::from_le_bytes(value);
            Counter { source: Source::Kvm, name: f.name.clone().into(), value, nature: f.nature }
        };
        Ok(self.fields.iter().map(counter).collect())
    }
}

/// Reads a descriptor; histograms, which are no single number, are left out.
fn field(descriptor: &[u8], prefix: &str) -> Option<Field> {
    let flags = u32_at(descriptor, 0);
    let values = u16::from_le_bytes([descriptor[6], descriptor[7]]);
    let offset = u32_at(descriptor, 8) as usize;
    let nature = match flags & KVM_STATS_TYPE_MASK {
        KVM_STATS_TYPE_CUMULATIVE => Nature::Cumulative,
        KVM_STATS_TYPE_INSTANT | KVM_STATS_TYPE_PEAK => Nature::Level,
        _ => return None,
    };
    // 1 MiB of values is far above any kernel's; it bounds the buffer.
    if values != 1 || offset > 1 << 20 {
        return None;
    }
    let name = descriptor[DESCRIPTOR_SIZE..].split(|&b| b == 0).next().unwrap_or_default();
    Some(Field { name: format!("{prefix}{}", String::from_utf8_lossy(name)), nature, offset })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: u32, values: u16, offset: u32, name: &str) -> Vec<u8> {
        let mut d = kind.to_le_bytes().to_vec();
        d.extend_from_slice(&0u16.to_le_bytes());
        d.extend_from_slice(&values.to_le_bytes());
        d.extend_from_slice(&offset.to_le_bytes());
        d.extend_from_slice(&0u32.to_le_bytes());
        d.extend_from_slice(name.as_bytes());
        d.resize(DESCRIPTOR_SIZE + 48, 0);
        d
    }

    #[test]
    fn descriptors_are_read_and_histograms_left_out() {
        let exits = field(&descriptor(KVM_STATS_TYPE_CUMULATIVE, 1, 16, "exits"), "").unwrap();
        assert_eq!(exits, Field { name: "exits".into(), nature: Nature::Cumulative, offset: 16 });
        let pages = field(&descriptor(KVM_STATS_TYPE_INSTANT, 1, 8, "pages_4k"), "vm.").unwrap();
        assert_eq!((pages.name.as_str(), pages.nature), ("vm.pages_4k", Nature::Level));
        assert_eq!(field(&descriptor(kvm_bindings::KVM_STATS_TYPE_LOG_HIST, 32, 0, "halt"), ""), None);
        assert_eq!(field(&descriptor(KVM_STATS_TYPE_CUMULATIVE, 1, u32::MAX, "far"), ""), None);
    }
}
