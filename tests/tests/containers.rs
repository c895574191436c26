// SPDX-License-Identifier: Apache-2.0
//! What a container sees: its process, its files, its identity; and what it says when it cannot start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use husk_tests::client::refused;
use husk_tests::world::World;
use proto::cri::{
    ContainerConfig, ContainerState, Int64Value, KeyValue, LinuxContainerSecurityContext, Mount, NamespaceMode,
    PodSandboxConfig,
};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

/// The security context of a container's configuration.
fn security(config: &mut ContainerConfig) -> Result<&mut LinuxContainerSecurityContext> {
    config
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut())
        .context("the builder sets a security context")
}

/// Sets the pid mode of a pod.
fn share_pids(pod: &mut PodSandboxConfig) -> Result<()> {
    pod.linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut())
        .and_then(|security| security.namespace_options.as_mut())
        .context("the builder sets namespaces")?
        .set_pid(NamespaceMode::Pod);
    Ok(())
}

/// Runs a container to its end in a pod of its own and gives exit code, stdout and stderr.
async fn run(world: &World, config: &ContainerConfig) -> Result<(i32, String, String)> {
    let name = &config.metadata.as_ref().context("metadata")?.name;
    let (pod_id, pod) = world.run_pod("pod").await?;
    let id = world.client.launch(&pod_id, &pod, config).await?;
    let status = world.client.wait_exited(&id, LIMIT).await?;
    let log = world.log(&pod, name)?;
    world.client.remove_pod(&pod_id).await?;
    Ok((status.exit_code, log.stdout()?, log.stderr()?))
}

