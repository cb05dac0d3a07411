//! The owner task against real redis nodes, without the HTTP face.

mod running;

use std::pin::Pin;
use std::time::Duration;

use dictator::apply::{Answered, Lookup, Rejection, Wait};
use harness::{Redis, RedisOptions};
use running::Dictator;
use topology::conduct::Names;
use topology::document::Answers;
use topology::{Address, NodeName};

/// Nobody is named but by address.
struct NoNames;

impl Lookup for NoNames {
    fn names(&self, _: Vec<NodeName>) -> Pin<Box<dyn Future<Output = Names> + Send + '_>> {
        Box::pin(async { Names::new() })
    }

    fn groups(&self, _: Vec<Address>) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>> {
        Box::pin(async { Answers::new() })
    }
}

async fn put(
    dictator: &Dictator,
    master: &Redis,
    slaves: &[&Redis],
    wait: Wait,
) -> Result<Answered, Rejection> {
    dictator.put(&harness::topology(master, slaves).to_string(), wait, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_nodes_are_established_and_the_master_moves() {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let dictator = Dictator::start(folder.path(), Box::new(NoNames), Duration::from_secs(1), 64).await;
    let answered = put(&dictator, &nodes[0], &[&nodes[1], &nodes[2]], Wait::Links).await;

    assert!(matches!(&answered, Ok(Answered::Receipt(receipt, 1)) if receipt.outcome == "established"));
    nodes[0].command("SET a 1");
    for round in 0..6 {
        let master = (round + 1) % 3;
        let slaves: Vec<&Redis> =
            (0..3).filter(|index| *index != master).map(|index| &nodes[index]).collect();
        let answered = put(&dictator, &nodes[master], &slaves, Wait::Links).await;
        let Ok(Answered::Receipt(receipt, _)) = &answered else { panic!("{answered:#?}") };

        assert_eq!(receipt.outcome, "switched");
        assert_eq!(receipt.full_resyncs, Some(0));
        assert_eq!(nodes[master].role(), "master");
    }
    let again = put(&dictator, &nodes[0], &[&nodes[1], &nodes[2]], Wait::Promoted).await;
    assert!(
        matches!(&again, Ok(Answered::Receipt(receipt, _)) if receipt.outcome == "unchanged"),
        "{again:#?}"
    );
    dictator.end().await;
}
