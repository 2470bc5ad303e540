//! Asking a provider, message after message, about those of which nothing was heard.

use std::time::Duration;

use tokio::time::sleep;

use crate::model::Receipt;
use crate::provider::Receipts;
use crate::provider::unheard::Question;

/// Between two questions of one account: at most ten a second.
const EACH: Duration = Duration::from_millis(100);
/// How often an account without open questions looks for some, at least.
const LOOK: Duration = Duration::from_secs(1);
/// After a question that the provider did not answer.
const REST: Duration = Duration::from_secs(10);

/// What a provider says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::provider) enum Reply {
    /// How it ended.
    Ended(Vec<Receipt>),
    /// It is on its way, which this receipt says, or nobody knows of it.
    Open(Option<Receipt>),
    /// No answer, or none that can be read.
    None,
}

/// How one provider is asked.
pub(in crate::provider) trait Ask: Send {
    fn ask(&mut self, question: &Question) -> impl Future<Output = Reply> + Send;
}

/// Asks for as long as the program runs. `after` a message was sent it is asked about for the first time.
pub(in crate::provider) async fn ask(
    account: &str,
    receipts: &Receipts,
    after: Duration,
    provider: &mut impl Ask,
) {
    loop {
        sleep(EACH).await;
        let Some(question) = receipts.unheard().next(account) else {
            sleep(LOOK.min(after)).await;
            continue;
        };
        let told = match provider.ask(&question).await {
            Reply::Ended(told) => told,
            Reply::Open(told) => {
                receipts.unheard().ask(account, question, after);
                told.into_iter().collect()
            }
            Reply::None => {
                receipts.unheard().ask(account, question, after);
                sleep(REST).await;
                Vec::new()
            }
        };
        for receipt in told {
            receipts.bring(receipt).await;
        }
    }
}
