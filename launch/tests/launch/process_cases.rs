// SPDX-License-Identifier: Apache-2.0
//! What the process is: identity, streams, environment, limits.

use std::fs;

use husk_launch::Report;
use wire::{ByteVec, CapabilitySets, ExitStatus, PidNamespace, Rlimit};

use crate::Case;
use crate::container::{Container, DEFAULT_CAPABILITIES};
use crate::world::{Pod, World};

pub(crate) const CASES: &[Case] = &[
    ("output_and_ends_are_exact", output_and_ends_are_exact),
    ("root_has_the_default_capabilities", root_has_the_default_capabilities),
    ("a_user_has_its_groups_and_no_capability", a_user_has_its_groups_and_no_capability),
    ("ambient_capabilities_reach_a_user", ambient_capabilities_reach_a_user),
    ("only_the_standard_streams_are_open", only_the_standard_streams_are_open),
    ("the_environment_is_exact", the_environment_is_exact),
    ("a_user_may_open_its_streams_anew", a_user_may_open_its_streams_anew),
    ("signals_and_session_are_fresh", signals_and_session_are_fresh),
    ("pid_namespaces", pid_namespaces),
    ("limits_and_oom_score", limits_and_oom_score),
    ("the_log_comes_first", the_log_comes_first),
    ("progress_is_told_before_what_may_block", progress_is_told_before_what_may_block),
];

fn field<'t>(status: &'t str, name: &str) -> &'t str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

fn output_and_ends_are_exact(world: &World) {
    let pod = Pod::new(world);
    for code in [0, 1, 42, 127, 255] {
        let outcome = Container::new(&pod, &format!("echo out; echo err >&2; exit {code}")).run();
        assert_eq!(outcome.status, ExitStatus::Code(code), "{outcome:?}");
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
        assert!(matches!(outcome.reports.last(), Some(Report::Ready)), "{outcome:?}");
    }
    for signal in [1, 9, 11, 15] {
        let outcome = Container::new(&pod, &format!("kill -{signal} $$")).pids(PidNamespace::Pod).run();
        assert_eq!(outcome.status, ExitStatus::Signal(signal), "{outcome:?}");
    }
    let outcome = Container::new(&pod, "cat").run();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (ExitStatus::Code(0), ""), "standard input ends");
}

fn root_has_the_default_capabilities(world: &World) {
    let pod = Pod::new(world);
    let status = Container::new(&pod, "cat /proc/self/status").run().text();
    let default = format!("{DEFAULT_CAPABILITIES:016x}");
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(&status, set), default, "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "0");
    assert_eq!(field(&status, "Groups:"), "0");
    assert_eq!(field(&status, "Umask:"), "0022");

    // Everything that this machine has, and nothing else, for who asks for everything.
    let all =
        CapabilitySets { bounding: u64::MAX, effective: u64::MAX, permitted: u64::MAX, inheritable: 0, ambient: 0 };
    let privileged = Container::new(&pod, "cat /proc/self/status").process(|process| process.capabilities = all);
    let status = privileged.run().text();
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(&status, set), field(&ours, set), "{set}");
    }
}

fn a_user_has_its_groups_and_no_capability(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "cat /proc/self/status").process(|process| {
        (process.uid, process.gid) = (1000, 1001);
        process.groups = vec![1001, 5, 4_000_000_000];
        process.no_new_privs = true;
        process.umask = 0o077;
    });
    let status = container.run().text();
    assert_eq!(field(&status, "Uid:"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Gid:"), "1001\t1001\t1001\t1001");
    assert_eq!(field(&status, "Groups:"), "5 1001 4000000000");
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "Umask:"), "0077");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "CapBnd:"), format!("{DEFAULT_CAPABILITIES:016x}"));

    let none = Container::new(&pod, "cat /proc/self/status").process(|process| process.groups.clear());
    assert_eq!(field(&none.run().text(), "Groups:"), "");
    let bad = Container::new(&pod, "true").process(|process| process.uid = u32::MAX);
    assert!(bad.run().failure().to_string().contains("4294967295 is no user id"));
}

fn ambient_capabilities_reach_a_user(world: &World) {
    let pod = Pod::new(world);
    let net_bind_service = 1 << 10;
    let container = Container::new(&pod, "cat /proc/self/status").process(|process| {
        process.uid = 1000;
        process.capabilities.inheritable = net_bind_service;
        process.capabilities.ambient = net_bind_service;
    });
    let status = container.run().text();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000400", "{set}");
    }
}

fn only_the_standard_streams_are_open(world: &World) {
    let pod = Pod::new(world);
    // Descriptors that a careless parent would let through: not close-on-exec, with a gap.
    let careless: Vec<_> = (0..5).map(|_| rustix::io::dup(&world.netns).unwrap()).collect();
    let outcome = Container::new(&pod, "ls /proc/$$/fd; true").run();
    drop(careless);
    assert_eq!(outcome.text(), "0\n1\n2\n");
}

fn the_environment_is_exact(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "cat /proc/$$/environ; true").process(|process| {
        process.env = [&b"PATH=/bin"[..], b"EMPTY=", b"BYTES=\xff\n ="].map(|var| ByteVec::from(var.to_vec())).to_vec();
    });
    let mut running = container.start();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut running.stdout, &mut bytes).unwrap();
    assert_eq!(bytes, b"PATH=/bin\0EMPTY=\0BYTES=\xff\n =\0");
    assert_eq!(running.finish().status, ExitStatus::Code(0));
    let bad = Container::new(&pod, "true").process(|process| process.env.push(ByteVec::from(b"A=\0".to_vec())));
    assert!(bad.run().failure().to_string().contains("an environment variable holds a NUL byte"));
}

