//! From a folder: moved once its receipts are kept, left where it is until then.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::bounce::Maildir;

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["new", "cur", "tmp"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

fn maildir(dir: &TempDir, book: &Arc<Notebook>) -> Maildir {
    let book: Arc<dyn Book> = book.clone();
    Maildir { path: dir.path().to_owned(), reader: reader(), book, every: Duration::from_millis(1) }
}

fn names(dir: &TempDir, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.path().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn mails_move_once_they_are_kept() {
    let (dir, book) = (folder(), Arc::new(Notebook::default()));
    let maildir = maildir(&dir, &book);
    for (name, content) in [
        ("1.a.host", mail("postfix")),
        ("2.b.host", mail("vacation")),
        ("3.c.host:2,", mail("arf_abuse")),
        (".hidden", mail("postfix")),
    ] {
        fs::write(dir.path().join("new").join(name), content).unwrap();
    }
    fs::write(dir.path().join("new/4.d.host"), [0xff, 0, b'\n']).unwrap();
    book.goes(true);
    assert!(maildir.round().await.is_err());
    assert_eq!(names(&dir, "new").len(), 5);
    assert!(names(&dir, "cur").is_empty());

    book.goes(false);
    assert_eq!(maildir.round().await.unwrap(), 4);
    assert_eq!(names(&dir, "new"), set(&[".hidden"]));
    assert_eq!(names(&dir, "cur"), set(&["1.a.host:2,S", "2.b.host:2,S", "3.c.host:2,", "4.d.host:2,S"]));
    assert_eq!(book.receipts().len(), 2);
    assert_eq!(book.kinds().len(), 4);
    assert_eq!(maildir.round().await.unwrap(), 0);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named_and_tried_again() {
    let (dir, book) = (tempfile::tempdir().unwrap(), Arc::new(Notebook::default()));
    let maildir = maildir(&dir, &book);
    let error = maildir.round().await.unwrap_err().to_string();
    assert!(error.contains(&dir.path().join("new").display().to_string()), "{error}");
    let part = crate::lifecycle::Shutdown::new("bounces");
    let run = tokio::spawn(maildir.run(part.clone()));
    fs::create_dir(dir.path().join("cur")).unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    fs::write(dir.path().join("new/1"), mail("postfix")).unwrap();
    while book.kinds().is_empty() {
        tokio::task::yield_now().await;
    }
    part.ask();
    run.await.unwrap();
    assert_eq!(names(&dir, "cur"), set(&["1:2,S"]));
}
