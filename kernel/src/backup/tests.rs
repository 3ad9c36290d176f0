#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::mpsc;

use super::*;
use crate::log::{LogStore, MemoryStorage, SledStorage, StoreError, Table};

struct Files(PathBuf);

impl Beside for Files {
    fn directory(&self) -> &Path {
        &self.0
    }

    fn write(&self, directory: &Path, made: &Made) -> io::Result<()> {
        assert_eq!(directory.extension(), Some("partial".as_ref()), "not yet under its name");
        if made.with_master_key {
            return Err(io::Error::other("there is no master key"));
        }
        fs::write(directory.join("beside"), "written")
    }
}

/// Storage whose backup waits for a word before each page.
struct Slow {
    inner: MemoryStorage,
    go: Mutex<mpsc::Receiver<Step>>,
}

enum Step {
    Page,
    Panic,
    End,
}

impl Storage for Slow {
    fn log(&self) -> Arc<dyn LogStore> {
        self.inner.log()
    }

    fn projections(&self) -> Arc<dyn Table> {
        self.inner.projections()
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        self.inner.ledgers()
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn backup(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        fs::write(directory.join("format"), "1").expect("written");
        for keys in 1.. {
            let go = self.go.lock().unwrap_or_else(PoisonError::into_inner);
            match go.recv().expect("a step") {
                Step::Page if progress(Copied { keys, expected: 9 }).is_break() => {
                    return Err(BackupError::Stopped);
                }
                Step::Page => {}
                Step::Panic => panic!("as asked"),
                Step::End => break,
            }
        }
        Ok(None)
    }
}

struct Fixture {
    place: tempfile::TempDir,
    backups: Backups,
    steps: mpsc::Sender<Step>,
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    let (steps, go) = mpsc::channel();
    let storage = Slow { inner: MemoryStorage::default(), go: Mutex::new(go) };
    let backups = Backups::new(Arc::new(storage), Some(Arc::new(Files(data))), Runtime::system());
    Fixture { place, backups, steps }
}

async fn ended(backups: &Backups) -> BackupStatus {
    let mut running = backups.inner.running.subscribe();
    running.wait_for(|running| !running).await.unwrap();
    backups.latest().unwrap()
}

#[tokio::test]
async fn one_backup_at_a_time_and_a_failed_one_leaves_nothing() {
    let Fixture { place, backups, steps } = fixture();
    let target = place.path().join("backup");
    assert!(backups.latest().is_none());
    let status = backups.start(target.clone(), false).unwrap();
    assert_eq!(status.state, BackupState::Running);
    let refused = backups.start(place.path().join("other"), false).expect_err("one at a time");
    assert_eq!(refused.problem, Problem::Conflict);
    steps.send(Step::Page).unwrap();
    steps.send(Step::End).unwrap();
    let status = ended(&backups).await;
    assert_eq!((status.state, status.keys, status.expected), (BackupState::Done, 1, 9));
    assert!(target.join("beside").exists() && status.ended.is_some());

    // The next one may go elsewhere; without a master key it fails at its end.
    let other = place.path().join("other");
    backups.start(other.clone(), true).unwrap();
    steps.send(Step::End).unwrap();
    let status = ended(&backups).await;
    assert_eq!(status.state, BackupState::Failed);
    assert!(status.error.unwrap().contains("no master key"));
    backups.start(other.clone(), false).unwrap();
    steps.send(Step::Panic).unwrap();
    let status = ended(&backups).await;
    assert_eq!(status.state, BackupState::Failed, "also where the copying breaks off");

    // What broke off is made anew.
    assert!(place.path().join("other.partial").exists());
    backups.start(other.clone(), false).unwrap();
    steps.send(Step::End).unwrap();
    assert_eq!(ended(&backups).await.state, BackupState::Done);
    assert!(other.exists() && !place.path().join("other.partial").exists());
}

#[tokio::test]
async fn stopping_ends_a_backup() {
    let Fixture { place, backups, steps } = fixture();
    let target = place.path().join("backup");
    backups.stop().await;
    let Fixture { place: second, backups: running, steps: more } = fixture();
    running.start(second.path().join("backup"), false).unwrap();
    let (stopping, feeding) = (running.clone(), more.clone());
    let stop = tokio::spawn(async move { stopping.stop().await });
    while !running.inner.stopping.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    feeding.send(Step::Page).unwrap();
    stop.await.unwrap();
    let status = running.latest().unwrap();
    assert_eq!(status.state, BackupState::Failed);
    assert!(status.error.unwrap().contains("stopped"));
    let left: Vec<_> =
        fs::read_dir(second.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["data"], "nothing is left of it");
    let refused = backups.start(target, false).expect_err("no more after the end");
    assert_eq!(refused.problem, Problem::Busy);
    drop((place, steps));
}

#[test]
fn a_backup_is_a_data_directory_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let storage = SledStorage::open(&data).unwrap();
    let write = |n: u8| (vec![n], Some(vec![n; 100]));
    storage.ledgers().apply((0..200).map(write).collect()).unwrap();
    storage.projections().apply(vec![write(1)]).unwrap();
    let target = place.path().join("backup");
    let mut asked = 0;
    let mut progress = |copied: Copied| {
        asked += 1;
        assert!(copied.keys <= copied.expected);
        // What is written now does not show.
        storage.ledgers().apply(vec![(vec![7], None), (vec![250], Some(vec![1]))]).unwrap();
        ControlFlow::Continue(())
    };
    let files = Files(data.clone());
    let head = make(&storage, &files, &target, Timestamp::UNIX_EPOCH, false, &mut progress);
    assert_eq!(head.unwrap(), None, "an empty log");
    assert!(asked > 0);
    let copy = SledStorage::open(&target).unwrap();
    let rows = copy.ledgers().scan(&[], None, 1000).unwrap();
    assert_eq!(rows, (0..200).map(|n| (vec![n], vec![n; 100])).collect::<Vec<_>>());
    assert!(copy.projections().scan(&[], None, 10).unwrap().is_empty(), "left to be rebuilt");
    let inside = make(&storage, &files, &data.join("x"), Timestamp::UNIX_EPOCH, false, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(matches!(inside, Err(MakeError::Place { .. })));
    let mut stop = |_| ControlFlow::Break(());
    let other = place.path().join("other");
    let stopped = make(&storage, &files, &other, Timestamp::UNIX_EPOCH, false, &mut stop);
    assert!(matches!(stopped, Err(MakeError::Copy(BackupError::Stopped))));
    assert!(!other.exists() && !place.path().join("other.partial").exists());
}
