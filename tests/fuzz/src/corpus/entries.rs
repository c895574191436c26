// SPDX-License-Identifier: Apache-2.0
//! Lists of entries, one for each attack or rule.

use super::{Files, committed};
use crate::tar_entries::{Change, Component, Entry, Kind};

const A: Component = Component::Text(b"a");
const B: Component = Component::Text(b"b");
const SECRET: Component = Component::Text(b"secret");
const CANARY: Component = Component::Text(b"canary");
const UP: Component = Component::Text(b"..");
const HERE: Component = Component::Text(b".");
const NOTHING: Component = Component::Text(b"");
const HIDE_A: Component = Component::Text(b".wh.a");
const HIDE_B: Component = Component::Text(b".wh.b");
const OPAQUE: Component = Component::Text(b".wh..wh..opq");

#[test]
fn generated() {
    let mut files = escapes();
    files.extend(replacements());
    files.extend(whiteouts());
    files.extend(forms());
    committed("tar_entries", &files);
}

#[test]
fn bytes_and_back() {
    use arbitrary::{Arbitrary, Unstructured};
    let entry = Entry {
        mode: 0o4751,
        change: Change::PaxTime,
        length: 200,
        stamp: 9,
        ..link(Kind::HardLink, &[A, Component::Longest, Component::Canary], &[UP, CANARY, SECRET])
    };
    let bytes = entry.to_bytes();
    assert_eq!(Entry::arbitrary(&mut Unstructured::new(&bytes)).unwrap(), entry);
}

fn file(name: &[Component]) -> Entry {
    Entry::new(Kind::File, name)
}

fn dir(name: &[Component]) -> Entry {
    Entry { mode: 0o750, stamp: 3, ..Entry::new(Kind::Directory, name) }
}

fn link(kind: Kind, name: &[Component], to: &[Component]) -> Entry {
    Entry { link: to.to_vec(), ..Entry::new(kind, name) }
}

fn symlink(name: &[Component], to: &[Component]) -> Entry {
    link(Kind::Symlink, name, to)
}

fn hard_link(name: &[Component], to: &[Component]) -> Entry {
    link(Kind::HardLink, name, to)
}

fn bytes(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(Entry::to_bytes).collect()
}

