//! Values that are numbers: counts, durations and sizes.

use super::value::Kind;
use std::{marker::PhantomData, time::Duration};

/// A whole number of the type `T` between `MIN` and `MAX`.
pub(super) struct Number<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T, const MIN: u64, const MAX: u64> Kind for Number<T, MIN, MAX>
where
    T: TryFrom<u64> + ToString,
{
    type Value = T;
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Result<T, String> {
        let number = digits(text).filter(|number| (MIN..=MAX).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| not_in_range(text, MIN, MAX))
    }

    fn show(value: &T) -> String {
        value.to_string()
    }
}

fn not_in_range(text: &str, min: u64, max: u64) -> String {
    format!("{text:?} is not a whole number from {min} to {max}")
}

/// The minimum length of an RSA key in bits.
pub(super) struct RsaBits;

impl Kind for RsaBits {
    type Value = usize;
    const EXPECTED: &'static str = "a number of bits such as 1024";

    /// Parses the length. RFC 8301 section 3.2: "Verifiers MUST NOT consider signatures
    /// using RSA keys of less than 1024 bits as valid signatures", and they must be able
    /// to verify those up to 4096.
    fn parse(text: &str) -> Result<usize, String> {
        match Number::<usize, 1, { u32::MAX as u64 }>::parse(text)? {
            bits @ 1024..=4096 => Ok(bits),
            bits @ 0..1024 => Err(format!(
                "{bits} is too few: RFC 8301 forbids keys under 1024 bits; write 1024 or more"
            )),
            bits @ 4097.. => Err(format!(
                "{bits} is too many: hardly any signature would count; write 4096 or less"
            )),
        }
    }

    fn show(value: &usize) -> String {
        value.to_string()
    }
}

const EXAMPLE_DURATION: &str = "a duration such as 500ms, 2s, 5m, 2h or 1d";

/// The maximum duration: a longer one is a mistake, and could overflow clocks.
const LONGEST: Duration = Duration::from_secs(365 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// A duration that may be 0.
pub(super) struct Wait;

impl Kind for Wait {
    type Value = Duration;
    const EXPECTED: &'static str = EXAMPLE_DURATION;

    fn parse(text: &str) -> Result<Duration, String> {
        let (number, unit) = number_and_unit(text);
        let number = digits(number).ok_or_else(|| no_duration(text))?;
        let duration = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(60 * 60).map(Duration::from_secs),
            "d" => number.checked_mul(DAY).map(Duration::from_secs),
            "" => return Err(format!("{text:?} has no unit; write {EXAMPLE_DURATION}")),
            _ => return Err(no_duration(text)),
        };
        duration
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| format!("{text:?} is too long; write 365d or less"))
    }

    /// Formats a duration in the largest unit without a fraction.
    fn show(value: &Duration) -> String {
        let (seconds, millis) = (value.as_secs(), value.subsec_millis());
        match seconds {
            _ if millis > 0 => format!("{}ms", value.as_millis()),
            0 => "0s".to_owned(),
            _ if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
            _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
            _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
            _ => format!("{seconds}s"),
        }
    }
}

fn no_duration(text: &str) -> String {
    format!("{text:?} is not a valid duration; write {EXAMPLE_DURATION}")
}

/// A duration of at least a millisecond.
pub(super) struct Timeout;

impl Kind for Timeout {
    type Value = Duration;
    const EXPECTED: &'static str = EXAMPLE_DURATION;

    fn parse(text: &str) -> Result<Duration, String> {
        match Wait::parse(text)? {
            Duration::ZERO => Err(format!("{text:?} leaves no time at all; write more")),
            duration => Ok(duration),
        }
    }

    fn show(value: &Duration) -> String {
        Wait::show(value)
    }
}

/// `replies.give_up_after`: a duration, or `off`.
pub(super) struct GiveUpAfter;

impl Kind for GiveUpAfter {
    type Value = Option<Duration>;
    const EXPECTED: &'static str = "off, or a duration such as 24h";

    fn parse(text: &str) -> Result<Option<Duration>, String> {
        match text {
            "off" => Ok(None),
            "" => Err(format!("nothing is given; write {}", Self::EXPECTED)),
            text => match Wait::parse(text) {
                Ok(duration) if duration < Duration::from_secs(1) => {
                    Err(format!("{text:?} is too short; write 1s or more, or off"))
                }
                Ok(duration) => Ok(Some(duration)),
                Err(complaint) => Err(complaint),
            },
        }
    }

    fn show(value: &Option<Duration>) -> String {
        value.as_ref().map_or_else(|| "off".to_owned(), Wait::show)
    }
}

/// `limits.stage_timeout`.
pub(super) struct StageTimeout;