#[tokio::test]
async fn environment_arguments_and_directory_are_as_asked() -> Result<()> {
    World::new("process")
        .await?
        .live(async |world| {
            let mut config = world.container_config("main", &["sh", "-c"]);
            let script =
                "echo \"$A|$B|$PATH|$HOSTNAME|$PWD\"; echo \"$0|$1\"; test ! -e /proc/self/fd/3 || ls -l /proc/self/fd";
            config.args = [script, "zero", "one two"].map(str::to_owned).to_vec();
            config.working_dir = "/made/on/the way".to_owned();
            for (key, value) in [("A", "first"), ("A", "last wins"), ("B", "ü=\"$x")] {
                config.envs.push(KeyValue { key: key.to_owned(), value: value.as_bytes().to_vec() });
            }
            let (code, out, err) = run(world, &config).await?;
            assert_eq!((code, err.as_str()), (0, ""));
            assert_eq!(out, "last wins|ü=\"$x|/bin:/sbin:/usr/bin|pod|/made/on/the way\nzero|one two\n");
            // Neither command nor args: the image's Cmd, a shell with nothing to read.
            let mut bare = world.container_config("bare", &[]);
            bare.stdin = false;
            assert_eq!(run(world, &bare).await?, (0, String::new(), String::new()));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_root_file_system_has_what_the_specification_lists() -> Result<()> {
    World::new("world")
        .await?
        .live(async |world| {
            let script = "set -e
            for n in null zero full random urandom tty; do test -c /dev/$n; done
            for l in fd stdin stdout stderr ptmx; do test -L /dev/$l || test -c /dev/$l; done
            test -d /dev/pts; test -d /dev/mqueue; test -w /dev/shm
            grep -q ' /proc proc ' /proc/mounts; grep -q ' /sys sysfs ro' /proc/mounts
            test -s /etc/hosts; test -e /etc/hostname; test -e /etc/resolv.conf
            echo x > /dev/shm/x; echo x > /tmp/x; echo x > /anywhere
            ! cat /dev/sda /dev/vda 2>/dev/null
            test $(cat /proc/1/comm) = sh; echo fine";
            let (code, out, err) = run(world, &world.container_config("main", &["sh", "-c", script])).await?;
            assert_eq!((code, out.as_str()), (0, "fine\n"), "{err}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn dns_and_hosts_are_written_for_the_pod() -> Result<()> {
    World::new("dns")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            pod.dns_config = Some(proto::cri::DnsConfig {
                servers: vec!["203.0.113.53".to_owned(), "203.0.113.54".to_owned()],
                searches: vec!["a.example".to_owned(), "b.example".to_owned()],
                options: vec!["ndots:5".to_owned()],
            });
            let pod_id = world.client.run_pod(&pod).await?;
            let config = world.container_config("main", &["sleep", "1000"]);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let resolv = world.client.output(&id, &["cat", "/etc/resolv.conf"]).await?;
            let lines: Vec<&str> = resolv.lines().collect();
            let nameservers = ["nameserver 203.0.113.53", "nameserver 203.0.113.54"];
            assert!(nameservers.iter().all(|line| lines.contains(line)), "{resolv}");
            assert!(lines.contains(&"search a.example b.example"), "{resolv}");
            assert!(lines.contains(&"options ndots:5"), "{resolv}");
            assert_eq!(world.client.output(&id, &["cat", "/etc/hostname"]).await?, "pod\n");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn containers_share_shm_and_hostname_and_nothing_of_their_roots() -> Result<()> {
    World::new("share")
        .await?
        .live(async |world| {
            let (pod_id, pod) = world.run_pod("pod").await?;
            let mut ids = Vec::new();
            for name in ["one", "two"] {
                let config = world.container_config(name, &["sleep", "1000"]);
                ids.push(world.client.launch(&pod_id, &pod, &config).await?);
            }
            let write = "echo shared > /dev/shm/x; echo own > /only";
            world.client.output(&ids[0], &["sh", "-c", write]).await?;
            let read = "cat /dev/shm/x; ls /only 2>/dev/null; ls -a /tmp | wc -l";
            assert_eq!(world.client.output(&ids[1], &["sh", "-c", &format!("{read}; true")]).await?, "shared\n2\n");
            for kind in ["net", "ipc", "uts"] {
                let link = format!("/proc/self/ns/{kind}");
                let first = world.client.output(&ids[0], &["readlink", &link]).await?;
                assert_eq!(world.client.output(&ids[1], &["readlink", &link]).await?, first);
            }
            for kind in ["mnt", "pid"] {
                let link = format!("/proc/self/ns/{kind}");
                let first = world.client.output(&ids[0], &["readlink", &link]).await?;
                assert_ne!(world.client.output(&ids[1], &["readlink", &link]).await?, first);
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_shared_pid_namespace_has_a_reaping_pid_1() -> Result<()> {
    World::new("pids")
        .await?
        .live(async |world| {
            let mut pod = world.pod_config("pod")?;
            share_pids(&mut pod)?;
            let pod_id = world.client.run_pod(&pod).await?;
            let mut ids = Vec::new();
            for name in ["one", "two"] {
                let mut config = world.container_config(name, &["sleep", "1000"]);
                security(&mut config)?.namespace_options.as_mut().context("namespaces")?.set_pid(NamespaceMode::Pod);
                ids.push(world.client.launch(&pod_id, &pod, &config).await?);
            }
            // An orphan falls to pid 1, which takes its body away.
            let script = "(true & ) ; (sh -c 'sleep 0.1; exit 3' &) ; sleep 0.5; ps -o pid,stat,args";
            let table = world.client.output(&ids[0], &["sh", "-c", script]).await?;
            assert_eq!(table.matches("sleep 1000").count(), 2, "{table}");
            ensure!(!table.contains(" Z "), "a zombie is left: {table}");
            let init = world.client.output(&ids[0], &["cat", "/proc/1/comm"]).await?;
            ensure!(init.contains("pause"), "pid 1 is {init}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_terminal_is_one() -> Result<()> {
    World::new("tty")
        .await?
        .live(async |world| {
            let script = "test -t 0 && test -t 1 && test -t 2 && test -c /dev/console && echo terminal; echo err >&2";
            let mut config = world.container_config("main", &["sh", "-c", script]);
            config.tty = true;
            let (code, out, err) = run(world, &config).await?;
            // A terminal turns a newline into two characters, and has one stream.
            assert_eq!((code, out.as_str(), err.as_str()), (0, "terminal\r\nerr\r\n", ""));
            let config = world.container_config("pipes", &["sh", "-c", "test -t 0 || test -t 1 || echo none"]);
            assert_eq!(run(world, &config).await?.1, "none\n");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_read_only_root_is_read_only_but_for_the_pods_mounts() -> Result<()> {
    World::new("readonly")
        .await?
        .live(async |world| {
            let script = "for f in /x /tmp/x /etc/x /bin/x; do echo x > $f && exit 9; done 2>/dev/null
            echo x > /dev/shm/x && echo x > /dev/null && echo fine";
            let mut config = world.container_config("main", &["sh", "-c", script]);
            security(&mut config)?.readonly_rootfs = true;
            let (code, out, _) = run(world, &config).await?;
            assert_eq!((code, out.as_str()), (0, "fine\n"));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn privileges_are_what_was_asked_for() -> Result<()> {
    World::new("privileged")
        .await?
        .live(async |world| {
            let script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status
            mount -t tmpfs x /tmp 2>/dev/null && echo mounted; true";
            let plain = world.container_config("plain", &["sh", "-c", script]);
            let (_, out, _) = run(world, &plain).await?;
            // The usual fourteen of the peers.
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert!(out.contains(&format!("{set}:\t00000000a80425fb")), "{out}");
            }
            for set in ["CapInh", "CapAmb"] {
                assert!(out.contains(&format!("{set}:\t0000000000000000")), "{out}");
            }
            assert!(out.contains("NoNewPrivs:\t0") && !out.contains("mounted"), "{out}");

            let mut strict = world.container_config("strict", &["sh", "-c", script]);
            security(&mut strict)?.no_new_privs = true;
            assert!(run(world, &strict).await?.1.contains("NoNewPrivs:\t1"));

            let mut config = world.container_config("privileged", &["sh", "-c", script]);
            security(&mut config)?.privileged = true;
            let (pod_id, pod) = world.run_pod("meek").await?;
            let refusal = world.client.create(&pod_id, &pod, &config).await;
            refused(refusal, Code::InvalidArgument).context("a privileged container in a pod that is not")?;
            let mut pod = world.pod_config("mighty")?;
            pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).context("security")?.privileged = true;
            let pod_id = world.client.run_pod(&pod).await?;
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            world.client.wait_exited(&id, LIMIT).await?;
            let out = world.log(&pod, "privileged")?.stdout()?;
            let all = fs::read_to_string("/proc/self/status")?;
            let line = all.lines().find(|line| line.starts_with("CapBnd")).context("CapBnd")?;
            assert!(out.contains(&line.replace("CapBnd", "CapEff")), "{out} is less than {line}");
            assert!(out.contains("mounted"), "{out}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_numeric_user_is_that_user_in_start_and_exec() -> Result<()> {
    World::new("user")
        .await?
        .live(async |world| {
            let mut config = world.container_config("main", &["sh", "-c", "id; exec sleep 1000"]);
            let context = security(&mut config)?;
            context.run_as_user = Some(Int64Value { value: 4711 });
            context.run_as_group = Some(Int64Value { value: 4712 });
            context.supplemental_groups = vec![4713, 4714];
            let (pod_id, pod) = world.run_pod("pod").await?;
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            let expected = "uid=4711 gid=4712 groups=4712,4713,4714\n";
            let plain = |text: String| text.replace(",4712,", ",").replace("groups=4713", "groups=4712,4713");
            assert_eq!(plain(world.client.output(&id, &["id"]).await?), expected);
            assert_eq!(plain(world.log(&pod, "main")?.stdout()?), expected);
            let status = world.client.output(&id, &["grep", "-E", "Cap(Eff|Prm|Amb)", "/proc/self/status"]).await?;
            assert_eq!(status.matches("0000000000000000").count(), 3, "{status}");

            let mut wrong = world.container_config("wrong", &["id"]);
            security(&mut wrong)?.run_as_group = Some(Int64Value { value: 5 });
            refused(world.client.create(&pod_id, &pod, &wrong).await, Code::InvalidArgument)?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn mounts_appear_as_asked() -> Result<()> {
    World::new("mounts")
        .await?
        .live(async |world| {
            let source = world.directory().join("volume");
            fs::create_dir_all(source.join("inner"))?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o777))?;
            fs::write(source.join("file"), "content\n")?;
            std::os::unix::fs::symlink(source.join("file"), world.directory().join("link"))?;
            let missing = world.directory().join("missing");
            let mount = |host: &Path, inside: &str, readonly: bool| Mount {
                host_path: host.display().to_string(),
                container_path: inside.to_owned(),
                readonly,
                ..Default::default()
            };
            let script = "cat /new/file; cat /etc/passwd; cat /linked; echo from inside > /rw/written
            echo x > /ro/x 2>/dev/null || echo refused; echo x > /new/file 2>/dev/null || echo refused
            test -d /missing && echo made; test -d /ro/inner && echo inner; cat /nested/deep/file";
            let mut config = world.container_config("main", &["sh", "-c", script]);
            config.mounts = vec![
                mount(&source.join("file"), "/nested/deep/file", true),
                mount(&source, "/nested", false),
                mount(&source, "/rw", false),
                mount(&source, "/ro", true),
                mount(&source.join("file"), "/new/file", true),
                mount(&source.join("file"), "/etc/passwd", false),
                mount(&world.directory().join("link"), "/linked", true),
                mount(&missing, "/missing", false),
            ];
            let (code, out, err) = run(world, &config).await?;
            assert_eq!(code, 0, "{err}");
            assert_eq!(out, "content\ncontent\ncontent\nrefused\nrefused\nmade\ninner\ncontent\n");
            assert_eq!(fs::read_to_string(source.join("written"))?, "from inside\n");
            ensure!(missing.is_dir(), "the peers make a missing source a directory");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn masked_and_read_only_paths_hide_and_protect() -> Result<()> {
    World::new("masked").await?.live(async |world| {
        let script = "test -s /proc/version && exit 3; ls /proc/scsi /sys/firmware /proc/acpi 2>/dev/null | grep -v : | grep . && exit 4
            cat /proc/version | wc -c
            echo 1 > /proc/sys/kernel/printk 2>/dev/null && exit 5
            echo x > /proc/sysrq-trigger 2>/dev/null && exit 6; echo fine";
        let mut config = world.container_config("main", &["sh", "-c", script]);
        let context = security(&mut config)?;
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        context.masked_paths = list(&["/proc/version", "/proc/scsi", "/proc/acpi", "/sys/firmware", "/no/such/path"]);
        context.readonly_paths = list(&["/proc/sys", "/proc/sysrq-trigger", "/no/such/path"]);
        let (code, out, err) = run(world, &config).await?;
        assert_eq!((code, out.as_str()), (0, "0\nfine\n"), "{err}");
        Ok(())
    }).await
}

#[tokio::test]
async fn a_program_that_cannot_start_ends_as_start_error_and_says_why() -> Result<()> {
    World::new("starterror")
        .await?
        .live(async |world| {
            let scripts = world.directory().join("scripts");
            fs::create_dir(&scripts)?;
            fs::write(scripts.join("orphan"), "#!/no/such/interpreter\n")?;
            fs::write(scripts.join("noise"), [0_u8; 64])?;
            for name in ["orphan", "noise"] {
                fs::set_permissions(scripts.join(name), fs::Permissions::from_mode(0o755))?;
            }
            let (pod_id, pod) = world.run_pod("pod").await?;
            for (name, program) in [
                ("missing", "/no/such/program"),
                ("nameless", "nobody-has-this-in-path"),
                ("directory", "/etc"),
                ("plain", "/etc/passwd"),
                ("orphan", "/scripts/orphan"),
                ("noise", "/scripts/noise"),
            ] {
                let mut config = world.container_config(name, &[program, "argument"]);
                config.mounts = vec![Mount {
                    host_path: scripts.display().to_string(),
                    container_path: "/scripts".to_owned(),
                    ..Default::default()
                }];
                let id = world.client.create(&pod_id, &pod, &config).await?;
                let error = world.client.start(&id).await.err().with_context(|| format!("{name} started"))?;
                ensure!(error.message().contains(program), "{name}: {}", error.message());
                let status = world.client.container(&id).await?;
                assert_eq!(status.state(), ContainerState::ContainerExited, "{name}");
                assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"), "{name}");
                ensure!(status.message.contains(program), "{name}: {}", status.message);
                ensure!(status.finished_at >= status.created_at, "{name}: finished_at {}", status.finished_at);
                refused(world.client.start(&id).await, Code::FailedPrecondition)?;
                refused(world.client.exec(&id, &["true"], LIMIT).await, Code::FailedPrecondition)?;
                world.client.remove(&id).await?;
            }
            // The pod is as good as before.
            let config = world.container_config("good", &["true"]);
            let id = world.client.launch(&pod_id, &pod, &config).await?;
            assert_eq!(world.client.wait_exited(&id, LIMIT).await?.exit_code, 0);
            Ok(())
        })
        .await
}