fn a_user_may_open_its_streams_anew(world: &World) {
    let pod = Pod::new(world);
    let container =
        Container::new(&pod, "echo out > /dev/stdout; echo err > /dev/stderr").process(|process| process.uid = 1000);
    let outcome = container.run();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"), "{outcome:?}");
}

fn signals_and_session_are_fresh(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "").process(|process| {
        process.args = ["/bin/cat", "/proc/self/stat", "/proc/self/status"].map(str::to_owned).to_vec();
    });
    let stat = container.run().text();
    let fields: Vec<_> = stat.lines().next().unwrap().split(' ').collect();
    assert_eq!(fields[5], "1", "process 1 leads its session: {stat}");
    for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        assert_eq!(field(&stat, set), "0000000000000000", "{set}");
    }
}

fn pid_namespaces(world: &World) {
    let pod = Pod::new(world);
    let script = "echo $$; cat /proc/1/comm; true";
    assert_eq!(Container::new(&pod, script).run().text(), "1\nsh\n");
    let shared = Container::new(&pod, script).pids(PidNamespace::Pod).run().text();
    assert!(shared.ends_with("\nhusk-pause\n") && !shared.starts_with("1\n"), "{shared}");
    let host = Container::new(&pod, "echo $$").pids(PidNamespace::Host).start();
    let pid = host.pid;
    assert_eq!(host.finish().text(), format!("{pid}\n"));
}

fn limits_and_oom_score(world: &World) {
    let pod = Pod::new(world);
    let container = Container::new(&pod, "cat /proc/self/limits /proc/self/oom_score_adj").process(|process| {
        process.oom_score_adj = Some(321);
        process.rlimits = vec![
            Rlimit { resource: 7, soft: 100, hard: 200 },
            Rlimit { resource: 4, soft: 0, hard: 0 },
            Rlimit { resource: 13, soft: 30, hard: 40 },
        ];
    });
    let text = container.run().text();
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Max open files"), ["100", "200"]);
    assert_eq!(line("Max core file size"), ["0", "0"]);
    assert_eq!(text.lines().last(), Some("321"));
    let may_raise = fs::read_to_string("/proc/self/status").unwrap();
    let may_raise = u64::from_str_radix(field(&may_raise, "CapEff:"), 16).unwrap() & (1 << 24) != 0;
    // RLIMIT_NICE begins at 0: raising it needs CAP_SYS_RESOURCE, which not every node's runtime has.
    let allowed = if may_raise { ["30", "40"] } else { ["0", "0"] };
    assert_eq!(line("Max nice priority"), allowed);

    let ours = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let lower =
        Container::new(&pod, "cat /proc/self/oom_score_adj").process(|process| process.oom_score_adj = Some(-998));
    let expected = if may_raise { "-998\n".to_owned() } else { ours };
    assert_eq!(lower.run().text(), expected);
    let bad = Container::new(&pod, "true").process(|process| process.oom_score_adj = Some(5000)).run().failure();
    assert!(bad.to_string().starts_with("set oom_score_adj 5000: Invalid argument"), "{bad}");
}

fn the_log_comes_first(world: &World) {
    let pod = Pod::new(world);
    let directory = world.fresh("logs");
    let log = |file: &str| wire::Log { directory: directory.to_str().unwrap().to_owned(), file: file.to_owned() };
    let mut container = Container::new(&pod, "true");
    container.log = Some(log("0.log"));
    let outcome = container.run();
    assert!(matches!(outcome.reports.first(), Some(Report::Log(_))), "{outcome:?}");
    assert_eq!(outcome.status, ExitStatus::Code(0));
    let mode =
        fs::metadata(directory.join("0.log")).map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
    assert_eq!(mode.unwrap() & 0o7777, 0o640);

    let mut container = Container::new(&pod, "true");
    container.log = Some(log("gone/0.log"));
    let failure = container.run().failure();
    assert_eq!(failure.step.unwrap(), format!("open log {}/gone/0.log", directory.display()));

    let (child, reports) = crate::world::collect(husk_launch::open_log(&world.single, &log("1.log")).unwrap());
    assert!(matches!(reports[..], [Report::Log(_)]), "{reports:?}");
    assert_eq!(crate::world::end_of(&child.pidfd), ExitStatus::Code(0));
    let (child, reports) = crate::world::collect(husk_launch::open_log(&world.single, &log("../x")).unwrap());
    assert!(matches!(reports[..], [Report::Failed(_)]), "{reports:?}");
    assert_eq!(crate::world::end_of(&child.pidfd), ExitStatus::Code(1));
}

fn progress_is_told_before_what_may_block(world: &World) {
    let pod = Pod::new(world);
    let source = world.fresh("source");
    let container = crate::mount_cases::bind(Container::new(&pod, "true"), &source, "/mnt", wire::Access::ReadOnly);
    let outcome = container.run();
    let progress: Vec<_> = outcome
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::Progress(index) => Some(usize::from(*index)),
            _ => None,
        })
        .collect();
    // The source, the overlay, the attachment before the pivot, and the process after the last step.
    let steps = container.plan.steps.len();
    assert_eq!(progress, [0, 1, steps - 2, steps]);
}
