//! Warns every hour if no domain has opted in, so that all mail over IPv6 is rejected. Most
//! likely, the configuration is unfinished.

use crate::{config::Mode, dns::Resolve, policy::Rule, snapshot::Snapshot, telemetry::metrics};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Logs the warning every hour while it applies, for as long as the program runs.
pub(super) async fn watch<R: Resolve>(current: watch::Receiver<Arc<Snapshot<R>>>) {
    let mut before = refused_recipients();
    let mut hours = interval(INTERVAL);
    hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick fires immediately, when `Sources::warning` was just logged.
    hours.tick().await;
    loop {
        hours.tick().await;
        let refused = refused_recipients();
        if let Some(warning) = warning(&current.borrow(), refused - before) {
            tracing::warn!("{warning}");
        }
        before = refused;
    }
}

fn refused_recipients() -> u64 {
    metrics::get().refused(Rule::NotOptedIn)
}

fn warning<R: Resolve>(snapshot: &Snapshot<R>, refused: u64) -> Option<String> {
    let refuses_all =
        snapshot.config.mode == Mode::Enforce && !snapshot.checks.opt_in_sources().may_opt_in();
    refuses_all.then(|| {
        let recipients = match refused {
            1 => "1 recipient was".to_owned(),
            _ => format!("{refused} recipients were"),
        };
        format!(
            "no domain has opted in, so all mail over IPv6 is refused: {recipients} refused in \
             the last hour; opt domains in with \"sixgate opt-in add\", or set \"mode: observe\""
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exempt::Exemptions;
    use crate::{config::Config, dns::Dns, opt_in::Sources};

    fn warned(yaml: &str, refused: u64) -> Option<String> {
        let lists = "  files: []\n  managed_file: /var/lib/sixgate/opt-in.list\n";
        let yaml = format!("dns: {{servers: [127.0.0.1]}}\n{yaml}{lists}");
        let config = Config::parse(&yaml, "milter.yaml").unwrap();
        let sources = Sources::open(&config.opt_in, None).unwrap();
        let dns = Dns::new(&config.dns).unwrap();
        let exemptions = Exemptions::open(&config, None).unwrap();
        warning(&Snapshot::new(config, sources, exemptions, dns), refused)
    }

    #[test]
    fn the_warning_counts_the_refused_recipients() {
        let no_opt_in = "opt_in:\n";
        for (refused, want) in [
            (0, ": 0 recipients were refused in the last hour;"),
            (1, ": 1 recipient was refused in the last hour;"),
            (12, ": 12 recipients were refused in the last hour;"),
        ] {
            let warning = warned(no_opt_in, refused).unwrap();
            assert!(warning.contains(want), "{warning}");
        }
    }

    #[test]
    fn nothing_is_logged_if_a_domain_may_have_opted_in_or_nothing_is_refused() {
        for yaml in [
            "mode: observe\nopt_in:\n",
            "opt_in:\n  default: yes\n",
            "opt_in:\n  domains: [contoso.com]\n",
            "opt_in:\n  dns_zone: opt-in.example\n",
            "opt_in:\n  mx: {hosts: mx6.example.net}\n",
        ] {
            assert_eq!(warned(yaml, 5), None, "{yaml}");
        }
    }
}
