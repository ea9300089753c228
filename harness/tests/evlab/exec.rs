//! `evlab exec`: every option, the whole of the JSON, and several engines at once.

use serde_json::Value;

use crate::common::{run, stderr, stdout};

const EMULATORS: [&str; 3] = ["emu-naive", "emu-interp", "emu-dbt"];

/// Runs `evlab exec --json` with these arguments, which must end well, and returns what it prints.
fn exec(args: &[&str]) -> Value {
    let output = run(&[&["exec", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

/// The engines on which code is executed here: the processor's too, where the host lets it.
fn engines() -> Vec<&'static str> {
    let output = run(&["exec", "--bytes", "90", "--engine", "native"]);
    let mut engines = EMULATORS.to_vec();
    if output.status.success() {
        engines.push("native");
    } else {
        assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "{}", stderr(&output));
        println!("not tested on native: {}", stderr(&output));
    }
    engines
}

#[test]
fn json_holds_the_whole_state() {
    for engine in engines() {
        let st0 = "st0=0x3fff8000000000000001";
        let registers = ["rax=41", "ymm1=0x1_00000000_00000000_00000000_00000002", st0, "ftw=1", "fs_base=0x1234"];
        let state = exec(&["--bytes", "48 ff c0", "--engine", engine, "--reg", &registers.join(",")]);
        assert_eq!((&state["engine"], &state["mode"]), (&engine.into(), &64.into()));
        assert_eq!((&state["end"], &state["exception"]), (&"hlt".into(), &Value::Null));
        let registers = state["registers"].as_object().expect("registers");
        for name in ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r15", "rip", "rflags"] {
            assert_eq!(registers[name].as_str().map(str::len), Some(18), "{name}");
        }
        assert_eq!(registers["rax"], "0x000000000000002a");
        assert_eq!(registers["rip"], "0x0000000000400004");
        assert_eq!(registers["rflags"], "0x0000000000000202");
        assert_eq!(registers["mxcsr"], "0x00001f80");
        assert_eq!(registers["cs"]["selector"], "0x0033");
        assert_eq!(registers["fs"]["base"], "0x0000000000001234");
        assert_eq!(registers["x87"]["st"][0], "0x3fff8000000000000001");
        assert_eq!(registers["x87"]["st"].as_array().map(Vec::len), Some(8));
        assert_eq!(registers["xmm"].as_array().map(Vec::len), Some(16));
        assert_eq!(registers["xmm"][1], format!("0x{:032x}", 2));
        assert_eq!(registers["ymm"][1], format!("0x{:032x}{:032x}", 1, 2));
        for segment in ["es", "cs", "ss", "ds", "fs", "gs"] {
            assert!(registers[segment]["base"].is_string(), "{segment}");
        }
    }
}

#[test]
fn exceptions_have_vector_error_code_and_address() {
    for engine in engines() {
        let fault = exec(&["--bytes", "8b 04 25 f8 0f 00 00", "--engine", engine]);
        assert_eq!(fault["end"], "exception");
        let exception = &fault["exception"];
        assert_eq!((&exception["vector"], &exception["name"]), (&14.into(), &"#PF".into()));
        assert_eq!((&exception["error_code"], &exception["address"]), (&"0x4".into(), &"0x0000000000000ff8".into()));
        let undefined = exec(&["--bytes", "0f 0b", "--engine", engine]);
        assert_eq!(undefined["exception"]["vector"], 6);
        assert_eq!(undefined["exception"]["error_code"], Value::Null);
        assert_eq!(undefined["registers"]["rip"], "0x0000000000400000");
        // Ring 3: a privileged instruction is refused.
        assert_eq!(exec(&["--bytes", "0f 20 c0", "--engine", engine])["exception"]["vector"], 13);
    }
}

#[test]
fn calls_of_a_kernel_end_it() {
    for engine in engines() {
        for (code, mode) in [("0f 05", "64"), ("cd 80", "64"), ("cd 80", "32")] {
            let state = exec(&["--bytes", code, "--mode", mode, "--engine", engine]);
            assert_eq!(state["end"], "kernel-call", "{engine}: {code}");
            assert_eq!(state["registers"]["rip"], "0x0000000000400002", "{engine}: {code}");
        }
    }
}

#[test]
fn files_maps_and_the_entry_make_up_memory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("code.bin");
    // nop; mov byte [rsi], 7; hlt
    std::fs::write(&file, [0x90, 0xc6, 0x06, 0x07, 0xf4]).expect("write the code");
    let load = format!("0x10000={}", file.display());
    for engine in engines() {
        let args = ["--load", &load, "--map", "0x20000:0x1000:rw", "--reg", "rsi=0x20010", "--entry", "0x10001"];
        let state = exec(&[&args[..], &["--engine", engine]].concat());
        assert_eq!((&state["end"], &state["registers"]["rip"]), (&"hlt".into(), &"0x0000000000010005".into()));
        let memory = state["memory"].as_array().expect("memory");
        assert_eq!(memory.len(), 1);
        assert_eq!((&memory[0]["address"], &memory[0]["bytes"]), (&"0x20010".into(), &"07".into()));
        // Without the right to write it is a page fault of a user who writes to what is there.
        let args = ["--load", &load, "--map", "0x20000:0x1000:r", "--reg", "rsi=0x20010"];
        let state = exec(&[&args[..], &["--engine", engine]].concat());
        assert_eq!(state["exception"]["error_code"], "0x7");
    }
}

