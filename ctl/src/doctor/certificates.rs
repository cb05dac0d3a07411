//! When the certificates of the daemons end.
//!
//! A daemon tells it in its metrics. One whose certificate's time is over tells nobody anything: whoever asks it by TLS
//! does not believe it, and says so.

use super::{Finding, Level};

/// The end of the metric's name; before it stands the daemon's.
const METRIC: &str = "_certificate_expiry_timestamp_seconds ";
/// How long before its end a certificate calls for somebody, as with the alert.
const SOON_S: i64 = 14 * 24 * 3600;

/// Looks for the end of the certificate in a daemon's metrics.
pub fn examine(url: &str, metrics: &str, now_unix_s: i64) -> Option<Finding> {
    let told = metrics.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (daemon, end) = line.split_once(METRIC)?;
        #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        let end_unix_s = end.trim().parse::<f64>().ok()? as i64;
        Some((daemon, end_unix_s - now_unix_s))
    });
    let (daemon, left_s) = told.filter(|(_, left_s)| *left_s < SOON_S)?;
    let cure = "put a new certificate and its key in the place of the files of --tls-cert and --tls-key; \
                they are taken within five seconds";
    let days = left_s / (24 * 3600);
    let (level, what) = match left_s {
        ..=0 => (Level::Danger, format!("the certificate of the {daemon} has expired; nobody believes it")),
        _ => (Level::Warning, format!("the certificate of the {daemon} ends in {days} days")),
    };
    Some(Finding::new(level, url, what, cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_near_is_found() {
        let now_unix_s = 1_700_000_000;
        let found = |left_s: i64| {
            let end = now_unix_s + left_s;
            let text = format!(
                "# TYPE dnsd{METRIC}gauge\nother 1\ndnsd_certificate_expiry_timestamp_seconds {end}\n"
            );
            examine("https://d", &text, now_unix_s).map(|finding| (finding.level, finding.what))
        };
        assert_eq!(found(SOON_S), None);
        let (level, what) = found(SOON_S - 1).expect("a finding");
        assert!(level == Level::Warning && what.contains("the dnsd ends in 13 days"), "{what}");
        assert_eq!(found(-1).map(|(level, _)| level), Some(Level::Danger));
        assert_eq!(examine("http://d", "dnsd_up 1\n", now_unix_s), None, "without TLS there is none");
    }
}