fn table<const N: usize>(rows: [(&'static str, &[Entry]); N]) -> Files {
    rows.into_iter().map(|(name, entries)| (name, bytes(entries))).collect()
}

fn escapes() -> Files {
    table([
        ("refused-name-upwards", &[file(&[UP, CANARY, SECRET])]),
        ("refused-name-upwards-through-a-directory", &[dir(&[A]), file(&[A, UP, UP])]),
        ("refused-file-through-a-symlink", &[symlink(&[A], &[UP, CANARY]), file(&[A, SECRET])]),
        ("refused-directory-through-an-absolute-symlink", &[symlink(&[A], &[Component::Canary]), dir(&[A, A])]),
        ("refused-hard-link-through-a-symlink", &[symlink(&[A], &[UP, CANARY]), hard_link(&[B], &[A, SECRET])]),
        ("refused-hard-link-upwards", &[hard_link(&[B], &[UP, CANARY, SECRET])]),
        ("refused-hard-link-absolute", &[hard_link(&[B], &[Component::Canary, SECRET])]),
        ("refused-root-is-a-symlink", &[symlink(&[HERE], &[UP, CANARY])]),
        ("refused-whiteout-through-a-symlink", &[symlink(&[A], &[UP, CANARY]), file(&[A, HIDE_B])]),
        ("refused-opaque-through-a-symlink", &[symlink(&[A], &[Component::Canary]), file(&[A, OPAQUE])]),
        ("accepted-directory-over-a-symlink", &[symlink(&[A], &[UP, CANARY]), dir(&[A]), file(&[A, SECRET])]),
        ("accepted-file-over-a-symlink", &[symlink(&[A], &[UP, CANARY, SECRET]), file(&[A])]),
        ("accepted-hard-link-to-a-symlink", &[symlink(&[A], &[UP, CANARY, SECRET]), hard_link(&[B], &[A]), file(&[B])]),
        ("accepted-parent-becomes-a-symlink", &[dir(&[A]), file(&[A, B]), symlink(&[A], &[UP, CANARY])]),
        (
            "refused-cached-parent-becomes-a-symlink",
            &[file(&[A, B, A]), symlink(&[A, B], &[Component::Canary]), file(&[A, B, SECRET])],
        ),
        ("accepted-absolute-name", &[file(&[Component::Canary, SECRET])]),
        (
            "accepted-directory-listed-then-a-symlink",
            &[dir(&[A, B]), dir(&[A]), symlink(&[A, B], &[Component::Canary])],
        ),
    ])
}

fn replacements() -> Files {
    table([
        ("accepted-duplicate-file", &[file(&[A]), Entry { stamp: 1, ..file(&[A]) }]),
        ("accepted-duplicate-directory-merges", &[dir(&[A]), file(&[A, B]), Entry { mode: 0o1777, ..dir(&[A]) }]),
        ("accepted-file-over-a-full-directory", &[file(&[A, B, A]), file(&[A])]),
        ("accepted-directory-over-a-file", &[file(&[A]), dir(&[A]), file(&[A, B])]),
        ("accepted-hard-link-and-rewrite", &[file(&[A]), hard_link(&[B], &[A]), Entry { stamp: 1, ..file(&[A]) }]),
        ("accepted-hard-link-to-itself", &[file(&[A]), hard_link(&[A], &[A])]),
        (
            "accepted-hard-link-twice",
            &[file(&[A]), hard_link(&[B], &[A]), hard_link(&[B], &[A]), hard_link(&[A], &[B])],
        ),
        ("refused-hard-link-over-its-own-directory", &[file(&[A, B]), hard_link(&[A], &[A, B])]),
        ("refused-hard-link-to-a-directory", &[dir(&[A]), hard_link(&[B], &[A])]),
        ("refused-hard-link-to-nothing", &[hard_link(&[B], &[A])]),
        ("refused-file-below-a-file", &[file(&[A]), file(&[A, B])]),
        (
            "accepted-devices-and-fifo",
            &[
                Entry { mode: 0o13, ..Entry::new(Kind::Char, &[A]) },
                Entry { mode: 0, ..Entry::new(Kind::Block, &[B]) },
                Entry::new(Kind::Fifo, &[SECRET]),
                hard_link(&[CANARY], &[A]),
            ],
        ),
        ("refused-device-of-overlayfs", &[Entry { mode: 0, ..Entry::new(Kind::Char, &[A]) }]),
    ])
}

fn whiteouts() -> Files {
    table([
        ("accepted-whiteout", &[file(&[HIDE_A]), file(&[B, HIDE_B])]),
        ("accepted-whiteout-before-its-file", &[file(&[HIDE_A]), file(&[A])]),
        ("accepted-whiteout-after-its-file", &[file(&[A]), file(&[HIDE_A])]),
        ("accepted-whiteout-before-its-directory", &[file(&[HIDE_A]), dir(&[A]), file(&[A, B])]),
        ("accepted-whiteout-before-an-implied-directory", &[file(&[HIDE_A]), file(&[A, B])]),
        ("accepted-whiteout-after-its-directory", &[dir(&[A]), file(&[HIDE_A])]),
        ("accepted-whiteout-twice", &[file(&[HIDE_A]), file(&[HIDE_A])]),
        ("accepted-opaque", &[file(&[A, OPAQUE]), file(&[A, B])]),
        ("accepted-opaque-root", &[file(&[OPAQUE]), file(&[A])]),
        ("refused-whiteout-is-a-directory", &[dir(&[HIDE_A])]),
        ("refused-whiteout-is-a-hard-link", &[file(&[B]), hard_link(&[HIDE_A], &[B])]),
        ("refused-below-a-whiteout", &[file(&[HIDE_A, B])]),
        ("refused-hard-link-to-a-whiteout", &[file(&[HIDE_A]), hard_link(&[B], &[A])]),
    ])
}

fn forms() -> Files {
    let with = |change, entry: Entry| Entry { change, ..entry };
    table([
        ("accepted-nothing", &[]),
        ("accepted-root-listed", &[dir(&[HERE]), file(&[HERE, A]), file(&[A, NOTHING])]),
        ("accepted-longest-name", &[dir(&[Component::Longest]), file(&[Component::Longest, A])]),
        ("refused-name-too-long", &[file(&[Component::TooLong])]),
        ("accepted-name-is-not-utf8", &[file(&[Component::Text(b"\xff\xfe")])]),
        ("accepted-pax-name-wins", &[with(Change::PaxPath, file(&[A, B]))]),
        ("refused-pax-name-upwards", &[with(Change::PaxPath, file(&[UP, CANARY, SECRET]))]),
        ("accepted-pax-link-wins", &[with(Change::PaxLink, symlink(&[A], &[UP, CANARY])), file(&[B])]),
        ("refused-pax-hard-link-upwards", &[with(Change::PaxLink, hard_link(&[A], &[UP, CANARY, SECRET]))]),
        ("accepted-pax-time", &[with(Change::PaxTime, dir(&[A])), with(Change::PaxTime, symlink(&[B], &[A]))]),
        ("refused-pax-owner-is-none", &[with(Change::PaxOwner, file(&[A]))]),
        ("accepted-pax-size-wins", &[with(Change::PaxSize, file(&[A])), file(&[B])]),
        ("refused-pax-broken", &[with(Change::PaxBroken, file(&[A]))]),
        ("accepted-user-attribute", &[with(Change::UserAttribute, file(&[A])), with(Change::UserAttribute, dir(&[B]))]),
        (
            "accepted-overlay-attributes-left-out",
            &[with(Change::OverlayAttributes, file(&[A])), with(Change::OverlayAttributes, dir(&[B]))],
        ),
        ("refused-directory-with-content", &[with(Change::Content, dir(&[A]))]),
        ("refused-symlink-to-nothing", &[symlink(&[A], &[])]),
        ("refused-without-name", &[file(&[])]),
    ])
}
