// SPDX-License-Identifier: Apache-2.0
//! Whole archives: what the parser must see through before the applier has its turn.

use super::{Files, committed};
use crate::tar_writer::{Header, Writer};

#[test]
fn generated() {
    let mut files = layers();
    files.extend(headers());
    files.extend(sparse());
    committed("tar_applier", &files);
}

type Records<'a> = &'a [(&'a str, &'a [u8])];

fn archive(build: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    build(&mut writer);
    writer.finish()
}

/// A pax header, then an entry.
fn with_pax(records: Records<'_>, header: &Header, content: &[u8]) -> Vec<u8> {
    let records: Vec<_> = records.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.to_vec())).collect();
    archive(|writer| {
        writer.pax(&records).entry(header, content);
    })
}

fn file(name: &str) -> Header {
    Header::new(b'0', name)
}

fn layers() -> Files {
    let directory = |name: &str| Header { mode: 0o755, ..Header::new(b'5', name) };
    let ordinary = archive(|writer| {
        writer.entry(&directory("etc/"), b"").entry(&file("etc/passwd"), b"root:x:0:0::/:/bin/sh\n");
        writer.entry(&Header::new(b'2', "bin").to("usr/bin"), b"").entry(&file("usr/bin/sh"), &[0x7f; 600]);
        writer.entry(&Header::new(b'1', "usr/bin/ash").to("usr/bin/sh"), b"").entry(&file("var/.wh.cache"), b"");
    });
    let odd = archive(|writer| {
        writer.entry(&file("etc/passwd"), b"x").entry(&Header { mode: 0o6755, ..file("suid") }, b"x");
        writer.entry(&Header { device: (1, 3), ..Header::new(b'3', "null") }, b"");
        writer.entry(&Header::new(b'6', "fifo"), b"").entry(&Header::new(b'7', "contiguous"), b"x");
    });
    let escape = archive(|writer| {
        writer.entry(&Header::new(b'2', "a").to("../canary"), b"").entry(&file("a/secret"), b"stolen");
    });
    let chmod = archive(|writer| {
        writer
            .entry(&Header::new(b'2', "a").to("../canary/secret"), b"")
            .entry(&Header { mode: 0o777, ..directory("a") }, b"");
    });
    let long = format!("{}/file", "directory-with-a-name".repeat(8));
    [
        ("accepted-ordinary-layer", ordinary.clone()),
        ("accepted-odd-kinds", odd),
        ("accepted-empty", Vec::new()),
        ("accepted-two-zero-blocks", vec![0; 1024]),
        ("accepted-without-an-end", Writer::default().entry(&file("a"), b"x").unfinished()),
        ("accepted-bytes-after-the-end", [&ordinary[..], b"garbage"].concat()),
        ("accepted-symlink-then-directory", chmod),
        ("refused-symlink-then-file-below", escape),
        ("refused-upwards", Writer::default().entry(&file("../canary/secret"), b"x").finish()),
        (
            "refused-hard-link-upwards",
            Writer::default().entry(&Header::new(b'1', "a").to("../canary/secret"), b"").finish(),
        ),
        ("refused-cut-in-a-file", ordinary[..1600].to_vec()),
        ("refused-cut-in-a-header", ordinary[..700].to_vec()),
        ("accepted-gnu-long-name", Writer::default().entry(&file(&long), b"x").finish()),
        ("accepted-gnu-long-link", Writer::default().entry(&Header::new(b'2', "a").to(&long), b"").finish()),
    ]
    .into()
}

