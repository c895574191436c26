// SPDX-License-Identifier: Apache-2.0
//! What others do wrong: dead volumes, foreign frames, readers that do not read, and the monitor's own death.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, pidfd_send_signal};
use sys::seqpacket;
use wire::{ContainerPhase, ExitStatus, FailureKind, Frame, PROTOCOL_VERSION, PidNamespace, Reply, Request};

use crate::client::Client;
use crate::harness::{Choice, Pod, choice, code, go, handle, monitor_program, wait_for_end};

#[test]
fn the_death_of_the_monitor_is_the_death_of_the_pod() {
    let mut pod = Pod::open();
    let (_, own, _) = pod.start("sleep 1000 & sleep 1000");
    let (_, shared, _) = pod.start_as(Choice { pid_namespace: PidNamespace::Pod, ..choice("sleep 1000 & sleep 1000") });
    let (id, host, _) = pod.start_as(Choice { pid_namespace: PidNamespace::Host, ..choice("exec sleep 1000") });
    let exec = pod.client.ask(pod.exec_request(id, "sleep 1000", Some(Duration::from_secs(100))));
    let program = monitor_program();
    pod.client.send_frame(&Frame::Reexec, &[program.as_fd()]);
    pod.client.welcome();
    let watched = [pod.pause_pid, own, shared, host].map(handle);
    assert!(!pod.client.came(exec));
    pod.monitor.kill().unwrap();
    for process in &watched {
        wait_for_end(process);
    }
}

#[test]
fn frames_that_are_none_end_the_connection_and_nothing_else() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("sleep 1000");
    let hello = Frame::Hello { protocol: PROTOCOL_VERSION, build: "test".into() }.to_bytes();
    let request = Frame::Request { sequence: 1, request: Request::Inspect }.to_bytes();
    let event = Frame::Refused("from a daemon".into()).to_bytes();
    let cases: [&[&[u8]]; 7] = [
        &[b"\x00"],
        &[b"\x01husk"],
        &[&request],
        &[&hello, &hello],
        &[&hello, b"\x10\x01\x00\x00\x00\xff\xff"],
        &[&hello, &event],
        &[&hello, &Frame::Spilled.to_bytes()],
    ];
    for frames in cases {
        let client = Client::connect(&pod.state());
        for bytes in frames {
            seqpacket::send(client.socket.as_fd(), bytes, &[]).unwrap();
        }
        client.ended();
    }
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert!(matches!(inventory.containers[0].phase, ContainerPhase::Running { .. }));
    assert_eq!(pod.exec(id, "echo alive", None).stdout, b"alive\n");
}

#[test]
fn the_fifth_connection_is_turned_away() {
    let mut pod = Pod::watched();
    let others: Vec<Client> = (0..3).map(|_| Client::greet(&pod.state())).collect();
    Client::connect(&pod.state()).ended();
    drop(others);
    // The monitor notices the ends in its own time.
    assert!(matches!(pod.client.call(Request::Inspect), Reply::Inspected(_)));
    Client::greet(&pod.state());
}

#[test]
fn another_protocol_has_the_frozen_core_and_nothing_more() {
    let mut pod = Pod::open();
    let mut other = Client::connect(&pod.state());
    other.hello(PROTOCOL_VERSION + 1);
    assert_eq!(other.welcome().protocol, PROTOCOL_VERSION);
    let Reply::Failed(failure) = other.call(Request::Inspect) else { panic!() };
    assert_eq!(failure.kind, FailureKind::Unsupported);
    let program = monitor_program();
    other.send_frame(&Frame::Reexec, &[program.as_fd()]);
    other.welcome();
    pod.client.welcome();
    let pause = handle(pod.pause_pid);
    other.send_frame(&Frame::Kill, &[]);
    wait_for_end(&pause);
    assert!(pod.monitor_ended().success());
    assert_eq!(pod.pids(), []);
}

#[test]
fn a_reader_that_does_not_read_is_cut_off() {
    let mut pod = Pod::open();
    let (id, ..) = pod.start("sleep 1000");
    let mut slow = Client::greet(&pod.state());
    for _ in 0..40 {
        slow.ask(pod.exec_request(id, "head -c 40000 /dev/zero", None));
    }
    let mut asked = 40;
    // It asks and never reads, until its queue is full.
    while asked < 4000 && slow_ask(&mut slow) {
        asked += 1;
    }
    assert!(asked < 4000, "the monitor holds everything");
    assert_eq!(pod.exec(id, "echo alive", None).stdout, b"alive\n");
    let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
    assert_eq!(inventory.containers.len(), 1);
}

