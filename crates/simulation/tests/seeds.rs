//! Schedules that once broke a promise. What each of them found is mended; they stay, because what was
//! wrong once is the likeliest to be wrong again.

use simulation::schedule::Schedule;

/// Seeds, and what went wrong.
const MENDED: &[(u64, &str)] = &[
    (14736, "a master came back from an early RDB while its slaves were away, and was believed"),
    (18395, "the same, and the RDB was of the present lineage"),
    (20153, "another node was promoted while a promotion without reply was still under way"),
    (20699, "a master came back from an early RDB while its only slave was stopped"),
    (29134, "the same, and its slave could not be parked"),
    (63338, "the same, found by another dictator"),
    (68232, "the same, with two slaves stopped"),
    (73787, "a slave was attached as one of the demoted master that had restarted since and taken writes"),
    (88432, "a node that was seen taking writes of its own passed for a healthy slave after its restart"),
    (2239883, "who was attached for a refused document was forgotten, and wiped when its master restarted"),
    (
        4227626,
        "a life that was given up while it was away may be lost once, whoever erased parts of it before",
    ),
    (5027806, "a slave was parked in the middle of a resync, and its old data not seen"),
    (5103620, "a slave that had lost its place in the history was not compared"),
    (5130607, "first use, and a slave with more data was away"),
    (5268272, "the same as 5027806, and it was believed to hold nothing beyond the master's save"),
    (5311993, "the same, on the way to a hand-over"),
    (9101464, "a node that came back in another life than the one given up was not compared"),
    (9117330, "who had left and was attached again was forgotten in the same moment"),
    (9478311, "first use, and a silent node of the document was the master"),
    (10023083, "who had lost the say told clients where the master was before"),
    (10234137, "what a life holds that was given up may be lost wherever it came from"),
    (10454235, "the same as 9117330"),
    (13270476, "first use with an empty target, while a silent node had the data"),
    (13365410, "a master came back empty and was written to, while its slave was away"),
    (14256693, "a discard was used, and its use forgotten in a crash: it covered what was to be kept"),
    (14280507, "the same as 13270476"),
    (14365000, "a slave that was fed by a stray passed for a healthy one after its restart"),
    (
        200293884,
        "an undo reached the old master and was forgotten in a crash: nobody was given its role back",
    ),
    (
        700525961,
        "a slave of a node that left the document passed for one of the master, and got nothing any more",
    ),
    (1600718731, "a master lost the end of its AOF, and the slave that had it died before it was compared"),
    (1601122748, "who was told to send a document again did not, and nobody else could"),
    (1601763904, "the same as 1600718731, and the slave's machine was dark"),
    (1700031636, "the same, and a refusal had just named that slave"),
    (
        2710226658,
        "a slave held what a life had written that nobody granted, restarted, and passed for a healthy one",
    ),
    (3000202659, "a node that had left was expected to be asked when a master restarted"),
    (
        3200041207,
        "the lineage after an undo was not recorded, and a slave that had gone on on it not compared",
    ),
    (3200084539, "a slave was fed by a stray, seen so, restarted, and passed for a healthy one"),
    (3420190530, "a copy of what a stray had taken went, and the stray itself still had it"),
    (2300804581, "a grant that was recorded was forgotten because a later save of the same change failed"),
];

#[test]
fn what_once_broke_a_promise_keeps_it() {
    for &(seed, story) in MENDED {
        let verdict = Schedule::random(seed).run(false);
        assert!(verdict.violation.is_none(), "seed {seed} ({story}): {:?}", verdict.violation);
    }
}
