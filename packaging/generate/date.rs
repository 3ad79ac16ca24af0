//! The day that generated files bear: that of SOURCE_DATE_EPOCH, so that the
//! same sources give the same files on any day.

use std::{env, io};

/// A moment, to the second, UTC.
pub struct Date {
    seconds: u64,
}

const DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl Date {
    /// SOURCE_DATE_EPOCH; without it the beginning of time.
    pub fn from_environment() -> io::Result<Self> {
        let text = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".into());
        let seconds = text.parse().map_err(io::Error::other)?;
        Ok(Self { seconds })
    }

    /// Midnight of a day such as `2026-11-21`; `None` for anything else.
    pub fn from_iso(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|number| number.parse::<u64>().ok());
        let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let years: u64 = (1970..year).map(days_in).sum();
        let month = usize::try_from(month).ok()?;
        let months: u64 = (1..month).map(|month| month_length(year, month - 1)).sum();
        let seconds = (years + months + day.checked_sub(1)?) * DAY;
        Some(Self { seconds })
    }

    /// `2026-11-21`.
    pub fn iso(&self) -> String {
        let (year, month, day) = self.civil();
        format!("{year:04}-{:02}-{day:02}", month + 1)
    }

    /// `Sat, 21 Nov 2026 06:35:50 +0000`.
    pub fn rfc5322(&self) -> String {
        let (year, month, day) = self.civil();
        let weekday = WEEKDAYS[(self.seconds / DAY % 7) as usize];
        let (hour, minute) = (self.seconds / 3600 % 24, self.seconds / 60 % 60);
        format!(
            "{weekday}, {day:02} {} {year} {hour:02}:{minute:02}:{:02} +0000",
            MONTHS[month],
            self.seconds % 60
        )
    }

    /// Year, month from 0, day from 1.
    fn civil(&self) -> (u64, usize, u64) {
        let mut day = self.seconds / DAY;
        let mut year = 1970;
        while day >= days_in(year) {
            day -= days_in(year);
            year += 1;
        }
        let mut month = 0;
        while day >= month_length(year, month) {
            day -= month_length(year, month);
            month += 1;
        }
        (year, month, day + 1)
    }
}

fn days_in(year: u64) -> u64 {
    (0..12).map(|month| month_length(year, month)).sum()
}

fn month_length(year: u64, month: usize) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 => 28 + u64::from(leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}
