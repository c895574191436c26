// SPDX-License-Identifier: Apache-2.0
//! Network namespaces on the real kernel (tier T2: root; each test has a mount and a network namespace
//! of its own, so that nothing reaches the machine's).

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod node;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use husk_netns::{Error, Kind, Netns, NetnsId, Readiness, Scope};

use crate::node::{in_node, mounts_at, run};

const PIN: &str = "/run/netns/husk-test";

#[test]
fn a_new_namespace_is_another_one_and_its_loopback_works() {
    in_node(|| {
        let own = NetnsId::of_this_thread().unwrap();
        let netns = Netns::create(Path::new(PIN)).unwrap();
        assert_ne!(netns.id(), own);
        assert_eq!(NetnsId::of_this_thread().unwrap(), own, "the caller must stay where it was");
        assert_eq!(netns.run(|| NetnsId::of_this_thread().unwrap()).unwrap(), netns.id());
        assert_eq!(netns.path(), Path::new(PIN));

        let links = netns.links().unwrap();
        assert_eq!(links.len(), 1, "{links:?}");
        assert_eq!((links[0].name.as_str(), links[0].index, links[0].up), ("lo", 1, true));
        assert_eq!(links[0].mtu_bytes, 65_536);

        let ips: Vec<(IpAddr, u8, Scope, Readiness)> =
            netns.addresses("lo").unwrap().iter().map(|a| (a.ip, a.prefix_length, a.scope, a.readiness)).collect();
        let expected = [
            (IpAddr::V4(Ipv4Addr::LOCALHOST), 8, Scope::Host, Readiness::Ready),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, Scope::Host, Readiness::Ready),
        ];
        assert_eq!(ips, expected);
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            echo_once(&netns, ip);
        }
        Netns::remove(Path::new(PIN)).unwrap();
    });
}

