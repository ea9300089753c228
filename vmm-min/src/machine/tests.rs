use std::ops::ControlFlow;

use super::*;
use crate::cpu::{MockCpu, Step};
use crate::elf_image::kernel;

const AMPLE: Limits = Limits { wall: Duration::from_secs(60), instructions: None };

#[derive(Default)]
struct Recorder {
    console: Vec<u8>,
    markers: Vec<(Marker, Instant)>,
}

impl Observer for Recorder {
    fn console(&mut self, bytes: &[u8]) {
        self.console.extend_from_slice(bytes);
    }

    fn marker(&mut self, marker: Marker, at: Instant) {
        self.markers.push((marker, at));
    }
}

fn machine(cpu: MockCpu) -> Machine {
    let file = kernel(b"\xf4");
    let mut spec = GuestSpec::new(&file[..]);
    spec.ram_mib = 4;
    Machine::with_cpu(&spec, |_| Ok(Box::new(cpu))).unwrap()
}

fn run(script: impl IntoIterator<Item = Step>) -> (Outcome, Recorder) {
    let mut recorder = Recorder::default();
    let outcome = machine(MockCpu::new(script)).run(AMPLE, &mut recorder).unwrap();
    (outcome, recorder)
}

fn markers(bytes: &[u8]) -> Vec<Step> {
    bytes.iter().map(|&b| Step::out(0xe9, b)).collect()
}

#[test]
fn a_whole_run() {
    let mut script = markers(b"UB");
    script.extend([Step::out(0x80, 0), Step::out(0x3f8, b'h'), Step::MmioRead(1 << 40), Step::IrqWindow]);
    script.extend(markers(b"EX07"));
    script.extend([Step::out(0x3f8, b'i'), Step::out(0xf4, 7)]);
    let (outcome, recorder) = run(script);

    assert_eq!((outcome.end.clone(), outcome.exit_code()), (End::Exited(7), Some(7)));
    assert_eq!((&outcome.console[..], &recorder.console[..]), (&b"hi"[..], &b"hi"[..]));
    let roi = outcome.roi.unwrap();
    let expected = [Marker::Ring3, Marker::Begin, Marker::End, Marker::ExitCode(7)];
    assert_eq!(recorder.markers.iter().map(|m| m.0).collect::<Vec<_>>(), expected);
    assert_eq!(recorder.markers[0].1, outcome.ring3_at.unwrap());
    assert_eq!((recorder.markers[1].1, recorder.markers[2].1), (roi.begin, roi.end));

    // Inside: 0x80, 0x3f8, MMIO, the window, and E itself.
    let value = |name| outcome.counter(name).unwrap();
    assert_eq!((value("exit.io"), value("exit.mmio"), value("exit.irq_window"), value("exit.total")), (3, 1, 1, 5));
    assert_eq!((value("total.exit.io"), value("total.exit.total")), (10, 12));
    assert_eq!((value("steps"), value("total.steps")), (5, 12));
    assert_eq!(outcome.guest_instructions, Some(5));
    assert!(outcome.counter("total.startup.load_ns").is_some());
}

#[test]
fn forged_and_repeated_markers_do_not_count() {
    let mut script = markers(b"EB");
    script.push(Step::out(0x80, 0));
    script.extend(markers(b"BUEEBEX0"));
    script.extend([Step::out(0xf4, 0)]);
    let (outcome, recorder) = run(script);
    let seen: Vec<_> = recorder.markers.iter().map(|m| m.0).collect();
    assert_eq!(seen, [Marker::Begin, Marker::Ring3, Marker::End]);
    // From the first B: 0x80, B, U, E.
    assert_eq!(outcome.counter("exit.io"), Some(4));
}

#[test]
fn an_unfinished_region_yields_totals_only() {
    let mut script = markers(b"UB");
    script.push(Step::out(0xf4, 1));
    let (outcome, _) = run(script);
    assert_eq!((outcome.roi, outcome.guest_instructions, outcome.counter("exit.io")), (None, None, None));
    assert_eq!(outcome.counter("total.exit.io"), Some(3));
}

#[test]
fn every_bad_end_has_its_name_and_dump() {
    let end = |step: Step| run([step]).0.end;
    assert!(matches!(end(Step::Hlt), End::Halted(_)));
    assert!(matches!(end(Step::Shutdown), End::TripleFault(_)));
    let failed = end(Step::Fail("the CPU caught fire"));
    assert!(failed.to_string().contains("the CPU caught fire"));
    assert!(failed.dump().unwrap().to_string().contains("rip "));
}

#[test]
fn an_exit_code_survives_halting() {
    let mut script = markers(b"X2a");
    script.push(Step::Hlt);
    assert_eq!(run(script).0.end, End::Exited(0x2a));
}

#[test]
fn the_time_limit_stops_spinning_and_storms() {
    let limits = Limits { wall: Duration::from_millis(20), instructions: None };
    for cpu in [MockCpu::new([Step::Spin]), MockCpu::repeating([Step::out(0x80, 0)])] {
        let outcome = machine(cpu).run(limits, &mut ()).unwrap();
        assert!(matches!(outcome.end, End::TimeLimit(_)), "{}", outcome.end);
    }
}

