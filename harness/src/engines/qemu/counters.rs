//! What QEMU can tell about a run: KVM's statistics, or the state of the translator.
//!
//! Both are totals since QEMU started. To read them at the borders of the region of interest, the guest would have to
//! be stopped there, which costs more than what is measured; so every name begins with `total.`.

use serde_json::Value;

use crate::model::Counter;

/// The counters in an answer to `query-stats` (QEMU 7.1 and later); `prefix` goes before every name. Histograms, which
/// are no single number, are left out.
pub(super) fn of_query_stats(answer: &Value, prefix: &str) -> Vec<Counter> {
    let objects = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut counters = Vec::new();
    for object in objects {
        let source = object["provider"].as_str().unwrap_or("qemu");
        for stat in object["stats"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let value = stat["value"].as_u64().or_else(|| stat["value"].as_bool().map(u64::from));
            if let (Some(name), Some(value)) = (stat["name"].as_str(), value) {
                counters.push(Counter { source: source.to_owned(), counter: format!("total.{prefix}{name}"), value });
            }
        }
    }
    counters
}

/// Lines of `info jit` and the counters that their first number becomes.
const JIT_LINES: [(&str, &str); 11] = [
    ("gen code size", "jit.code_bytes"),
    ("TB count", "jit.tb_count"),
    ("TB avg target size", "jit.tb_avg_target_bytes"),
    ("TB avg host size", "jit.tb_avg_host_bytes"),
    ("cross page TB count", "jit.tb_cross_page"),
    ("direct jump count", "jit.tb_direct_jump"),
    ("TB flush count", "jit.tb_flush"),
    ("TB invalidate count", "jit.tb_invalidate"),
    ("TLB full flushes", "tlb.flush_full"),
    ("TLB partial flushes", "tlb.flush_partial"),
    ("TLB elided flushes", "tlb.flush_elided"),
];

/// The counters in the text of `info jit`. Lines of another shape, which other versions of QEMU print, are passed over.
pub(super) fn of_info_jit(text: &str) -> Vec<Counter> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) =
                JIT_LINES.iter().find_map(|(label, name)| Some((name, line.trim_start().strip_prefix(label)?)))?;
            let digits = rest.strip_prefix([' ', '\t'])?.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let value = digits[..end].parse().ok()?;
            Some(Counter { source: "qemu".to_owned(), counter: format!("total.{name}"), value })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// From QEMU 7.2.
    const INFO_JIT: &str = "Translation buffer state:\r\ngen code size       287475/1073736704\r\n\
        TB count            497\r\nTB avg target size  20 max=254 bytes\r\n\
        TB avg host size    331 bytes (expansion ratio: 16.2)\r\ncross page TB count 1 (0%)\r\n\
        direct jump count   348 (70%) (2 jumps=263 52%)\r\nTB hash buckets     478/8192 (5.83% head buckets used)\r\n\
        \r\nStatistics:\r\nTB flush count      0\r\nTB invalidate count 2\r\nTLB full flushes    3\r\n\
        TLB partial flushes 6\r\nTLB elided flushes  426\r\n[TCG profiler not compiled]\r\n";

    fn value(counters: &[Counter], name: &str) -> Option<u64> {
        counters.iter().find(|counter| counter.counter == name).map(|counter| counter.value)
    }

    #[test]
    fn info_jit_is_read() {
        let counters = of_info_jit(INFO_JIT);
        for (name, expected) in [
            ("total.jit.code_bytes", 287_475),
            ("total.jit.tb_count", 497),
            ("total.jit.tb_avg_target_bytes", 20),
            ("total.jit.tb_avg_host_bytes", 331),
            ("total.jit.tb_cross_page", 1),
            ("total.jit.tb_direct_jump", 348),
            ("total.jit.tb_flush", 0),
            ("total.jit.tb_invalidate", 2),
            ("total.tlb.flush_full", 3),
            ("total.tlb.flush_partial", 6),
            ("total.tlb.flush_elided", 426),
        ] {
            assert_eq!(value(&counters, name), Some(expected), "{name}");
        }
        assert!(counters.iter().all(|counter| counter.source == "qemu"));
        assert_eq!(of_info_jit("Error: JIT information is only available with accel=tcg\r\n"), []);
    }

    #[test]
    fn query_stats_is_read() {
        let answer = json!([{ "provider": "kvm", "qom-path": "/machine/unattached/device[0]", "stats": [
            { "name": "exits", "value": 147 },
            { "name": "guest_mode", "value": true },
            { "name": "halt_wait_hist", "value": [0, 1] },
            { "value": 3 },
        ]}]);
        let counters = of_query_stats(&answer, "vm.");
        let names: Vec<_> = counters.iter().map(|c| (c.source.as_str(), c.counter.as_str(), c.value)).collect();
        assert_eq!(names, [("kvm", "total.vm.exits", 147), ("kvm", "total.vm.guest_mode", 1)]);
        assert_eq!(of_query_stats(&json!({ "stats": 1 }), ""), []);
        assert_eq!(of_query_stats(&json!([1, { "stats": {} }]), ""), []);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "((TB count|gen code size|TLB full flushes)[ -~\r]{0,30}\n|\\PC{0,40}\n){0,8}") {
            let lines = text.lines().count();
            prop_assert!(of_info_jit(&text).len() <= lines);
        }
    }
}
