// SPDX-License-Identifier: Apache-2.0
//! The attacks of threats.md 1E, each with a canary beside the root, and what an honest archive must become.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::*;
use crate::error::Kind;
use crate::sample::tar::{Header, Tar, gzip, noise, pax, zstd};

/// A layer's directory with a canary beside it that no entry may touch.
struct Bench {
    directory: tempfile::TempDir,
}

struct Nobody;

impl Observer for Nobody {
    fn compressed(&self, _: u64) {}
    fn plain(&self, _: u64) {}
}

type Facts = (u32, u32, i64, i64, Vec<u8>);

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("canary")).unwrap();
        fs::write(directory.path().join("canary/secret"), "untouched").unwrap();
        Bench { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn canary(&self) -> Vec<Facts> {
        let directory = self.directory.path().join("canary");
        let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "nothing may be added");
        [directory.clone(), directory.join("secret")]
            .iter()
            .map(|path| {
                let stat = fs::metadata(path).unwrap();
                let content = if stat.is_file() { fs::read(path).unwrap() } else { Vec::new() };
                (stat.mode(), stat.uid(), stat.mtime(), stat.ctime_nsec(), content)
            })
            .collect()
    }

    fn try_apply(&self, archive: Vec<u8>, limits: &Limits) -> Result<Applied, Error> {
        let before = self.canary();
        let root = fs::File::open(self.directory.path().join("root")).unwrap();
        let result = apply(&archive[..], root.as_fd(), limits);
        assert_eq!(before, self.canary(), "the canary was touched");
        let outside: Vec<_> = fs::read_dir(self.directory.path()).unwrap().collect();
        assert_eq!(outside.len(), 2, "something was made beside the root");
        result
    }

    fn apply(&self, tar: Tar) -> Applied {
        self.try_apply(tar.bytes(), &Limits::default()).unwrap()
    }

    fn refused(&self, tar: Tar, word: &str) {
        let error = self.try_apply(tar.bytes(), &Limits::default()).unwrap_err();
        assert!(error.to_string().contains(word), "{error} lacks {word:?}");
    }

    fn xattr(&self, name: &str, attribute: &str) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 256];
        let length = rustix::fs::lgetxattr(self.path(name), attribute, &mut buffer[..]).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    fn is_whiteout(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
    }

    fn is_opaque(&self, name: &str) -> bool {
        self.xattr(name, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }
}

