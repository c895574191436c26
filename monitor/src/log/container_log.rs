// SPDX-License-Identifier: Apache-2.0
//! The log of one container: two streams, one file, a counter of what was lost.

use std::os::fd::OwnedFd;

use super::batch::{Batch, Tag, content_bytes, last_tag};
use super::file::LogFile;
use super::line::{LineSplitter, Piece};

/// An output stream of a container. A terminal has standard output only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in a log line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of one container. Without a file, output is discarded and not counted: nobody asked for it.
#[derive(Debug, Default)]
pub struct ContainerLog {
    file: Option<LogFile>,
    stdout: Track,
    stderr: Track,
    dropped_bytes: u64,
}

/// What is known of one stream between two reads.
#[derive(Debug, Default)]
struct Track {
    splitter: LineSplitter,
    /// The last line of the stream that is in the file is a partial one.
    open: bool,
}

/// What [`ContainerLog::resume`] needs of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Bytes that wait for their newline.
    pub carry: Vec<u8>,
    /// A part of the line that is being read was written already.
    pub inside_line: bool,
    /// The last line of the stream that is in the file is a partial one.
    pub open: bool,
}

impl ContainerLog {
    /// Goes on with a log that another program wrote.
    pub fn resume(file: Option<OwnedFd>, stdout: LogState, stderr: LogState, dropped_bytes: u64) -> Self {
        Self {
            file: file.map(LogFile::new),
            stdout: Track::resume(stdout),
            stderr: Track::resume(stderr),
            dropped_bytes,
        }
    }

    /// Everything that [`ContainerLog::resume`] needs: the file, then standard output and standard error.
    pub fn state(&self) -> (Option<&OwnedFd>, LogState, LogState) {
        let file = self.file.as_ref().map(LogFile::fd);
        (file, self.stdout.state(), self.stderr.state())
    }

    /// Content bytes that could not be written and were dropped.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Writes to another file from now on. A line that is half read goes there as a whole; pieces of it that were
    /// written already stay where they are, and decoding the two files one after the other gives what was written.
    pub fn swap(&mut self, file: OwnedFd) {
        self.file = Some(LogFile::new(file));
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Takes bytes that were read at `wall_ns` and writes the lines that are complete.
    pub fn write(&mut self, stream: Stream, data: &[u8], wall_ns: u64, batch: &mut Batch) {
        self.with(stream, wall_ns, batch, |splitter, sink| {
            splitter.feed(data, |piece| sink.take(&piece));
        });
    }

    /// The stream has ended: writes what is left of its last line.
    pub fn finish(&mut self, stream: Stream, wall_ns: u64, batch: &mut Batch) {
        self.with(stream, wall_ns, batch, |splitter, sink| {
            splitter.finish(|piece| sink.take(&piece));
        });
    }

    fn with(
        &mut self,
        stream: Stream,
        wall_ns: u64,
        batch: &mut Batch,
        work: impl FnOnce(&mut LineSplitter, &mut Sink<'_>),
    ) {
        let Some(file) = &mut self.file else {
            return;
        };
        let track = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        batch.begin(stream, wall_ns);
        let mut sink =
            Sink { file, batch, open_in_file: track.open, open: track.open, dropped_bytes: &mut self.dropped_bytes };
        work(&mut track.splitter, &mut sink);
        sink.flush();
        track.open = sink.open_in_file;
    }
}

impl Track {
    fn resume(state: LogState) -> Self {
        Self { splitter: LineSplitter::resume(state.carry, state.inside_line), open: state.open }
    }

    fn state(&self) -> LogState {
        LogState { carry: self.splitter.carry().to_vec(), inside_line: self.splitter.inside_line(), open: self.open }
    }
}

/// Collects pieces and writes them, and knows after each write what the file really holds.
struct Sink<'a> {
    file: &'a mut LogFile,
    batch: &'a mut Batch,
    open_in_file: bool,
    /// As `open_in_file`, with the pieces that are still in the batch.
    open: bool,
    dropped_bytes: &'a mut u64,
}

impl Sink<'_> {
    fn take(&mut self, piece: &Piece<'_>) {
        if piece.starts_line && self.open {
            // The end of the line before was dropped. Without this a reader would join it with the new one.
            self.push(&Piece { tag: Tag::Full, carried: &[], fresh: &[], starts_line: false });
        }
        self.push(piece);
    }

    fn push(&mut self, piece: &Piece<'_>) {
        if !self.batch.fits(piece.bytes()) {
            self.flush();
        }
        self.batch.push(piece);
        self.open = piece.tag == Tag::Partial;
    }