#[test]
fn no_limit_is_too_long() {
    let limits = Limits { wall: Duration::MAX, instructions: None };
    let outcome = machine(MockCpu::new([Step::out(0xf4, 3)])).run(limits, &mut ()).unwrap();
    assert_eq!(outcome.end, End::Exited(3));
}

#[test]
fn the_instruction_limit_holds() {
    let limits = Limits { instructions: Some(100), ..AMPLE };
    let outcome = machine(MockCpu::repeating([Step::out(0x80, 0)])).run(limits, &mut ()).unwrap();
    assert!(matches!(outcome.end, End::InstructionLimit(_)));
    assert_eq!(outcome.counter("total.exit.io"), Some(100));
}

#[test]
fn a_kick_without_a_stop_changes_nothing() {
    let cpu = MockCpu::new([Step::out(0x80, 0), Step::out(0xf4, 3)]);
    cpu.kicker().kick();
    let outcome = machine(cpu).run(AMPLE, &mut ()).unwrap();
    assert_eq!((outcome.end.clone(), outcome.counter("total.exit.intr")), (End::Exited(3), Some(1)));
}

#[test]
fn a_stopped_machine_says_so() {
    let machine = machine(MockCpu::new([Step::Spin]));
    let handle = machine.stop_handle();
    let run = std::thread::spawn(move || machine.run(AMPLE, &mut ()).unwrap());
    handle.stop();
    assert_eq!(run.join().unwrap().end, End::Stopped);
}

#[test]
fn reads_are_answered_and_long_writes_served() {
    let cpu = MockCpu::new([
        Step::In { port: 0x1234, size: 4, len: 4 },
        Step::In { port: 0x3fd, size: 1, len: 3 },
        Step::In { port: 0xffff, size: 2, len: 2 },
        Step::MmioRead(0xd000_0000),
        Step::MmioWrite(0xd000_0000),
        Step::Out { port: 0x3f8, size: 1, data: vec![b'x'; 4096] },
        Step::out(0xf4, 0),
    ]);
    let seen = cpu.seen();
    let outcome = machine(cpu).run(AMPLE, &mut ()).unwrap();
    assert_eq!(outcome.console, vec![b'x'; 4096]);
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, [vec![0xff; 4], vec![0x60; 3], vec![0xff; 2], vec![0xff; 4]]);
}

#[test]
fn a_flood_on_the_console_is_cut_with_a_note() {
    let flood = Step::Out { port: 0x3f8, size: 1, data: vec![b'x'; 4096] };
    let mut script = vec![flood; 300];
    script.push(Step::out(0xf4, 0));
    let (outcome, recorder) = run(script);
    assert_eq!(recorder.console.len(), 300 * 4096, "the observer hears everything");
    assert!(outcome.console.ends_with(b"[console truncated: 180224 more bytes]\n"));
}

/// Programs the controllers for the vectors from 0x20 on, and the timer for 1193 ticks, 1 ms, in `mode`.
fn timer(mode: u8) -> Vec<Step> {
    let writes = [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x43, 0x30 | mode << 1), (0x40, 0xa9), (0x40, 4)];
    writes.map(|(port, value)| Step::out(port, value)).into()
}

#[test]
fn a_halted_guest_sleeps_from_tick_to_tick() {
    let mut script = timer(2);
    script.extend([Step::Hlt, Step::Hlt, Step::Hlt, Step::out(0xf4, 0)]);
    let cpu = MockCpu::new(script).interruptible();
    let interrupts = cpu.interrupts();
    let begin = Instant::now();
    let outcome = machine(cpu).run(AMPLE, &mut ()).unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert!(begin.elapsed() >= Duration::from_millis(2), "from the first tick to the third");
    let taken = interrupts.lock().unwrap().clone();
    assert!(taken.len() >= 3 && taken.iter().all(|&vector| vector == 0x20), "{taken:x?}");
    let value = |name| outcome.counter(name).unwrap();
    assert_eq!((value("total.irq.timer"), value("total.irq.spurious")), (taken.len() as u64, 0));
    assert_eq!(value("total.exit.hlt"), 3);
    assert!(value("total.idle_ns") >= 1_000_000 && value("total.exit.hlt_ns") < value("total.idle_ns"));
}

#[test]
fn a_tick_interrupts_a_guest_that_runs() {
    let mut script = timer(2);
    script.extend([Step::Spin, Step::Spin, Step::out(0xf4, 0)]);
    let cpu = MockCpu::new(script).interruptible();
    let outcome = machine(cpu).run(AMPLE, &mut ()).unwrap();
    assert!(outcome.counter("total.irq.timer").unwrap() >= 2, "{outcome:?}");
    assert!(outcome.counter("total.exit.intr").unwrap() >= 2);
}