#[test]
fn the_mode_decides_what_bytes_mean() {
    for engine in engines() {
        // dec eax; in 64-bit mode a REX prefix before the hlt.
        let state = exec(&["--bytes", "48", "--mode", "32", "--reg", "eax=5", "--engine", engine]);
        assert_eq!((&state["mode"], &state["registers"]["rax"]), (&32.into(), &"0x0000000000000004".into()));
        assert_eq!(state["registers"]["cs"]["selector"], "0x0023");
        let state = exec(&["--bytes", "48", "--mode", "64", "--reg", "rax=5", "--engine", engine]);
        assert_eq!(state["registers"]["rax"], "0x0000000000000005");
    }
}

#[test]
fn a_budget_ends_what_does_not_end() {
    for engine in engines() {
        let state = exec(&["--bytes", "48 ff c0 eb fb", "--budget", "1000", "--engine", engine]);
        assert_eq!(state["end"], "budget");
        if EMULATORS.contains(&engine) {
            assert_eq!(state["registers"]["rax"], format!("{:#018x}", 500));
        }
    }
}

#[test]
fn several_engines_print_what_differs() {
    let all = engines().join(",");
    let same = run(&["exec", "--bytes", "48 ff c0", "--engine", &all]);
    assert!(same.status.success() && stdout(&same).ends_with("all engines agree\n"), "{}", stdout(&same));
    let json = exec(&["--bytes", "48 ff c0", "--engine", &all]);
    assert_eq!(json["engines"].as_array().map(Vec::len), Some(engines().len()));
    assert_eq!((&json["differences"], &json["undefined"]), (&Value::Array(vec![]), &Value::Array(vec![])));

    // RDTSC answers differently each time.
    let other = run(&["exec", "--bytes", "0f 31", "--engine", "emu-naive,emu-interp"]);
    assert_eq!(other.status.code(), Some(1), "{}", stdout(&other));
    assert!(stdout(&other).contains("differs, emu-naive != emu-interp: rax: "), "{}", stdout(&other));
    let other = run(&["exec", "--json", "--bytes", "0f 31", "--engine", "emu-naive,emu-interp"]);
    let json: Value = serde_json::from_str(&stdout(&other)).expect("JSON");
    let row = &json["differences"][0];
    assert_eq!(row["what"], "rax");
    assert!(row["emu-naive"].is_string() && row["emu-interp"].is_string() && row["emu-naive"] != row["emu-interp"]);
}

#[test]
fn bad_input_is_refused_in_one_sentence() {
    for (args, says) in [
        (&[][..], "--bytes"),
        (&["--bytes", "90", "--entry", "0xffff800000000000"], "ring 3"),
        (&["--bytes", "90", "--reg", "rflags=0x20000"], "rflags"),
        (&["--load", "0x1000=/nonexistent"], "/nonexistent"),
    ] {
        let output = run(&[&["exec"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert!(text.lines().count() == 1 && text.contains(says), "{args:?}: {text}");
    }
}
