//! Parameters of a request. Each name may occur once unless it may be repeated. Unknown names
//! are errors, because a filter that is silently ignored shows the wrong decisions.

use std::fmt;

/// Names and values as received.
pub(super) type Pairs = Vec<(String, String)>;

/// The validated parameters of a request, in the order received.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(Pairs);

/// Why a request is invalid, as a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRequest(pub(super) String);

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Parameters {
    /// Validates the parameters of a request, of which `known` are allowed. An empty value
    /// counts as missing, because forms send every field.
    pub(super) fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
        known: &[&str],
    ) -> Result<Self, BadRequest> {
        let pairs = pairs.into_iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name, value.trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        match pairs.iter().find(|(name, _)| !known.contains(&&**name)) {
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                let known = known.join(", ");
                Err(BadRequest(match known.as_str() {
                    "" => format!("{name:?} is not a parameter; there is none"),
                    known => format!("{name:?} is not a parameter; there are {known}"),
                }))
            }
            None => Ok(Self(pairs)),
        }
    }

    /// Returns the values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Returns the value of a parameter.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, BadRequest> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(BadRequest(format!("{name} is given more than once"))),
            (value, None) => Ok(value),
        }
    }

    /// Returns the parsed value of a parameter.
    pub(super) fn parsed<T, E: fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, BadRequest> {
        let value = self.get(name)?.map(parse).transpose();
        value.map_err(|error| BadRequest(format!("{name}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Result<Parameters, BadRequest> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Parameters::new(pairs.iter().map(owned), &["a", "b"])
    }

    #[test]
    fn a_parameter_that_is_unknown_or_given_twice_is_an_error() {
        let taken = parameters(&[("a", " 1 "), ("b", ""), ("b", "2"), ("c", "")]).unwrap();
        assert_eq!(taken.get("a"), Ok(Some("1")));
        assert_eq!(taken.get("b"), Ok(Some("2")));
        let error = parameters(&[("c", "1")]).unwrap_err().to_string();
        assert_eq!(error, "\"c\" is not a parameter; there are a, b");
        let twice = parameters(&[("a", "1"), ("a", "1")]).unwrap();
        assert_eq!(
            twice.get("a").unwrap_err().to_string(),
            "a is given more than once"
        );
        assert_eq!(twice.all("a").count(), 2);
        let error = twice.parsed("b", str::parse::<u8>);
        assert_eq!(error, Ok(None));
        let wrong = parameters(&[("a", "x")]).unwrap();
        let error = wrong.parsed("a", str::parse::<u8>).unwrap_err();
        assert_eq!(error.to_string(), "a: invalid digit found in string");
    }
}