#[test]
fn an_honest_archive_becomes_what_it_says() {
    let bench = Bench::new();
    let long = format!("deep/{}/{}", "n".repeat(120), "file");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: &[(&str, &[u8])] = &[
        ("mtime", b"1234567890.123456789"),
        ("SCHILY.xattr.user.note", b"hi"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
    ];
    let applied = bench.apply(
        Tar::new()
            .dir("./", 0o711)
            .dir("etc/", 0o755)
            .header(&Header {
                mode: 0o4755,
                uid: 1000,
                gid: 50,
                content: b"setuid",
                pax: records,
                ..Header::new("etc/su", b'0')
            })
            .header(&Header { mode: 0o1777, mtime: 7, uid: 3, ..Header::new("tmp", b'5') })
            .file("tmp/late", "later entries must not change the time of tmp")
            .symlink("link", "/etc/su")
            .hard_link("hard", "etc/su")
            .header(&Header { mode: 0o620, gid: 5, device: (5, 1), ..Header::new("console", b'3') })
            .header(&Header { mode: 0o600, device: (7, 3), ..Header::new("loop", b'4') })
            .header(&Header { mode: 0o644, ..Header::new("fifo", b'6') })
            .header(&Header { name: b"caf\xe9", content: b"latin", ..Header::new("", b'0') })
            .file(&long, "long")
            .header(&Header { name: b"old/", ..Header::new("", 0) }),
    );
    let stat = |name: &str| fs::symlink_metadata(bench.path(name)).unwrap();
    assert_eq!(stat("").mode() & 0o7777, 0o711);
    let su = stat("etc/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 1000, 50, 2));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!(su.ino(), stat("hard").ino());
    assert_eq!(bench.xattr("etc/su", "user.note").as_deref(), Some(&b"hi"[..]));
    assert!(bench.xattr("etc/su", "security.capability").is_some_and(|value| value[..8] == capability[..8]));
    for absent in ["trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"] {
        assert_eq!(bench.xattr("etc/su", absent), None, "{absent}");
    }
    let tmp = stat("tmp");
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.mtime()), (0o1777, 3, 7));
    assert_eq!(fs::read_link(bench.path("link")).unwrap(), Path::new("/etc/su"));
    assert_eq!(stat("link").mtime(), 1_000_000_000);
    let console = stat("console");
    assert!(console.file_type().is_char_device() && console.rdev() == rustix::fs::makedev(5, 1));
    assert_eq!((console.mode() & 0o7777, console.gid()), (0o620, 5));
    assert!(stat("loop").file_type().is_block_device() && stat("fifo").file_type().is_fifo());
    assert_eq!(fs::read(bench.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap(), b"latin");
    assert_eq!(fs::read(bench.path(&long)).unwrap(), b"long");
    assert!(stat("old").is_dir());
    let implicit: Vec<_> = applied.implicit.iter().map(|path| path.len()).collect();
    assert_eq!(implicit, [4, 125], "deep and its child were not listed, the root was");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let bench = Bench::new();
    bench.apply(
        Tar::new()
            .file("f", "one")
            .file("f", "two")
            .dir("d", 0o755)
            .file("d/kept", "kept")
            .dir("d", 0o700)
            .file("was-dir/a/b", "x")
            .file("was-dir", "file now")
            .file("was-file", "x")
            .dir("was-file", 0o755)
            .symlink("was-link", "../canary")
            .dir("was-link", 0o777)
            .file("was-link/in", "x")
            .symlink("s", "a")
            .symlink("s", "b")
            .file("h", "h")
            .hard_link("h", "h")
            .hard_link("f", "h"),
    );
    assert_eq!(fs::read(bench.path("f")).unwrap(), b"h");
    assert_eq!(fs::read(bench.path("d/kept")).unwrap(), b"kept");
    assert_eq!(fs::metadata(bench.path("d")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read(bench.path("was-dir")).unwrap(), b"file now");
    assert!(bench.is_opaque("was-file") && bench.is_opaque("was-link") && !bench.is_opaque("d"));
    assert_eq!(fs::read(bench.path("was-link/in")).unwrap(), b"x");
    assert_eq!(fs::read_link(bench.path("s")).unwrap(), Path::new("b"));
}

#[test]
fn links_never_lead_outside() {
    let up = "../canary";
    Bench::new().refused(Tar::new().symlink("l", up).file("l/new", "x"), "symbolic link");
    Bench::new().refused(Tar::new().symlink("l", up).file("l/secret", "x"), "symbolic link");
    Bench::new().refused(Tar::new().symlink("l", up).dir("l/d/e", 0o777), "symbolic link");
    Bench::new().refused(Tar::new().symlink("l", up).hard_link("h", "l/secret"), "hard link");
    Bench::new().refused(Tar::new().symlink("l", up).file("l/.wh.secret", ""), "symbolic link");
    Bench::new().refused(Tar::new().symlink("l", up).file("l/.wh..wh..opq", ""), "symbolic link");
    Bench::new().refused(
        Tar::new().dir("a/b", 0o755).file("a/b/c", "x").symlink("a", up).file("a/secret", "x"),
        "symbolic link",
    );
    // The parent was opened a moment ago, and then it became a link (CVE-2025-47290).
    Bench::new().refused(Tar::new().file("p/one", "x").symlink("p", up).file("p/secret", "x"), "symbolic link");
    Bench::new().refused(Tar::new().symlink("m", "/proc/self/root").file("m/etc/x", "x"), "symbolic link");
    for kind in [b'0', b'2', b'1'] {
        Bench::new().refused(Tar::new().header(&Header { link: b"x", ..Header::new("./", kind) }), "root");
    }
    // Metadata of a directory entry must not land on what the link pointed to (CVE-2021-32760).
    let bench = Bench::new();
    bench.apply(Tar::new().symlink("l", up).header(&Header {
        mode: 0o777,
        uid: 9,
        mtime: 5,
        ..Header::new("l", b'5')
    }));
    assert!(fs::symlink_metadata(bench.path("l")).unwrap().is_dir());
    // The time of a directory that became a link is set at the end, on nothing.
    let bench = Bench::new();
    bench.apply(Tar::new().dir("a/b", 0o755).symlink("a", up));
    assert!(fs::symlink_metadata(bench.path("a")).unwrap().is_symlink());
    // A file or hard link over a symbolic link replaces it.
    let bench = Bench::new();
    bench.apply(
        Tar::new()
            .symlink("l", "../canary/secret")
            .file("l", "mine")
            .symlink("k", "../canary/secret")
            .hard_link("k", "l"),
    );
    assert_eq!(fs::read(bench.path("k")).unwrap(), b"mine");
}

#[test]
fn names_never_lead_outside() {
    for name in ["../canary/secret", "a/../../canary/x", "/../canary/x", ".."] {
        Bench::new().refused(Tar::new().file(name, "x"), "upwards");
        Bench::new().refused(Tar::new().file("f", "x").hard_link("h", name), "hard link");
    }
    let bench = Bench::new();
    bench.apply(Tar::new().file("/etc/abs", "x").file("//x", "y"));
    assert!(bench.path("etc/abs").is_file() && bench.path("x").is_file());
    Bench::new().refused(Tar::new().hard_link("h", "/etc/passwd"), "not a file of the same layer");
    Bench::new().refused(Tar::new().dir("d", 0o755).hard_link("h", "d"), "\"d\"");
    Bench::new().refused(Tar::new().header(&Header { pax: &[("path", b"a\0b")], ..Header::new("x", b'0') }), "NUL");
}

#[test]
fn whiteouts_become_overlay_form() {
    let bench = Bench::new();
    let applied = bench.apply(
        Tar::new()
            .file("d/.wh.gone", "")
            .file("o/.wh..wh..opq", "")
            .file("o/stays", "x")
            .file("both", "x")
            .file(".wh.both", "")
            .file(".wh.both2", "")
            .file("both2", "x")
            .dir("dir1", 0o755)
            .file("dir1/in", "x")
            .file(".wh.dir1", "")
            .file(".wh.dir2", "")
            .dir("dir2", 0o755)
            .file(".wh.dir3", "")
            .file("dir3/in", "x")
            .file(".wh..wh.aufs", "")
            .dir(".wh..wh.plnk", 0o700)
            .file(".wh..wh.plnk/1.2", "x"),
    );
    assert!(!applied.hides_lower);
    assert!(bench.is_whiteout("d/gone") && bench.is_opaque("o") && !bench.path(".wh..wh.aufs").exists());
    assert!(bench.path("o/stays").is_file() && bench.path("both").is_file() && bench.path("both2").is_file());
    assert!(bench.is_opaque("dir1") && bench.path("dir1/in").is_file());
    assert!(bench.is_opaque("dir2") && bench.is_opaque("dir3") && bench.path("dir3/in").is_file());
    assert!(!bench.path(".wh..wh.plnk").exists());
    assert!(Bench::new().apply(Tar::new().file(".wh..wh..opq", "")).hides_lower);
}

#[test]
fn whiteouts_that_are_refused() {
    for (name, word) in [
        (".wh.", "without a name"),
        (".wh..", "without a name"),
        (".wh...", "without a name"),
        (".wh..wh.x", "not known"),
    ] {
        Bench::new().refused(Tar::new().file(name, ""), word);
    }
    Bench::new().refused(Tar::new().dir(".wh.d", 0o755), "regular file");
    Bench::new().refused(Tar::new().file("f", "x").hard_link(".wh.f", "f"), "regular file");
    Bench::new().refused(Tar::new().file(".wh.d/x", ""), "named like a whiteout");
    Bench::new().refused(Tar::new().file(".wh.a", "").hard_link("b", "a"), "not a file of the same layer");
    Bench::new()
        .refused(Tar::new().header(&Header { device: (0, 0), ..Header::new("a", b'3') }), "whiteout of overlayfs");
}

#[test]
fn archives_that_two_readers_see_differently_are_refused() {
    let hidden = Tar::new().file("hidden", "x").bytes();
    // The PAX size and the header's size differ: the content is skipped by one of them (RUSTSEC-2025-0110).
    let bench = Bench::new();
    let size = hidden.len().to_string();
    bench.apply(Tar::new().header(&Header {
        content: &hidden,
        size: Some(0),
        pax: &[("size", size.as_bytes())],
        ..Header::new("f", b'0')
    }));
    assert_eq!(fs::read(bench.path("f")).unwrap(), hidden);
    assert!(!bench.path("hidden").exists());
    Bench::new().refused(Tar::new().header(&Header { pax: &[("size", b"12x")], ..Header::new("f", b'0') }), "number");
    for kind in [b'1', b'2', b'3', b'5', b'6'] {
        Bench::new().refused(
            Tar::new().header(&Header { content: &hidden, link: b"x", ..Header::new("f", kind) }),
            "size is not zero",
        );
    }
    let broken = [&pax(&[("mtime", b"1")])[..], b"nonsense"].concat();
    let header = Header { content: &broken, ..Header::new("x", b'x') };
    Bench::new().refused(Tar::new().header(&header).file("f", "x"), "malformed");
    Bench::new().refused(Tar::new().header(&Header::new("f", b'X')), "type is not known");
    let owner = [("uid", &b"4294967296"[..])];
    Bench::new().refused(Tar::new().header(&Header { pax: &owner, ..Header::new("f", b'0') }), "owner");
    let mut damaged = Tar::new().file("f", "x").bytes();
    damaged[0] ^= 1;
    assert_eq!(Bench::new().try_apply(damaged, &Limits::default()).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn truncation_at_every_block_is_seen() {
    let whole = Tar::new().file("a", noise(1, 1300)).symlink("l", "a").file("b", "x").bytes();
    let content_end = 512 + 1300;
    for length in (0..whole.len() - 1024).step_by(64) {
        let result = Bench::new().try_apply(whole[..length].to_vec(), &Limits::default());
        let at_boundary = [0, 2048, 2560].contains(&length);
        let only_padding_lost = (content_end..2048).contains(&length) || (3073..3584).contains(&length);
        assert_eq!(result.is_ok(), at_boundary || only_padding_lost, "{length}: {result:?}");
    }
}

#[test]
fn sparse_files_are_bounded_and_right() {
    let bench = Bench::new();
    let map = b"0,3,1000000,4";
    let records: &[(&str, &[u8])] =
        &[("GNU.sparse.map", map), ("GNU.sparse.size", b"2000000"), ("GNU.sparse.name", b"holes")];
    bench.apply(Tar::new().header(&Header { content: b"abcWXYZ", pax: records, ..Header::new("x", b'0') }));
    let content = fs::read(bench.path("holes")).unwrap();
    assert_eq!((content.len(), &content[..3], &content[1_000_000..1_000_004]), (2_000_000, &b"abc"[..], &b"WXYZ"[..]));
    assert!(content[3..1_000_000].iter().all(|b| *b == 0));
    for (map, size) in [("0,3,2,4", "100"), ("0,3,98,4", "100"), ("0,3", "100"), ("18446744073709551615,7", "100")] {
        let records: &[(&str, &[u8])] = &[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())];
        Bench::new().refused(
            Tar::new().header(&Header { content: b"abcWXYZ", pax: records, ..Header::new("x", b'0') }),
            "sparse map",
        );
    }
    let records: &[(&str, &[u8])] = &[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9000000000000000000")];
    let bomb = Tar::new().header(&Header { content: b"a", pax: records, ..Header::new("x", b'0') });
    assert_eq!(Bench::new().try_apply(bomb.bytes(), &Limits::default()).unwrap_err().kind(), Kind::Exhausted);
    let many: Vec<String> = (0..10_000).map(|n| format!("{},0", n * 2)).collect();
    let many = many.join(",");
    let records: &[(&str, &[u8])] = &[("GNU.sparse.map", many.as_bytes()), ("GNU.sparse.size", b"90000")];
    Bench::new().refused(Tar::new().header(&Header { pax: records, ..Header::new("x", b'0') }), "sparse");
}

#[test]
fn bombs_meet_limits() {
    let exhausted = |tar: Vec<u8>, limits: &Limits| {
        let error = Bench::new().try_apply(tar, limits).unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    };
    let entries = Limits { entries: 2, ..Limits::default() };
    exhausted(Tar::new().file("a", "").file("b", "").file("c", "").bytes(), &entries);
    let reserve = Limits { reserve_bytes: u64::MAX, ..Limits::default() };
    // A hundredth of the file system is asked for at most, which this machine has.
    Bench::new().try_apply(Tar::new().file("a", "x").bytes(), &reserve).unwrap();
    let value = noise(3, 2 << 20);
    Bench::new().refused(Tar::new().header(&Header { pax: &[("comment", &value)], ..Header::new("f", b'0') }), "limit");
    let many: Vec<(String, &[u8])> = (0..100).map(|n| (format!("SCHILY.xattr.user.a{n}"), &b"x"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    Bench::new().refused(Tar::new().header(&Header { pax: &many, ..Header::new("f", b'0') }), "64 extended");
    let mut pile = Tar::new();
    for _ in 0..100 {
        pile = pile.header(&Header { content: b"11 path=ab\n", ..Header::new("x", b'x') });
    }
    assert_eq!(
        Bench::new().try_apply(pile.file("f", "").bytes(), &Limits::default()).unwrap_err().kind(),
        Kind::Corrupt
    );
}

#[test]
fn a_stream_is_verified_on_both_sides() {
    let plain = Tar::new().file("a", noise(2, 300_000)).bytes();
    let diff_id = DiffId::new(Digest::of(&plain));
    for form in [plain.clone(), gzip(&plain), zstd(&plain), [gzip(&plain[..1000]), gzip(&plain[1000..])].concat()] {
        let run = |blob: Option<(Digest, u64)>, diff_id: &DiffId| {
            let bench = Bench::new();
            let root = fs::File::open(bench.path("")).unwrap();
            stream(&form[..], &Expected { blob, diff_id: diff_id.clone() }, root.as_fd(), &Limits::default(), &Nobody)
        };
        let size = form.len() as u64;
        let digest = Digest::of(&form);
        run(Some((digest.clone(), size)), &diff_id).unwrap();
        run(None, &diff_id).unwrap();
        let other = Digest::of(b"other");
        for (blob, id, word) in [
            (Some((other.clone(), size)), &diff_id, "its digest is"),
            (Some((digest.clone(), size + 1)), &diff_id, "bytes"),
            (Some((digest.clone(), size)), &DiffId::new(other.clone()), "uncompressed digest"),
            (None, &DiffId::new(other.clone()), "uncompressed digest"),
        ] {
            let error = run(blob, id).unwrap_err();
            assert!(error.kind() == Kind::Corrupt && error.to_string().contains(word), "{error}");
        }
    }
}

#[test]
fn a_decompression_bomb_is_refused_early() {
    let zeros = vec![0; 64 << 20];
    let plain = Tar::new().file("zeros", &zeros).bytes();
    for bomb in [gzip(&plain), zstd(&plain)] {
        let bench = Bench::new();
        let root = fs::File::open(bench.path("")).unwrap();
        let run = |inflate_free_bytes: u64| {
            let limits = Limits { inflate_free_bytes, ..Limits::default() };
            let expected = Expected {
                blob: Some((Digest::of(&bomb), bomb.len() as u64)),
                diff_id: DiffId::new(Digest::of(&plain)),
            };
            stream(&bomb[..], &expected, root.as_fd(), &limits, &Nobody)
        };
        let error = run(1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
        assert!(fs::metadata(bench.path("zeros")).unwrap().len() < zeros.len() as u64, "it stops early");
        run(1 << 30).unwrap();
    }
}

/// Archives from a small set of names, targets and kinds, so that entries meet: nothing may leave the root, whatever the order.
#[test]
fn random_archives_never_touch_the_canary() {
    const NAMES: [&str; 16] = [
        "a",
        "a/b",
        "a/b/c",
        "l",
        "l/secret",
        "l/x",
        "../canary/secret",
        "./",
        "a/.wh.b",
        ".wh.a",
        "l/.wh..wh..opq",
        ".wh.l",
        "/abs",
        "a/../l",
        "h",
        "b/../../canary/y",
    ];
    const TARGETS: [&str; 8] = ["../canary", "../canary/secret", "a", "l", "/etc/passwd", "a/b", "..", "l/secret"];
    let mut applied = 0;
    for seed in 0..600 {
        let random = noise(seed + 1, 64);
        let mut tar = Tar::new();
        for choice in random.chunks(4).take(2 + usize::from(random[63]) % 12) {
            let name = NAMES[usize::from(choice[0]) % NAMES.len()];
            let kind = [b'0', b'0', b'1', b'2', b'2', b'5', b'5', b'6'][usize::from(choice[1]) % 8];
            let link = match kind {
                b'1' | b'2' => TARGETS[usize::from(choice[2]) % TARGETS.len()].as_bytes(),
                _ => b"",
            };
            let mode = 0o7777 & (u32::from(choice[3]) << 4);
            let content: &[u8] = if kind == b'0' { b"overwritten" } else { b"" };
            tar = tar.header(&Header { link, mode, uid: 12, mtime: 3, content, ..Header::new(name, kind) });
        }
        let bench = Bench::new();
        // `try_apply` compares the canary and looks beside the root.
        applied += usize::from(bench.try_apply(tar.bytes(), &Limits::default()).is_ok());
    }
    assert!((20..580).contains(&applied), "{applied} of 600 applied: the mix must have both");
}