/// The maximum of `limits.stage_timeout`. Sendmail waits 10 s for a milter by default,
/// and then accepts the message unchecked unless `F=T` is set. Half a second is left for
/// the transmission.
const LONGEST_STAGE: Duration = Duration::from_millis(9500);

impl Kind for StageTimeout {
    type Value = Duration;
    const EXPECTED: &'static str = EXAMPLE_DURATION;

    fn parse(text: &str) -> Result<Duration, String> {
        let duration = Timeout::parse(text)?;
        if duration > LONGEST_STAGE {
            return Err(format!(
                "{text:?} is too long: Sendmail waits 10s for an answer and may then accept \
                 the mail unchecked; write {} or less",
                Wait::show(&LONGEST_STAGE)
            ));
        }
        Ok(duration)
    }

    fn show(value: &Duration) -> String {
        Wait::show(value)
    }
}

/// A size in bytes, at least `MIN`.
pub(super) struct Size<const MIN: usize>;

const SIZE_UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl<const MIN: usize> Kind for Size<MIN> {
    type Value = usize;
    const EXPECTED: &'static str = "a size such as 1 MiB, 64 KiB or 65536";

    fn parse(text: &str) -> Result<usize, String> {
        let (number, unit) = number_and_unit(text);
        let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => Some(*factor),
            None => unit.is_empty().then_some(1),
        };
        let number = digits(number).and_then(|number| usize::try_from(number).ok());
        let (Some(factor), Some(number)) = (factor, number) else {
            return Err(format!(
                "{text:?} is not a valid size; write {}",
                Self::EXPECTED
            ));
        };
        match number.checked_mul(factor) {
            None => Err(format!("{text:?} is more than this machine can address")),
            Some(size) if size < MIN => Err(format!(
                "{text:?} is too small; write {} or more",
                Self::show(&MIN)
            )),
            Some(size) => Ok(size),
        }
    }

    fn show(value: &usize) -> String {
        let mut units = SIZE_UNITS.iter();
        match units.find(|(_, factor)| *value > 0 && value.is_multiple_of(*factor)) {
            Some((name, factor)) => format!("{} {name}", value / factor),
            None => value.to_string(),
        }
    }
}

/// Splits `"2s"` and `"2 s"` into 2 and s.
fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start_matches(' '))
}

/// Parses digits only: no sign, exponent or other base.
fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_in_the_largest_unit() {
        let table = [
            ("500ms", 500, "500ms"),
            ("1500ms", 1500, "1500ms"),
            ("2s", 2_000, "2s"),
            ("2 s", 2_000, "2s"),
            ("120s", 120_000, "2m"),
            ("5m", 300_000, "5m"),
            ("2h", 7_200_000, "2h"),
            ("48h", 172_800_000, "2d"),
            ("0s", 0, "0s"),
        ];
        for (text, millis, shown) in table {
            assert_eq!(
                Wait::parse(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
            assert_eq!(Wait::show(&Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn invalid_durations_are_refused_with_an_example() {
        let table = [
            ("8", "no unit"),
            ("1.5s", "not a valid duration"),
            ("1h30m", "not a valid duration"),
            ("-2s", "not a valid duration"),
            ("2S", "not a valid duration"),
            ("2 sec", "not a valid duration"),
            ("s", "not a valid duration"),
            ("", "not a valid duration"),
            ("400d", "too long"),
            ("99999999999999999999s", "not a valid duration"),
            ("18446744073709551615d", "too long"),
        ];
        for (text, want) in table {
            let complaint = Wait::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn a_stage_ends_before_sendmail_gives_up() {
        assert!(StageTimeout::parse("9500ms").is_ok());
        for text in ["0s", "0ms", "9501ms", "10s", "1m"] {
            assert!(StageTimeout::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let table = [
            ("1 MiB", 1 << 20, "1 MiB"),
            ("1MiB", 1 << 20, "1 MiB"),
            ("64 KiB", 65536, "64 KiB"),
            ("65536", 65536, "64 KiB"),
            ("65537", 65537, "65537"),
        ];
        for (text, bytes, shown) in table {
            assert_eq!(Size::<1024>::parse(text), Ok(bytes), "{text}");
            assert_eq!(Size::<1024>::show(&bytes), shown);
        }
        for text in [
            "1 MB",
            "1M",
            "1.5 MiB",
            "0",
            "1000",
            "-1",
            "",
            "17179869184 GiB",
        ] {
            assert!(Size::<1024>::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_and_in_range() {
        for text in ["0", "101", "1e1", "0x10", "+5", "-1", "5.0", "", "many"] {
            assert!(Number::<usize, 1, 100>::parse(text).is_err(), "{text}");
        }
        assert_eq!(Number::<usize, 1, 100>::parse("100"), Ok(100));
    }
}
