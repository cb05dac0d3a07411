//! Moments as people compare them: UTC, and how long ago.

const MS_PER_S: u64 = 1000;
const S_PER_MINUTE: u64 = 60;
const S_PER_HOUR: u64 = 3600;
const S_PER_DAY: u64 = 86_400;

/// Milliseconds since 1970 as `2026-11-21 13:05:59Z`.
pub fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / MS_PER_S;
    let (year, month, day) = date(seconds / S_PER_DAY);
    let of_day = seconds % S_PER_DAY;
    let (hour, minute) = (of_day / S_PER_HOUR, of_day % S_PER_HOUR / S_PER_MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}Z", of_day % S_PER_MINUTE)
}

/// The Gregorian date of a number of days since 1970-01-01. Years begin in March here, so that the leap
/// day is the last of its year, and eras of 400 years repeat exactly.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970_FROM_MARCH_0: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days_since_1970 + DAYS_TO_1970_FROM_MARCH_0;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// How long ago in the largest unit that fits: `12 s`, `3 min`, `5 h`, `9 d`.
pub fn ago(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms) / MS_PER_S;
    match seconds {
        0..S_PER_MINUTE => format!("{seconds} s"),
        S_PER_MINUTE..S_PER_HOUR => format!("{} min", seconds / S_PER_MINUTE),
        S_PER_HOUR..S_PER_DAY => format!("{} h", seconds / S_PER_HOUR),
        _ => format!("{} d", seconds / S_PER_DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_800, "2000-03-01 00:00:00Z"),
            (1_709_164_800, "2024-02-29 00:00:00Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(unix_s * MS_PER_S), expected, "{unix_s}");
        }
    }

    #[test]
    fn ages_are_short_and_never_negative() {
        for (age_s, expected) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")] {
            assert_eq!(ago(500_000_000, 500_000_000 - age_s * MS_PER_S), expected);
        }
        assert_eq!(ago(1, 2), "0 s");
    }
}
