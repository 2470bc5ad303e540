//! The files of the spool: segments that are only ever appended to, read from the oldest and deleted whole.
//!
//! A segment's name is when it was begun, in microseconds since 1970, and it takes records for an hour or up to 4 MiB. None
//! is appended to after a start or a failed write, so a torn record has nothing behind it. What [`Log::append`] says it
//! took is on the disk (fsync of the file, and of the folder where the file is new). Blocks its thread.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::record::intact;

/// A segment is closed at this many bytes: what a replay holds in memory, and does again after a crash.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// A segment is closed after this long, so that its name tells the age of all that is in it.
const SPAN: SignedDuration = SignedDuration::from_hours(1);

const LOCK: &str = "lock";
const EXTENSION: &str = "events";

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the spool `{}` belongs to a daemon that runs; give each daemon its own folder by `spool` in [tracking]",
        .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "the spool `{}` cannot be used; make it writable, or name another folder by `spool` in [tracking]",
        folder.display()
    )]
    Io { folder: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    /// In bytes, of all segments together.
    limit: u64,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// Open at the newest segment, while that one takes records.
    active: Option<File>,
    /// Held until this is dropped.
    _lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The oldest record in it is hardly older, the youngest at most an hour younger.
    pub(super) begun: Timestamp,
    bytes: u64,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) segment: Segment,
    pub(super) records: Vec<Vec<u8>>,
    /// Bytes behind the first damage.
    pub(super) damaged: usize,
}

impl Log {
    /// Makes the folder where there is none, and takes it for this process.
    pub(super) fn open(folder: &Path, limit: u64) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(folder.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(folder.to_owned()),
            TryLockError::Error(source) => failed(source),
        })?;
        let segments = segments(folder).map_err(failed)?.into();
        Ok(Log { folder: folder.to_owned(), limit, segments, active: None, _lock: lock })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn begun(&self) -> Option<Timestamp> {
        self.segments.front().map(|segment| segment.begun)
    }

    /// Appends as many of the framed `records` as the limit leaves room for, in their order, and returns their number.
    ///
    /// # Errors
    /// The disk's; then none of them counts as taken, though some may turn up after a crash.
    pub(super) fn append(&mut self, records: &[Vec<u8>], now: Timestamp) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.bytes());
        let (mut taken, mut bytes) = (0, Vec::new());
        for record in records {
            if (bytes.len() + record.len()) as u64 > room {
                break;
            }
            bytes.extend_from_slice(record);
            taken += 1;
        }
        if taken > 0
            && let Err(error) = self.write(&bytes, now)
        {
            self.abandon();
            return Err(error);
        }
        Ok(taken)
    }

    fn write(&mut self, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let outgrown =
            |segment: &Segment| segment.bytes >= SEGMENT || now.duration_since(segment.begun).abs() >= SPAN;
        if self.segments.back().is_none_or(outgrown) {
            self.seal();
        }
        let mut file = match self.active.take() {
            Some(file) => file,
            None => self.begin(now)?,
        };
        file.write_all(bytes)?;
        file.sync_data()?;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += bytes.len() as u64;
        }
        self.active = Some(file);
        Ok(())
    }

    fn begin(&mut self, now: Timestamp) -> io::Result<File> {
        let after = self.segments.back().map_or(i64::MIN, |last| last.begun.as_microsecond() + 1);
        let begun = Timestamp::from_microsecond(now.as_microsecond().max(after)).unwrap_or(now);
        let segment = Segment { begun, bytes: 0 };
        let file = private().create_new(true).open(self.path(segment))?;
        self.segments.push_back(segment);
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    /// The newest segment takes no more.
    fn seal(&mut self) {
        self.active = None;
    }

    /// After a failed write: what lies behind the last good one is not known. A disk that goes on failing leaves no files.
    fn abandon(&mut self) {
        self.seal();
        if let Some(&empty) = self.segments.back().filter(|segment| segment.bytes == 0) {
            self.forget(empty).ok();
        }
    }

    /// What the oldest segment holds, which takes no more then.
    ///
    /// # Errors
    /// The disk's. The file is left for the next start, and the one after it is the oldest now.
    pub(super) fn oldest(&mut self) -> io::Result<Option<Contents>> {
        let Some(&segment) = self.segments.front() else { return Ok(None) };
        if self.segments.len() == 1 {
            self.seal();
        }
        let bytes = match fs::read(self.path(segment)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.segments.pop_front();
                return Err(error);
            }
        };
        let (records, whole) = intact(&bytes);
        let records = records.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Some(Contents { segment, records, damaged: bytes.len() - whole }))
    }

    /// Deletes a segment that [`Log::oldest`] gave. One that cannot be deleted comes again after the next start.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn forget(&mut self, segment: Segment) -> io::Result<()> {
        self.segments.retain(|other| other.begun != segment.begun);
        fs::remove_file(self.path(segment))
    }

    fn path(&self, segment: Segment) -> PathBuf {
        self.folder.join(format!("{:020}.{EXTENSION}", segment.begun.as_microsecond()))
    }
}