#[test]
fn a_halt_that_nothing_ends_ends_the_run() {
    let halted = |script: Vec<Step>, interruptible: bool| {
        let cpu = MockCpu::new(script.into_iter().chain([Step::Hlt, Step::Hlt]));
        let cpu = if interruptible { cpu.interruptible() } else { cpu };
        let outcome = machine(cpu).run(AMPLE, &mut ()).unwrap();
        assert!(matches!(outcome.end, End::Halted(_)), "{}", outcome.end);
        outcome.counter("total.exit.hlt").unwrap()
    };
    assert_eq!(halted(Vec::new(), true), 1, "no timer");
    assert_eq!(halted(timer(2), false), 1, "interrupts are disabled");
    let masked = [timer(2), vec![Step::out(0x21, 1)]].concat();
    assert_eq!(halted(masked, true), 1, "the timer's line is masked");
    assert_eq!(halted(timer(0), true), 2, "a timer that fires once");
}

#[test]
fn a_sleeping_guest_can_be_stopped_and_times_out() {
    // 18 ticks a second would wake it; the limit comes first.
    let slow = [timer(2), vec![Step::out(0x43, 0x34), Step::out(0x40, 0), Step::out(0x40, 0), Step::Hlt]].concat();
    let limits = Limits { wall: Duration::from_millis(5), instructions: None };
    let outcome = machine(MockCpu::new(slow.clone()).interruptible()).run(limits, &mut ()).unwrap();
    assert!(matches!(outcome.end, End::TimeLimit(_)), "{}", outcome.end);
    let machine = machine(MockCpu::repeating([Step::Hlt]).interruptible());
    let handle = machine.stop_handle();
    handle.stop();
    assert_eq!(machine.run(AMPLE, &mut ()).unwrap().end, End::Stopped);
}

#[test]
fn a_guest_that_asks_for_a_million_ticks_gets_what_the_host_serves() {
    let mut script = timer(2);
    script.extend([Step::out(0x43, 0x14), Step::out(0x40, 1)]);
    script.extend(vec![Step::Hlt; 20]);
    script.push(Step::out(0xf4, 0));
    let begin = Instant::now();
    let outcome = machine(MockCpu::new(script).interruptible()).run(AMPLE, &mut ()).unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert!(begin.elapsed() >= Duration::from_millis(1), "20 ticks, 0.1 ms apart");
}

/// Keeps what it is shown, and stops the machine at an exit for the port.
#[derive(Default)]
struct Looker {
    stop_at: Option<u16>,
    seen: Vec<Why>,
    ended: Option<End>,
}

impl Witness for Looker {
    fn exit(&mut self, exit: &SeenExit, scene: &mut Scene<'_>) -> ControlFlow<()> {
        assert!(exit.at <= Instant::now() && scene.registers().is_ok() && scene.emulated().is_none());
        assert_eq!(scene.ram().size(), 4 << 20);
        self.seen.push(exit.why.clone());
        match exit.why {
            Why::Port { port, .. } if Some(port) == self.stop_at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn ended(&mut self, end: &End, _scene: &mut Scene<'_>) {
        self.ended = Some(end.clone());
    }
}

#[test]
fn a_witness_sees_every_exit_with_its_data_and_can_stop_the_machine() {
    let script = [
        Step::out(0x3f8, b'h'),
        Step::In { port: 0x50, size: 2, len: 4 },
        Step::MmioRead(1 << 40),
        Step::MmioWrite(1 << 41),
        Step::IrqWindow,
        Step::out(0xf4, 7),
    ];
    let mut looker = Looker::default();
    let outcome = machine(MockCpu::new(script.clone())).run_watched(AMPLE, &mut (), &mut looker).unwrap();
    assert_eq!((outcome.end.clone(), looker.ended), (End::Exited(7), Some(End::Exited(7))));
    let port = |port, out, size, data: &[u8]| Why::Port { port, out, size, data: data.to_vec() };
    assert_eq!(looker.seen[0], port(0x3f8, true, 1, b"h"));
    assert_eq!(looker.seen[1], port(0x50, false, 2, &[0xff; 4]));
    assert_eq!(looker.seen[2], Why::Memory { gpa: 1 << 40, write: false, data: vec![0xff; 4] });
    assert!(matches!(&looker.seen[3], Why::Memory { gpa, write: true, data } if *gpa == 1 << 41 && data.len() == 4));
    assert_eq!(looker.seen[4..], [Why::IrqWindow, port(0xf4, true, 1, &[7])]);
    let devices: Vec<_> = looker.seen.iter().map(Why::device).collect();
    assert_eq!(devices, [Some("console"), Some("nobody"), None, None, None, Some("exit")]);

    let mut looker = Looker { stop_at: Some(0x50), ..Looker::default() };
    let outcome = machine(MockCpu::new(script)).run_watched(AMPLE, &mut (), &mut looker).unwrap();
    assert_eq!((outcome.end, looker.ended, looker.seen.len()), (End::Stopped, Some(End::Stopped), 2));
}
