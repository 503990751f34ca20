//! Money as exact decimals: what a machine costs and what a job may cost. No float ever holds an amount.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

/// An amount of US dollars, exact. In JSON a decimal string: `"2.50"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Money(Decimal);

/// What is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of money: write a decimal string such as \"2.50\", not negative")]
pub struct MoneyError(String);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::ZERO);
    /// The largest amount accepted, in dollars: keeps every product with a duration exact.
    pub const MAX_DOLLARS: u32 = 1_000_000_000;

    /// What `seconds` cost at this price per hour, exact to what a decimal of 28 digits holds.
    pub fn per_hour_for(self, seconds: u64) -> Money {
        Money((self.0 * Decimal::from(seconds) / Decimal::from(3600u32)).normalize())
    }

    /// What so many bytes cost at this price per GB of 1,000,000,000 bytes.
    pub fn per_gb_for(self, bytes: u64) -> Money {
        Money((self.0 * Decimal::from(bytes) / Decimal::from(1_000_000_000u32)).normalize())
    }

    /// The `part` of `all` of this amount; the whole of it where `all` is none.
    pub fn share(self, part: u64, all: u64) -> Money {
        let share = Decimal::from(part).checked_div(Decimal::from(all)).unwrap_or(Decimal::ONE);
        Money((self.0 * share).normalize())
    }

    /// Seconds for which this amount pays at a price per hour, begun ones not counted; the largest number where the
    /// price is nothing.
    pub fn seconds_at(self, price_per_hour: Money) -> u64 {
        let seconds = (self.0 * Decimal::from(3600u32)).checked_div(price_per_hour.0);
        seconds.and_then(|seconds| seconds.trunc().to_u64()).unwrap_or(u64::MAX)
    }

    /// This amount with at most so many digits after the point.
    pub fn rounded(self, digits: u32) -> Money {
        Money(self.0.round_dp(digits).normalize())
    }

    /// The sum of two amounts.
    pub fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// What is left of this amount; nothing where the other is larger.
    pub fn minus(self, other: Money) -> Money {
        Money((self.0 - other.0).max(Decimal::ZERO).normalize())
    }

    /// The price per hour at which this amount lasts for so many seconds, rounded down to a millionth; the largest
    /// amount where there is no time to pay for.
    pub fn hourly_over(self, seconds: u64) -> Money {
        let most = Decimal::from(Self::MAX_DOLLARS);
        let hourly = (self.0 * Decimal::from(3600u32)).checked_div(Decimal::from(seconds)).unwrap_or(most);
        Money(hourly.min(most).trunc_with_scale(6).normalize())
    }

    /// The exact decimal.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Digits with at most one point between them; no sign, no exponent, nothing that would have to be rounded.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let bad = || MoneyError(text.chars().take(40).flat_map(char::escape_default).collect());
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if !digits(whole) || !digits(fraction) {
            return Err(bad());
        }
        let amount = Decimal::from_str_exact(text).map_err(|_| bad())?;
        if amount > Decimal::from(Self::MAX_DOLLARS) { Err(bad()) } else { Ok(Money(amount)) }
    }
}

impl TryFrom<String> for Money {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Money> for String {
    fn from(money: Money) -> String {
        money.to_string()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Money;

    fn money(text: &str) -> Money {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_amount_is_read_and_shown_as_written() {
        for text in ["0", "2.50", "0.1", "10.00", "1000000000", "0.0000001", "12.3456789012345678901234567"] {
            assert_eq!(money(text).to_string(), text);
            assert_eq!(serde_json::to_value(money(text)).expect("JSON"), text);
            assert_eq!(serde_json::from_value::<Money>(text.into()).expect("an amount"), money(text));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            " ",
            "-1",
            "-0.01",
            "1e3",
            "NaN",
            "Infinity",
            "1,50",
            "$2",
            "0x10",
            "1000000000.01",
            "1_000",
            " 1",
            "1 ",
            "1.",
            ".",
            "+1",
            "0.00000000000000000000000000000000001",
            "99999999999999999999999999999999",
        ] {
            assert!(text.parse::<Money>().is_err(), "`{text}` was taken");
        }
        for json in [serde_json::json!(2.5), serde_json::json!(2), serde_json::json!(null)] {
            assert!(serde_json::from_value::<Money>(json.clone()).is_err(), "{json} was taken");
        }
    }

    #[test]
    fn a_price_times_a_duration_is_exact() {
        assert_eq!(money("2.50").per_hour_for(3600), money("2.50"));
        assert_eq!(money("0.36").per_hour_for(1).to_string(), "0.0001");
        assert_eq!(money("1.89").per_hour_for(5400).to_string(), "2.835");
        assert_eq!(money("2.50").per_hour_for(0), Money::ZERO);
        assert_eq!(
            (money("1").seconds_at(money("3.6")), money("1").seconds_at(Money::ZERO)),
            (1000, u64::MAX)
        );
        assert_eq!(money("0.0019").seconds_at(money("3.6")), 1, "a begun second is not paid for");
        assert_eq!(money("0.05").per_gb_for(2_500_000_000), money("0.125"));
        assert_eq!((money("3").share(1, 4), money("3").share(0, 0)), (money("0.75"), money("3")));
        assert_eq!(money("10").hourly_over(14_400), money("2.5"));
        assert_eq!(money("1").hourly_over(10_800).to_string(), "0.333333");
        assert_eq!(money("1").hourly_over(0), money("1000000000"));
        assert_eq!(
            (money("2.5").minus(money("1")), money("1").minus(money("2.5"))),
            (money("1.5"), Money::ZERO)
        );
        // A tenth ten times is one: no float ever was.
        let sum = (0..10).fold(Money::ZERO, |sum, _| sum.plus(money("0.1")));
        assert_eq!(sum, money("1"));
        assert_eq!(sum.to_string(), "1.0");
    }

    #[test]
    fn nothing_overflows() {
        let most = money("999999999.999999999999999999");
        assert!(most.per_hour_for(u64::MAX) > most);
        let much = (0..200).fold(most.per_hour_for(u64::MAX), |sum, _| sum.plus(sum));
        assert_eq!(much.plus(most), much, "the sum stays at the largest");
    }

    proptest! {
        /// Two stretches cost what the whole costs, where a tick of the price is a whole number of ticks per second.
        #[test]
        fn stretches_add_up(ticks in 0u32..1_000_000, first in 0u64..10_000_000, second in 0u64..10_000_000) {
            let price = money(&format!("{}.{:02}", ticks * 36 / 100, ticks * 36 % 100));
            let parts = price.per_hour_for(first).plus(price.per_hour_for(second));
            prop_assert_eq!(parts, price.per_hour_for(first + second));
        }
    }
}