/// Sends a request whenever there is room for one; `false` once the other side has hung up.
fn slow_ask(client: &mut Client) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 30, tv_nsec: 0 };
    let mut fds = [PollFd::new(&client.socket, PollFlags::OUT)];
    assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1);
    if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        return false;
    }
    let bytes = Frame::Request { sequence: 1, request: Request::Inspect }.to_bytes();
    match seqpacket::send(client.socket.as_fd(), &bytes, &[]) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Runs a test with a dead volume, in a mount namespace that ends with its thread. The monitor must see the mount, so
/// it is started from there.
fn with_dead_volume(test: impl FnOnce(&mut Pod, DeadVolume) + Send + 'static) {
    let work = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace, which needs root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let mut pod = Pod::open();
        let at = pod.path().join("volume");
        fs::create_dir(&at).unwrap();
        let volume = DeadVolume::mount(&at);
        test(&mut pod, volume);
        pod.only_pause_is_left();
    });
    if let Err(panic) = work.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The server has read the request and never answers: the launch child is in state D and survives SIGKILL.
#[test]
fn a_dead_volume_fails_the_start_at_its_deadline() {
    with_dead_volume(|pod, volume| {
        let (neighbour, ..) = pod.start("sleep 1000");
        let dead = volume.at.join("data");
        let deadline = Duration::from_millis(1500);
        let start = pod.start_request(Choice { sources: &[&dead], deadline, ..choice("true") });
        let id = start.container;
        let begun = Instant::now();
        let sequence = pod.client.ask(Request::Start(Box::new(start)));
        volume.swallow_a_request();
        // Meanwhile everything else goes on.
        assert_eq!(pod.exec(neighbour, "echo alive", None).stdout, b"alive\n");
        assert!(!pod.client.came(sequence));
        let Reply::Failed(failure) = pod.client.reply(sequence).0 else { panic!() };
        let waited = begun.elapsed();
        assert!(deadline <= waited && waited < deadline * 4, "{waited:?}");
        let step = format!("open mount source {}", dead.display());
        assert_eq!((failure.kind, failure.step.as_deref()), (FailureKind::TimedOut, Some(step.as_str())));
        assert_eq!(pod.exec(neighbour, "echo alive", None).stdout, b"alive\n");
        assert_eq!(pod.client.call(Request::Forget { container: id }), Reply::Done);
        // The volume comes back, and with it the child's end.
        drop(volume);
        pod.client.call(Request::Kill { container: neighbour });
        assert_eq!(pod.client.exit_of(neighbour).status, ExitStatus::Signal(9));
    });
}

#[test]
fn kill_ends_a_launch_that_hangs() {
    with_dead_volume(|pod, volume| {
        let dead = volume.at.join("data");
        let start = pod.start_request(Choice { sources: &[&dead], ..choice("true") });
        let id = start.container;
        let sequence = pod.client.ask(Request::Start(Box::new(start)));
        volume.wait_for_a_request();
        assert_eq!(pod.client.call(Request::Kill { container: id }), Reply::Done);
        let Reply::Failed(failure) = pod.client.reply(sequence).0 else { panic!() };
        let text = format!("open mount source {}: it was killed while it was starting", dead.display());
        assert_eq!((failure.kind, failure.to_string()), (FailureKind::Launch, text));
        let Reply::Inspected(inventory) = pod.client.call(Request::Inspect) else { panic!() };
        assert_eq!(inventory.containers[0].phase, ContainerPhase::Failed(failure));
    });
}

/// A process that cannot be killed holds up the close of its sandbox, and is named; once it is free the close succeeds.
#[test]
fn a_close_that_cannot_end_names_who_remains() {
    with_dead_volume(|pod, volume| {
        let dead = volume.at.join("data");
        let start = pod.start_request(Choice { sources: &[&dead], ..choice("true") });
        pod.client.ask(Request::Start(Box::new(start)));
        volume.swallow_a_request();
        let Reply::Failed(failure) = pod.client.call(Request::CloseSandbox) else { panic!() };
        assert_eq!(failure.kind, FailureKind::TimedOut);
        let pids: Vec<String> = pod.pids().iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        assert_eq!(pids.len(), 1);
        assert!(failure.to_string().contains(&pids[0]), "{failure} {pids:?}");
        drop(volume);
        assert_eq!(pod.client.call(Request::CloseSandbox), Reply::Done);
        assert!(pod.monitor_ended().success());
        pod.pause_pid = 0;
    });
}

