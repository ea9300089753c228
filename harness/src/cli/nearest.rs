//! Which known name a user may have meant.

/// The known name most like `word`, if one is alike enough to be a slip.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| {
            let plain = name.replace('-', "_");
            // The one is good at common beginnings, the other at swapped letters.
            let alike = strsim::jaro_winkler(&word, &plain).max(strsim::normalized_damerau_levenshtein(&word, &plain));
            // Half a name is a good hint too: `interp` for `emu-interp`.
            let part = word.len() > 2 && (plain.contains(&word) || word.contains(&plain));
            (name, if part { alike.max(0.9) } else { alike })
        })
        .filter(|&(_, alike)| alike > 0.65)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::model::EngineId;

    #[test]
    fn slips_are_recognised() {
        let names = || EngineId::ALL.into_iter().map(EngineId::name);
        assert_eq!(nearest("kmv", names()), Some("kvm"));
        assert_eq!(nearest("interp", names()), Some("emu-interp"));
        assert_eq!(nearest("QEMU_KVM", names()), Some("qemu-kvm"));
        assert_eq!(nearest("zzz", names()), None);
        assert_eq!(nearest("", names()), None);
    }
}