/// Files that their owner alone may read: events hold addresses of networks.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Those of an earlier run, the oldest first.
fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let begun = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let begun = begun.and_then(|begun| Timestamp::from_microsecond(begun).ok());
        if let (Some(begun), Some(EXTENSION)) = (begun, path.extension().and_then(|it| it.to_str())) {
            segments.push(Segment { begun, bytes: entry.metadata()?.len() });
        }
    }
    segments.sort_by_key(|segment| segment.begun);
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::record::framed;
    use super::*;

    const NO_LIMIT: u64 = u64::MAX;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn append(log: &mut Log, contents: &[&str], second: i64) -> usize {
        let records: Vec<_> = contents.iter().map(|content| framed(content.as_bytes()).unwrap()).collect();
        log.append(&records, at(second)).unwrap()
    }

    /// Everything, segment by segment; deleted behind.
    fn drained(log: &mut Log) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        while let Some(contents) = log.oldest().unwrap() {
            log.forget(contents.segment).unwrap();
            all.push(contents.records.into_iter().map(|it| String::from_utf8(it).unwrap()).collect());
        }
        all
    }

    fn files(folder: &TempDir) -> Vec<PathBuf> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths.filter(|path| !path.ends_with(LOCK)).collect();
        files.sort();
        files
    }

    #[test]
    fn what_was_appended_comes_back_in_order_and_leaves_nothing() {
        let folder = folder();
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        assert_eq!(append(&mut log, &["a", "b"], 0) + append(&mut log, &["c"], 1), 3);
        assert_eq!(log.begun(), Some(at(0)));
        assert_eq!(log.bytes(), fs::metadata(&files(&folder)[0]).unwrap().len());
        assert_eq!(drained(&mut log), [["a", "b", "c"]]);
        assert_eq!((log.bytes(), log.begun(), files(&folder)), (0, None, Vec::new()));
    }

    #[test]
    fn the_next_start_finds_what_the_last_one_left() {
        let folder = folder();
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        append(&mut log, &["a"], 0);
        drop(log);
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        // The clock was set back meanwhile.
        append(&mut log, &["b"], -5);
        assert_eq!(drained(&mut log), [["a"], ["b"]]);
    }

    #[test]
    fn a_segment_that_is_being_read_grows_no_more() {
        let folder = folder();
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        append(&mut log, &["a"], 0);
        let first = log.oldest().unwrap().unwrap();
        append(&mut log, &["b"], 0);
        log.forget(first.segment).unwrap();
        assert_eq!(drained(&mut log), [["b"]]);
    }

    #[test]
    fn a_segment_ends_after_an_hour_or_at_4_mib() {
        let folder = folder();
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        for second in [0, 3599, 3600, 3601] {
            append(&mut log, &["x"], second);
        }
        append(&mut log, &[&"y".repeat(4 * 1024 * 1024)], 3602);
        append(&mut log, &["z"], 3603);
        let lengths: Vec<_> = drained(&mut log).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 3, 1]);
    }

    #[test]
    fn at_the_limit_it_takes_what_fits_and_after_a_replay_again() {
        let folder = folder();
        let mut log = Log::open(folder.path(), 30).unwrap();
        assert_eq!(append(&mut log, &["one", "two", "three"], 0), 2);
        assert_eq!(append(&mut log, &["four"], 0), 0);
        assert_eq!(drained(&mut log), [["one", "two"]]);
        assert_eq!(append(&mut log, &["five"], 0), 1);
    }

    #[test]
    fn two_daemons_do_not_share_one() {
        let folder = folder();
        let first = Log::open(folder.path(), NO_LIMIT).unwrap();
        let refusal = Log::open(folder.path(), NO_LIMIT).unwrap_err();
        assert!(matches!(refusal, OpenError::InUse(_)), "{refusal}");
        drop(first);
        Log::open(folder.path(), NO_LIMIT).unwrap();
    }

    #[test]
    fn its_owner_alone_reads_it() {
        let outer = folder();
        let folder = outer.path().join("data/spool");
        let mut log = Log::open(&folder, NO_LIMIT).unwrap();
        append(&mut log, &["a"], 0);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert!(fs::read_dir(&folder).unwrap().all(|entry| mode(&entry.unwrap().path()) == 0o600));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_its_remedy() {
        let folder = folder();
        fs::write(folder.path().join("file"), "").unwrap();
        let refusal = Log::open(&folder.path().join("file/spool"), NO_LIMIT).unwrap_err().to_string();
        assert!(refusal.contains("`spool` in [tracking]"), "{refusal}");
    }

    #[test]
    fn a_file_that_is_gone_does_not_hold_up_the_others() {
        let folder = folder();
        let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
        append(&mut log, &["a"], 0);
        append(&mut log, &["b"], 3600);
        fs::remove_file(&files(&folder)[0]).unwrap();
        assert!(log.oldest().is_err());
        assert_eq!(drained(&mut log), [["b"]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_torn_tail_costs_only_itself(
            groups in prop::collection::vec(prop::collection::vec("[a-z]{0,20}", 1..5), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let folder = folder();
            let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
            for group in &groups {
                append(&mut log, &group.iter().map(String::as_str).collect::<Vec<_>>(), 0);
            }
            let whole = log.bytes();
            drop(log);
            let cut = cut.index(usize::try_from(whole).unwrap() + 1) as u64;
            File::options().write(true).open(&files(&folder)[0]).unwrap().set_len(cut).unwrap();
            let mut log = Log::open(folder.path(), NO_LIMIT).unwrap();
            append(&mut log, &["after"], 1);
            let all: Vec<String> = drained(&mut log).concat();
            let (last, before) = all.split_last().unwrap();
            let written: Vec<String> = groups.concat();
            prop_assert_eq!(last, "after");
            prop_assert_eq!(before, &written[..before.len()]);
            prop_assert!(cut < whole || before.len() == written.len());
        }
    }
}