fn headers() -> Files {
    let hidden = Writer::default().entry(&file("hidden"), b"x").finish();
    let size = hidden.len().to_string();
    let mut damaged = hidden.clone();
    damaged[0] ^= 1;
    let smuggled = Writer::default()
        .entry(&Header { size: Some(hidden.len() as u64), ..Header::new(b'5', "d") }, &hidden)
        .finish();
    let pile = archive(|writer| {
        for _ in 0..12 {
            writer.pax(&[(b"path".to_vec(), b"ab".to_vec())]);
        }
        writer.entry(&file("f"), b"");
    });
    let broken =
        Writer::default().entry(&Header::new(b'x', "pax"), b"11 path=ab\nnonsense").entry(&file("f"), b"").finish();
    let overlay: Records<'_> = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/canary"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.ours", b"kept"),
    ];
    let capability: Records<'_> =
        &[("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0")];
    [
        (
            "accepted-pax-size-hides-an-archive",
            with_pax(&[("size", size.as_bytes())], &Header { size: Some(0), ..file("f") }, &hidden),
        ),
        ("accepted-pax-times", with_pax(&[("mtime", b"-1.5"), ("atime", b"1"), ("comment", b"x")], &file("f"), b"x")),
        (
            "accepted-pax-owner",
            with_pax(&[("uid", b"4294967294"), ("gid", b"7"), ("uname", b"root")], &file("f"), b"x"),
        ),
        ("accepted-pax-overlay-attributes", with_pax(overlay, &file("f"), b"x")),
        ("accepted-pax-file-capability", with_pax(capability, &file("f"), b"x")),
        (
            "accepted-pax-global",
            Writer::default().entry(&Header::new(b'g', "pax"), b"11 path=ab\n").entry(&file("f"), b"x").finish(),
        ),
        ("refused-pax-path-upwards", with_pax(&[("path", b"../canary/secret")], &file("f"), b"x")),
        ("refused-pax-path-with-nul", with_pax(&[("path", b"a\0b")], &file("f"), b"x")),
        ("refused-pax-owner-is-none", with_pax(&[("uid", b"4294967295")], &file("f"), b"x")),
        ("refused-pax-size-is-no-number", with_pax(&[("size", b"12x")], &file("f"), b"x")),
        ("refused-pax-broken", broken),
        ("refused-pile-of-headers", pile),
        ("refused-directory-with-content", smuggled),
        ("refused-checksum", damaged),
        ("refused-unknown-type", Writer::default().entry(&Header::new(b'X', "f"), b"").finish()),
        ("refused-device-of-overlayfs", Writer::default().entry(&Header::new(b'3', "a"), b"").finish()),
        (
            "refused-size-of-8-gib",
            Writer::default().entry(&Header { size: Some((8 << 30) - 1), ..file("f") }, b"x").finish(),
        ),
    ]
    .into()
}

fn sparse() -> Files {
    let records = |map: &'static [u8], size: &'static [u8]| -> Vec<(&'static str, &'static [u8])> {
        vec![("GNU.sparse.map", map), ("GNU.sparse.size", size), ("GNU.sparse.name", b"holes")]
    };
    let one_point_zero: Records<'_> = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"holes"),
        ("GNU.sparse.realsize", b"5000"),
    ];
    let mut map = b"1\n4000\n4\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"WXYZ");
    [
        ("accepted-sparse", with_pax(&records(b"0,3,100000,4", b"200000"), &file("f"), b"abcWXYZ")),
        ("accepted-sparse-1.0", with_pax(one_point_zero, &file("f"), &map)),
        ("refused-sparse-overlaps", with_pax(&records(b"0,3,2,4", b"100"), &file("f"), b"abcWXYZ")),
        ("refused-sparse-beyond-the-end", with_pax(&records(b"0,3,98,4", b"100"), &file("f"), b"abcWXYZ")),
        ("refused-sparse-overflow", with_pax(&records(b"18446744073709551615,7", b"100"), &file("f"), b"abcWXYZ")),
        ("refused-sparse-bomb", with_pax(&records(b"0,1", b"9000000000000000000"), &file("f"), b"a")),
        ("refused-sparse-odd-map", with_pax(&records(b"0,3,9", b"100"), &file("f"), b"abc")),
    ]
    .into()
}
