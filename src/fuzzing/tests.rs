//! The seeds as ordinary tests: each as it is, and damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{TARGETS, check};

/// Seeds are read by people and by every run of the tests.
const LARGEST: usize = 4_096;
const FEWEST: usize = 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(target);
    let seeds = names(&folder).into_iter();
    seeds.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

/// Says which seed it was where the check panics.
struct Trial<'s>(&'s str, &'s str);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target `{}` broke on the seed `{}`", self.0, self.1);
        }
    }
}

/// Cut short and with a byte replaced, now here and now there, the same in every run.
fn damaged(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut dice = fastrand::Rng::with_seed(seed.len() as u64);
    (0..8).map(move |round| {
        let mut bytes = seed.to_vec();
        let at = dice.usize(..=seed.len());
        match bytes.get_mut(at) {
            Some(byte) if round % 2 == 0 => *byte = dice.u8(..),
            _ => bytes.truncate(at),
        }
        bytes
    })
}

fn replay(target: &str) {
    let seeds = seeds(target);
    assert!(seeds.len() >= FEWEST, "`{target}` has {} seeds", seeds.len());
    for (name, seed) in &seeds {
        let _trial = Trial(target, name);
        assert!(seed.len() <= LARGEST, "{} bytes: make it smaller", seed.len());
        check(target, seed);
        damaged(seed).for_each(|bytes| check(target, &bytes));
    }
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed_and_has_its_program() {
            let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(targets, [$(stringify!($target).to_owned()),*].into());
            assert_eq!(targets, names(&fuzz().join("seeds")));
            let programs: BTreeSet<_> = targets.iter().map(|name| format!("{name}.rs")).collect();
            assert_eq!(programs, names(&fuzz().join("fuzz_targets")));
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
            for name in targets {
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
                let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
                assert!(program.contains(&format!("check(\"{name}\", input)")), "{program}");
            }
        }
    };
}

replayed!(bounce config contacts filter hook job smpp smtp_reply template token wechat_envelope wechat_xml);
