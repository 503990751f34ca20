//! Money as exact decimals: what a machine costs and what a job may cost. No float ever holds an amount.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
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

    /// The sum of two amounts.
    pub fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The exact decimal.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let amount = Decimal::from_str(text).map_err(|_| MoneyError(text.to_owned()))?;
        if amount.is_sign_negative() && !amount.is_zero() || amount > Decimal::from(Self::MAX_DOLLARS) {
            return Err(MoneyError(text.to_owned()));
        }
        Ok(Money(amount))
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