/// Sockets made inside are used outside, on a thread that never entered.
fn echo_once(netns: &Netns, ip: IpAddr) {
    let listener = netns.run(|| TcpListener::bind(SocketAddr::new(ip, 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = netns.run(|| TcpStream::connect(address).unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    server.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn the_pin_alone_keeps_the_namespace_and_removal_ends_it() {
    in_node(|| {
        let pin = Path::new(PIN);
        let id = Netns::create(pin).unwrap().id();
        let again = Netns::open(pin).unwrap();
        assert_eq!(again.id(), id);
        drop(again);
        assert_eq!(mounts_at(pin), 1);

        Netns::remove(pin).unwrap();
        assert!(!pin.exists());
        assert_eq!(mounts_at(pin), 0);
        assert_eq!(Netns::open(pin).unwrap_err().kind(), Kind::NotFound);
        Netns::remove(pin).unwrap();
    });
}

#[test]
fn later_interfaces_refuse_router_advertisements() {
    in_node(|| {
        let netns = Netns::create(Path::new(PIN)).unwrap();
        netns.run(|| run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"])).unwrap();
        let read = |name: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
            netns.run(|| fs::read_to_string(path).unwrap()).unwrap()
        };
        assert_eq!(read("eth0").trim(), "0");
        let veth = &netns.links().unwrap()[1..];
        assert_eq!(veth.len(), 2);
        assert!(veth.iter().all(|link| link.kind.as_deref() == Some("veth") && !link.up));
        let mac = veth[0].mac.unwrap().to_string();
        assert_eq!(mac.len(), 17, "{mac}");
    });
}

#[test]
fn addresses_of_an_interface_are_its_own_and_ordered() {
    in_node(|| {
        let netns = Netns::create(Path::new(PIN)).unwrap();
        netns
            .run(|| {
                run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
                run("ip", &["addr", "add", "fd00::5/64", "dev", "eth0", "nodad"]);
                run("ip", &["addr", "add", "10.9.0.5/24", "dev", "eth0"]);
                run("ip", &["addr", "add", "10.9.0.6/24", "dev", "peer0"]);
            })
            .unwrap();
        let got: Vec<(String, u8)> =
            netns.addresses("eth0").unwrap().iter().map(|a| (a.ip.to_string(), a.prefix_length)).collect();
        assert_eq!(got, [("10.9.0.5".to_owned(), 24), ("fd00::5".to_owned(), 64)]);
        let missing = netns.addresses("eth1").unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
        assert!(missing.to_string().contains("eth1"), "{missing}");
    });
}

#[test]
fn a_dump_of_many_addresses_is_complete() {
    in_node(|| {
        let netns = Netns::create(Path::new(PIN)).unwrap();
        let batch: String = (0..1000).map(|n| format!("addr add 10.{}.{}.1/32 dev lo\n", n / 250, n % 250)).collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("batch");
        fs::write(&file, batch).unwrap();
        netns.run(|| run("ip", &["-batch", file.to_str().unwrap()])).unwrap();
        assert_eq!(netns.addresses("lo").unwrap().len(), 1002);
    });
}

#[test]
fn what_is_in_the_way_is_never_harmed() {
    in_node(|| {
        let dir = tempfile::tempdir().unwrap();
        let pin = dir.path().join("pin");
        let check = |make: &dyn Fn(&Path), create: Kind, remove: Option<Kind>| {
            make(&pin);
            assert_eq!(Netns::create(&pin).unwrap_err().kind(), create);
            assert!(fs::symlink_metadata(&pin).is_ok(), "create must not touch it");
            assert_eq!(Netns::open(&pin).unwrap_err().kind(), Kind::InvalidInput);
            let removed = Netns::remove(&pin);
            assert_eq!(removed.as_ref().err().map(Error::kind), remove);
            assert_eq!(fs::symlink_metadata(&pin).is_ok(), remove.is_some());
            let _ = fs::remove_file(&pin).or_else(|_| fs::remove_dir(&pin));
        };
        let taken = Kind::AlreadyExists;
        check(&|p| fs::write(p, "").unwrap(), taken, None);
        check(&|p| fs::write(p, "precious").unwrap(), taken, Some(Kind::InvalidInput));
        check(&|p| fs::create_dir(p).unwrap(), taken, Some(Kind::InvalidInput));
        check(&|p| symlink("/proc/self/ns/net", p).unwrap(), taken, Some(Kind::InvalidInput));
        check(&|p| run("mkfifo", &[p.to_str().unwrap()]), taken, Some(Kind::InvalidInput));
        check(&bind_uts, taken, None);
    });
}

/// A namespace, but of another type. It is a pin all the same, so it may be removed.
fn bind_uts(pin: &Path) {
    fs::write(pin, "").unwrap();
    run("mount", &["--bind", "/proc/self/ns/uts", pin.to_str().unwrap()]);
}

#[test]
fn a_mount_of_something_else_is_never_taken_off() {
    in_node(|| {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("mounted");
        fs::create_dir(&place).unwrap();
        run("mount", &["-t", "tmpfs", "none", place.to_str().unwrap()]);
        assert_eq!(Netns::remove(&place).unwrap_err().kind(), Kind::InvalidInput);
        assert_eq!(mounts_at(&place), 1);
        run("umount", &[place.to_str().unwrap()]);
    });
}

#[test]
fn stacked_pins_are_all_taken_off() {
    in_node(|| {
        let pin = Path::new(PIN);
        Netns::create(pin).unwrap();
        run("mount", &["--bind", PIN, PIN]);
        assert_eq!(mounts_at(pin), 2);
        Netns::remove(pin).unwrap();
        assert_eq!(mounts_at(pin), 0);
        assert!(!pin.exists());
    });
}

#[test]
fn a_failed_creation_leaves_nothing() {
    in_node(|| {
        let relative = Netns::create(Path::new("relative/pin")).unwrap_err();
        assert_eq!(relative.kind(), Kind::InvalidInput);
        assert!(!Path::new("relative").exists());

        let dir = tempfile::tempdir().unwrap();
        let pin = dir.path().join("pin");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let below_a_file = Netns::create(&file.join("pin")).unwrap_err();
        assert!(below_a_file.to_string().contains("file"), "{below_a_file}");

        // With no /proc, the namespace can be made but not pinned.
        run("mount", &["-t", "tmpfs", "none", "/proc"]);
        let unpinnable = Netns::create(&pin).unwrap_err();
        run("umount", &["/proc"]);
        assert!(unpinnable.to_string().contains("ns/net"), "{unpinnable}");
        assert!(!pin.exists());
        Netns::create(&pin).unwrap();
        Netns::remove(&pin).unwrap();
    });
}

#[test]
fn a_panic_inside_is_an_error_outside() {
    in_node(|| {
        let netns = Netns::create(Path::new(PIN)).unwrap();
        let failed = netns.run(|| panic!("on purpose")).unwrap_err();
        assert!(matches!(failed, Error::Panicked { .. }), "{failed}");
        assert_eq!(netns.run(|| 7).unwrap(), 7);
    });
}

#[test]
fn ip_netns_and_husk_do_not_bury_each_other() {
    in_node(|| {
        let pin = Path::new(PIN);
        let id = Netns::create(pin).unwrap().id();
        run("ip", &["netns", "add", "other"]);
        let seen = output("ip", &["netns", "list"]);
        assert!(seen.contains("husk-test") && seen.contains("other"), "{seen}");
        let inside = output("ip", &["netns", "exec", "husk-test", "readlink", "/proc/self/ns/net"]);
        assert_eq!(inside.trim(), id.to_string());
        Netns::remove(pin).unwrap();
        assert_eq!(mounts_at(pin), 0, "a copy of the pin is buried");
        run("ip", &["netns", "del", "other"]);
        let mode = fs::metadata("/run/netns").unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    });
}

#[test]
fn where_the_mount_is_shared_none_is_added() {
    in_node(|| {
        run("mount", &["--make-shared", "/run"]);
        Netns::create(Path::new(PIN)).unwrap();
        assert_eq!(mounts_at(Path::new("/run/netns")), 0);
        Netns::remove(Path::new(PIN)).unwrap();
        assert_eq!(mounts_at(Path::new(PIN)), 0);
    });
}

#[test]
fn many_at_once() {
    in_node(|| {
        let dir = tempfile::tempdir().unwrap();
        let pins: Vec<PathBuf> = (0..24).map(|n| dir.path().join(n.to_string())).collect();
        std::thread::scope(|scope| {
            for chunk in pins.chunks(6) {
                scope.spawn(move || {
                    for pin in chunk {
                        let netns = Netns::create(pin).unwrap();
                        assert_eq!(netns.addresses("lo").unwrap().len(), 2);
                        Netns::remove(pin).unwrap();
                    }
                });
            }
        });
        assert!(pins.iter().all(|pin| !pin.exists()));
    });
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