/// The log directory goes dead under a container that logs: opening the log anew fails at its deadline, the old file is
/// written on.
#[test]
fn a_dead_log_directory_stops_neither_the_container_nor_the_monitor() {
    with_dead_volume(|pod, volume| {
        let script = "echo before; while ! test -e /tmp/go; do usleep 1000; done; echo after";
        let mut start = pod.start_request(choice(script));
        let id = start.container;
        let link = pod.path().join("link");
        std::os::unix::fs::symlink(pod.path().join("logs"), &link).unwrap();
        if let Some(log) = &mut start.log {
            log.directory = link.to_str().unwrap().into();
        }
        let Reply::Started { pid, .. } = pod.client.call(Request::Start(Box::new(start))) else { panic!() };
        pod.wait_for_log(id, b"before\n");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(volume.at.join("logs"), &link).unwrap();
        let reopening = pod.client.ask(Request::ReopenLog { container: id });
        volume.swallow_a_request();
        let Reply::Failed(busy) = pod.client.call(Request::ReopenLog { container: id }) else { panic!() };
        assert_eq!(busy.kind, FailureKind::WrongState);
        go(pid);
        assert_eq!(pod.client.exit_of(id).status, code(0));
        assert_eq!(pod.decoded(id).0, b"before\nafter\n");
        let Reply::Failed(failure) = pod.client.reply(reopening).0 else { panic!() };
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert!(failure.step.unwrap().starts_with("open log "));
        drop(volume);
    });
}

/// The server's side of a FUSE file system that answers the greeting and nothing else. Dropping it ends the connection,
/// and every request with it.
struct DeadVolume {
    device: fs::File,
    at: PathBuf,
}

impl DeadVolume {
    fn mount(at: &Path) -> Self {
        let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&device);
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        mount(Some("dead"), at, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let mut server = Self { device, at: at.to_owned() };
        server.greet();
        server
    }

    /// fuse.h: `fuse_in_header` (40 bytes, the request's number at 8), `fuse_init_in`; the answer is `fuse_out_header`
    /// (16 bytes) and `fuse_init_out` of protocol 7.23 or later (64 bytes).
    fn greet(&mut self) {
        let mut request = vec![0; 1 << 16];
        let length = self.device.read(&mut request).unwrap();
        assert_eq!(request[..4], (length as u32).to_le_bytes());
        assert_eq!(request[4..8], 26_u32.to_le_bytes(), "FUSE_INIT comes first");
        let mut answer = [0_u8; 80];
        answer[..4].copy_from_slice(&80_u32.to_le_bytes());
        answer[8..16].copy_from_slice(&request[8..16]);
        answer[16..20].copy_from_slice(&7_u32.to_le_bytes());
        answer[20..24].copy_from_slice(&31_u32.to_le_bytes());
        // max_write
        answer[36..40].copy_from_slice(&4096_u32.to_le_bytes());
        self.device.write_all(&answer).unwrap();
    }

    /// Waits for the next request: whoever made it waits for the answer, and can still be killed.
    fn wait_for_a_request(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.device, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "nobody asks");
    }

    /// Waits for the next request and reads it: from then on whoever made it cannot be killed.
    fn swallow_a_request(&self) {
        self.wait_for_a_request();
        let mut request = vec![0; 1 << 16];
        assert!((&self.device).read(&mut request).unwrap() >= 40);
    }
}

impl Drop for DeadVolume {
    fn drop(&mut self) {
        // The mount goes with its namespace; without its directory the temporary files can go before.
        umount2(&self.at, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn a_wrong_command_line_is_a_sentence_and_code_64() {
    let no_id = ["pod", "/nowhere"];
    let no_state = ["--resume", "nothing"];
    for args in [&[][..], &no_id, &no_state, &["one"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_husk-monitor")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(output.stderr.starts_with(b"husk-monitor: usage: "), "{}", output.stderr.escape_ascii());
    }
    let id = "0".repeat(64);
    let output = Command::new(env!("CARGO_BIN_EXE_husk-monitor")).args([&id, "/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(71), "standard input is no socket");
}

#[test]
fn signals_do_not_end_the_monitor() {
    let mut pod = Pod::open();
    let monitor = handle(pod.monitor.id());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::PIPE, Signal::USR1] {
        pidfd_send_signal(&monitor, signal).unwrap();
    }
    let (_, exit) = pod.run("exit 2");
    assert_eq!(exit.status, code(2));
}

#[test]
fn the_process_holds_nothing_that_is_not_its_own() {
    let pod = Pod::open();
    let directory = format!("/proc/{}", pod.monitor.id());
    let comm = fs::read_to_string(format!("{directory}/comm")).unwrap();
    assert_eq!(comm, "husk-monitor\n");
    let targets: Vec<String> = fs::read_dir(format!("{directory}/fd"))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .collect();
    let expected = ["/dev/null", "socket:", "anon_inode:", "pipe:", "/dev/pts/", "pidfd:"];
    let exits = pod.state().join("exits").to_str().unwrap().to_owned();
    let standard_error = fs::read_link("/proc/self/fd/2").unwrap().to_string_lossy().into_owned();
    let standard_output = fs::read_link("/proc/self/fd/1").unwrap().to_string_lossy().into_owned();
    for target in &targets {
        let known = expected.iter().any(|prefix| target.starts_with(prefix));
        assert!(known || [&exits, &standard_error, &standard_output].contains(&target), "{targets:?}");
    }
    assert!(targets.len() <= 12, "{targets:?}");
}
