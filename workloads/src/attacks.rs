//! The guests that mean harm, for the isolation suite.

/// The images that `build.rs` made of `attacks/<name>.rs`.
macro_rules! images {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".elf")).as_slice())),*]
    };
}

static ATTACKS: [(&str, &[u8]); 8] =
    images!["deputy", "flood", "ports", "privileged", "recurse", "selfmod", "spy", "trespass"];

/// The ring-3 attack of this name: a program as those of the catalogue are.
pub fn attack(name: &str) -> Option<&'static [u8]> {
    ATTACKS.iter().find(|(known, _)| *known == name).map(|(_, elf)| *elf)
}

/// The hostile kernel, a PVH image as [`crate::kernel`] is; the last letter of its command line names the attack.
pub fn hostile_kernel() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/hostile.elf"))
}
