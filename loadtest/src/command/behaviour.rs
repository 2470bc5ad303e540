//! What goes wrong, as options: shares of requests and of recipients, and how receipts come.

use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use clap::Args;

/// Shares are 0 to 1 and drawn from the seed: the same run fails the same way.
#[derive(Debug, Args)]
pub(crate) struct Behaviour {
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Requests a second; above it the provider throttles
    #[arg(long)]
    pub(crate) qps: Option<f64>,
    /// Answer each request after so many milliseconds
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// This share of the requests is answered after --slow-ms
    #[arg(long, default_value_t = 0.0)]
    slow: f64,
    #[arg(long, default_value_t = 1000)]
    slow_ms: u64,
    /// The connection ends without an answer, and nothing was sent
    #[arg(long, default_value_t = 0.0)]
    cut_before: f64,
    /// The connection ends without an answer, but all was sent
    #[arg(long, default_value_t = 0.0)]
    cut_after: f64,
    /// This share of the requests is answered with --error-code
    #[arg(long, default_value_t = 0.0)]
    errors: f64,
    /// The provider's code for a passing failure
    #[arg(long)]
    error_code: Option<String>,
    /// This share of the recipients is refused with --bad-code
    #[arg(long, default_value_t = 0.0)]
    bad: f64,
    /// The provider's code for a wrong recipient
    #[arg(long)]
    bad_code: Option<String>,
    /// The receipts of this share of the recipients fail with --failed-code
    #[arg(long, default_value_t = 0.0)]
    failed: f64,
    /// The provider's or carrier's code in a receipt that fails
    #[arg(long)]
    failed_code: Option<String>,
    /// Milliseconds between a message and its receipt
    #[arg(long, default_value_t = 20)]
    receipts_after_ms: u64,
    /// Calls with receipts at a time
    #[arg(long, default_value_t = 4)]
    receipts_connections: usize,
    /// This share of the receipts comes before the answer to the message
    #[arg(long, default_value_t = 0.0)]
    receipts_early: f64,
    /// This share of the receipts comes twice
    #[arg(long, default_value_t = 0.0)]
    receipts_repeated: f64,
    /// This share of the receipts comes half a second late, out of order
    #[arg(long, default_value_t = 0.0)]
    receipts_late: f64,
    /// This share of the receipts never comes
    #[arg(long, default_value_t = 0.0)]
    receipts_lost: f64,
}

/// The provider's own codes, where the options name none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codes {
    pub(crate) error: &'static str,
    pub(crate) bad: &'static str,
    pub(crate) failed: &'static str,
}

impl Behaviour {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn rules(&self, codes: Codes) -> Vec<Rule> {
        let code = |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
        vec![
            Rule::always().wait(Duration::from_millis(self.delay_ms)),
            Rule::share(self.slow).wait(Duration::from_millis(self.slow_ms)),
            Rule::share(self.cut_before).cut_before(),
            Rule::share(self.cut_after).cut_after(),
            Rule::share(self.errors).code(code(&self.error_code, codes.error)),
            Rule::share_of_recipients(self.bad).code(code(&self.bad_code, codes.bad)),
            Rule::share_of_recipients(self.failed).receipt(code(&self.failed_code, codes.failed)),
        ]
    }

    /// The usual plan of a provider, with what the options say.
    pub(crate) fn plan(&self, usual: Plan) -> Plan {
        Plan {
            seed: self.seed,
            after: Duration::from_millis(self.receipts_after_ms),
            early: self.receipts_early,
            repeated: self.receipts_repeated,
            late: self.receipts_late,
            lost: self.receipts_lost,
            connections: self.receipts_connections,
            ..usual
        }
    }
}
