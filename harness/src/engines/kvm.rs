//! What the engines on /dev/kvm share: whether it can be used.

use std::fs::OpenOptions;
use std::io;

use super::Availability;

/// Why /dev/kvm cannot be used and what to do about it; `None` if it can.
pub(super) fn missing() -> Option<Availability> {
    explain(OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop))
}

/// The KVM of this host, for the record.
pub(super) fn version() -> String {
    sysinfo::System::kernel_version().map_or_else(|_| "KVM".to_owned(), |release| format!("KVM of Linux {release}"))
}

fn explain(opened: io::Result<()>) -> Option<Availability> {
    let error = opened.err()?;
    let (reason, fix) = match error.kind() {
        io::ErrorKind::NotFound => (
            "this host has no /dev/kvm".to_owned(),
            "enable virtualization (VT-x, AMD-V) in the firmware and run 'modprobe kvm_intel' or 'modprobe kvm_amd'; \
             in a virtual machine, enable nested virtualization",
        ),
        io::ErrorKind::PermissionDenied => (
            "/dev/kvm may not be opened by this user".to_owned(),
            "run 'sudo usermod -aG kvm $USER' and log in again; in a container, pass --device /dev/kvm",
        ),
        _ => (format!("/dev/kvm cannot be opened: {error}"), "check with 'ls -l /dev/kvm' and 'dmesg | grep -i kvm'"),
    };
    Some(Availability::Missing { reason, fix: fix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_fix() {
        let fix = |kind: io::ErrorKind| match explain(Err(kind.into())) {
            Some(Availability::Missing { fix, .. }) => fix,
            other => panic!("{other:?}"),
        };
        assert!(fix(io::ErrorKind::NotFound).contains("modprobe"));
        assert!(fix(io::ErrorKind::PermissionDenied).contains("usermod -aG kvm"));
        assert!(fix(io::ErrorKind::ResourceBusy).contains("dmesg"));
        assert_eq!(explain(Ok(())), None);
    }
}
