//! Waiting for a condition: the only way in which a test waits.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for a busy machine; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` again and again until it has found something.
///
/// Panics with `what` once patience is at its end.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    wait(PATIENCE, what, &mut probe).await
}

async fn wait<T>(patience: Duration, what: &str, probe: &mut impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_first_find_ends_the_waiting() {
    let mut asked = 0;
    let found = eventually("the third answer", async || {
        asked += 1;
        (asked == 3).then_some(asked)
    })
    .await;
    assert_eq!(found, 3);
}

#[tokio::test]
#[should_panic(expected = "in vain: the sun at night")]
async fn patience_ends() {
    wait(Duration::ZERO, "the sun at night", &mut async || None::<()>).await;
}
