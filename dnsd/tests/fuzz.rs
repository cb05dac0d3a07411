//! The fuzz targets on any compiler: the inputs of `fuzz/corpus/`, changed at random, for a moment in every
//! test run and as long as one likes with `FUZZ_SECONDS=600 cargo test --release -p dnsd --test fuzz`.
//!
//! It does not see which code an input reaches, as cargo-fuzz does; inputs that are nearly right, put
//! together from others that are, get it surprisingly far all the same. A finding is printed as it is to be
//! kept: a file for the corpus.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "how many inputs were tried")]
#![allow(clippy::disallowed_methods, reason = "the length of the run is no setting of the daemon")]

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each target is tried if nobody says.
const MILLISECONDS: u64 = 700;
/// Longest input, in bytes.
const INPUT_BYTES_MAX: usize = 4_096;
/// Most changes to one input.
const CHANGES_MAX: usize = 6;
/// Bytes that mean something in one of the formats.
const SPECIAL: &[u8] = b"\x00\x01\x0c\x21\x29\x3f\x40\x7f\x80\xc0\xfc\xff*$\r\n\"{}[]:,\\-0129 .";

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One of the inputs, changed here and there, perhaps with a piece of another.
fn changed(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..=random.usize(..CHANGES_MAX) {
        let at = random.usize(..=input.len());
        match random.u8(..8) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = SPECIAL[random.usize(..SPECIAL.len())],
            2 if at < input.len() => input[at] = random.u8(..),
            3 => input.insert(at, SPECIAL[random.usize(..SPECIAL.len())]),
            4 => drop(input.drain(at..(at + random.usize(..8)).min(input.len()))),
            5 => input.truncate(at),
            6 => {
                let end = (at + random.usize(..64)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                let to = (from + random.usize(..64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn run(name: &str, target: fn(&[u8])) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let length = seconds.map_or(Duration::from_millis(MILLISECONDS), Duration::from_secs);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let corpus = corpus(name);
    let (begin, mut tried) = (Instant::now(), 0_u64);
    let mut check = |input: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        assert!(outcome.is_ok(), "{name} (seed {seed}) falls over: b\"{}\"", input.escape_ascii());
        tried += 1;
    };
    corpus.iter().for_each(|input| check(input));
    while begin.elapsed() < length {
        check(&changed(&mut random, &corpus));
    }
    println!("{name}: {tried} inputs in {:?}, seed {seed}", begin.elapsed());
}

#[test]
fn dns() {
    run("dns", targets::dns);
}

#[test]
fn resp() {
    run("resp", targets::resp);
}

#[test]
fn document() {
    run("document", targets::document);
}