    fn flush(&mut self) {
        let lines = self.batch.bytes();
        let whole = self.file.append(lines);
        if let Some(tag) = last_tag(&lines[..whole]) {
            self.open_in_file = tag == Tag::Partial;
        }
        self.open = self.open_in_file;
        *self.dropped_bytes += content_bytes(&lines[whole..]);
        self.batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    use proptest::prelude::*;

    use super::*;
    use crate::limits::CHUNK_BYTES;

    const NO_PATH: Option<&str> = None;

    fn open(path: &Path) -> OwnedFd {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().into()
    }

    /// The bytes of a stream, decoded as the kubelet does.
    fn decode(log: &[u8], stream: Stream) -> Vec<u8> {
        let mut out = Vec::new();
        for line in log.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("every line ends");
            let mut fields = line.splitn(4, |&byte| byte == b' ');
            let time = fields.next().unwrap();
            assert_eq!((time.len(), &time[..2], time[29]), (30, b"20".as_slice(), b'Z'));
            let name = fields.next().unwrap();
            let tag = fields.next().unwrap();
            let content = fields.next().unwrap();
            assert!(content.len() <= CHUNK_BYTES && [b"stdout", b"stderr"].contains(&name.try_into().unwrap()));
            assert!([b"F", b"P"].contains(&tag.try_into().unwrap()));
            if name == stream.name().as_bytes() {
                out.extend_from_slice(content);
                if tag == b"F" {
                    out.push(b'\n');
                }
            }
        }
        out
    }

    const AT: u64 = 1_700_000_000_000_000_000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn decoding_gives_what_was_written_over_rotations(
            writes in prop::collection::vec(
                (
                    any::<bool>(),
                    prop_oneof![
                        20 => "[a-z\n ]{0,80}",
                        3 => (0_usize..40_000).prop_map(|bytes| "é".repeat(bytes)),
                        1 => Just("\n".repeat(3000)),
                    ],
                    0..10_u8,
                ),
                0..30,
            )
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut files = vec![dir.path().join("0")];
            let mut log = ContainerLog::default();
            log.swap(open(&files[0]));
            let mut batch = Batch::new();
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for (first, text, act) in &writes {
                let (stream, bytes) = if *first {
                    (Stream::Stdout, &mut stdout)
                } else {
                    (Stream::Stderr, &mut stderr)
                };
                bytes.extend_from_slice(text.as_bytes());
                log.write(stream, text.as_bytes(), AT, &mut batch);
                if *act == 0 {
                    files.push(dir.path().join(files.len().to_string()));
                    log.swap(open(files.last().unwrap()));
                } else if *act == 1 {
                    let (file, stdout, stderr) = log.state();
                    let file = file.unwrap().try_clone().unwrap();
                    log = ContainerLog::resume(Some(file), stdout, stderr, 0);
                }
            }
            log.finish(Stream::Stdout, AT, &mut batch);
            log.finish(Stream::Stderr, AT, &mut batch);
            let text: Vec<u8> = files.iter().flat_map(|path| fs::read(path).unwrap()).collect();
            prop_assert!(decode(&text, Stream::Stdout) == stdout);
            prop_assert!(decode(&text, Stream::Stderr) == stderr);
            prop_assert_eq!(log.dropped_bytes(), 0);
        }
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let mut log = ContainerLog::default();
        log.write(Stream::Stdout, b"no newline", AT, &mut Batch::new());
        assert_eq!(log.state().1, LogState::default());
        assert_eq!(log.dropped_bytes(), 0);
    }

    #[test]
    fn the_lost_end_of_a_line_does_not_swallow_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        let mut batch = Batch::new();
        let mut log = ContainerLog::default();
        log.swap(open(&before));
        log.write(Stream::Stdout, &[b'x'; CHUNK_BYTES + 1], AT, &mut batch);
        log.swap(open(Path::new("/dev/full")));
        log.write(Stream::Stdout, b"yz\nlost\n", AT, &mut batch);
        assert_eq!(log.dropped_bytes(), 3 + 4, "x, yz and the lost line");
        log.swap(open(&after));
        log.write(Stream::Stdout, b"kept\n", AT, &mut batch);
        let text = [fs::read(&before).unwrap(), fs::read(&after).unwrap()].concat();
        let expected = [[b'x'; CHUNK_BYTES].as_slice(), b"\nkept\n"].concat();
        assert!(decode(&text, Stream::Stdout) == expected);
    }

    /// A real full disk: a tmpfs of 64 KiB in a mount namespace that ends with the thread.
    #[test]
    fn a_full_disk_drops_whole_lines_and_the_log_goes_on() {
        let work = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace, which needs root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(NO_PATH, "/", NO_PATH, private, NO_PATH).unwrap();
            let dir = tempfile::tempdir().unwrap();
            mount(Some("none"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
            let path = dir.path().join("log");
            let mut log = ContainerLog::default();
            log.swap(open(&path));
            let mut batch = Batch::new();
            let line = |number: u64| format!("line {number} {}\n", "-".repeat(90));
            let each = line(1000).len() as u64 - 1;
            for number in 1000..2000 {
                log.write(Stream::Stdout, line(number).as_bytes(), AT, &mut batch);
            }
            let full = decode(&fs::read(&path).unwrap(), Stream::Stdout);
            let kept = full.len() as u64 / (each + 1);
            assert!(kept > 100 && kept < 700, "{kept} lines kept");
            assert_eq!(log.dropped_bytes(), (1000 - kept) * each);
            nix::unistd::truncate(&path, 0).unwrap();
            log.write(Stream::Stdout, b"again\n", AT, &mut batch);
            let text = fs::read(&path).unwrap();
            assert_eq!(decode(&text, Stream::Stdout), b"again\n");
            log.close();
            nix::mount::umount(dir.path()).unwrap();
        });
        work.join().unwrap();
    }
}
