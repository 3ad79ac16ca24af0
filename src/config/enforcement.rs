//! `observe_rules`, `enforce_share` and `enforce_share_key`.

use super::{suggestion::nearest, value::Kind};
use crate::{
    enforcement::{Percent, refusing_rules},
    policy::Rule,
};

/// A rule that can refuse, by its name.
pub(super) struct RefusingRule;

impl Kind for RefusingRule {
    type Value = Rule;
    const EXPECTED: &'static str = "the name of a rule that refuses, such as unauthenticated";

    fn parse(text: &str) -> Result<Rule, String> {
        if let Some(rule) = refusing_rules().find(|rule| rule.name() == text) {
            return Ok(rule);
        }
        let names: Vec<&str> = refusing_rules().map(Rule::name).collect();
        let allowed = names.join(", ");
        if text.is_empty() {
            return Err(format!("nothing is given; allowed here: {allowed}"));
        }
        if Rule::ALL.iter().any(|rule| rule.name() == text) {
            return Err(format!(
                "{text:?} never refuses, so it can't be observed; allowed here: {allowed}"
            ));
        }
        let underscored: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
        let underscored: Vec<&str> = underscored.iter().map(String::as_str).collect();
        let meant = nearest(text, &underscored).map(|name| name.replace('_', "-"));
        Err(match meant {
            Some(name) => {
                format!("{text:?} is not a rule; did you mean {name}? (allowed here: {allowed})")
            }
            None => format!("{text:?} is not a rule; allowed here: {allowed}"),
        })
    }

    fn show(value: &Rule) -> String {
        value.name().to_owned()
    }

    fn check_list(rules: &[Rule]) -> Result<(), String> {
        let mut seen = rules.iter().enumerate();
        match seen.find(|(index, rule)| rules[..*index].contains(rule)) {
            Some((_, rule)) => Err(format!("{rule} is given twice; remove one")),
            None => Ok(()),
        }
    }
}

/// A share in whole percent.
pub(super) struct Share;

impl Kind for Share {
    type Value = Percent;
    const EXPECTED: &'static str = "a whole number of percent such as 25%";

    fn parse(text: &str) -> Result<Percent, String> {
        let wrong = |what: &str| format!("{text:?} is {what}; write 0% to 100%, such as 25%");
        let Some(number) = text.strip_suffix('%').map(str::trim_end) else {
            return Err(wrong("not a share in percent"));
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("not a whole number of percent"));
        }
        let percent = number.parse().ok().and_then(Percent::new);
        percent.ok_or_else(|| wrong("more than 100%"))
    }

    fn show(value: &Percent) -> String {
        value.to_string()
    }
}

/// `enforce_share`: a share, or a share by rule. For `#[serde(with)]`.
pub(super) mod share {
    use super::{RefusingRule, Share};
    use crate::{
        config::value::{Kind, ScalarSeed},
        enforcement::{EnforceShare, Percent},
    };
    use serde::{
        Deserializer, Serializer,
        de::{Error, MapAccess, Visitor},
        ser::SerializeMap,
    };
    use std::fmt;

    pub(in crate::config) fn deserialize<'de, D>(from: D) -> Result<EnforceShare, D::Error>
    where
        D: Deserializer<'de>,
    {
        from.deserialize_any(Shares)
    }

    pub(in crate::config) fn serialize<S>(value: &EnforceShare, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        if value.rules.is_empty() {
            return to.serialize_str(&Share::show(&value.other));
        }
        let mut map = to.serialize_map(Some(value.rules.len()))?;
        for (rule, share) in &value.rules {
            map.serialize_entry(rule.name(), &Share::show(share))?;
        }
        map.end()
    }

    struct Shares;

    impl<'de> Visitor<'de> for Shares {
        type Value = EnforceShare;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(
                f,
                "{}, or such a share for each of some rules",
                Share::EXPECTED
            )
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<EnforceShare, E> {
            Share::parse(text).map(Into::into).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<EnforceShare, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<EnforceShare, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnforceShare, A::Error> {
            let mut rules = Vec::new();
            while let Some(rule) = map.next_key_seed(ScalarSeed::<RefusingRule>::default())? {
                let share = map.next_value_seed(ScalarSeed::<Share>::default())?;
                if rules.iter().any(|(seen, _)| *seen == rule) {
                    return Err(A::Error::custom(format_args!(
                        "{rule} is given twice; remove one"
                    )));
                }
                rules.push((rule, share));
            }
            let other = Percent::ALL;
            Ok(EnforceShare { other, rules })
        }
    }
}

/// The key of the hash that selects networks.
pub(super) struct ShareKey;

const LONGEST_KEY: usize = 200;

impl Kind for ShareKey {
    type Value = String;
    const EXPECTED: &'static str = "a text such as mx.example.org";

    fn parse(text: &str) -> Result<String, String> {
        match text.len() {
            0 => Err(format!("nothing is given; write {}", Self::EXPECTED)),
            1..=LONGEST_KEY => Ok(text.to_owned()),
            length => Err(format!(
                "this has {length} bytes; write {LONGEST_KEY} or less"
            )),
        }
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_percents() {
        for text in ["0%", "1%", "25%", "25 %", "100%", "007%"] {
            assert!(Share::parse(text).is_ok(), "{text}");
        }
        assert_eq!(Share::show(&Share::parse("25 %").unwrap()), "25%");
        let table = [
            (
                "101%",
                "\"101%\" is more than 100%; write 0% to 100%, such as 25%",
            ),
            ("300%", "more than 100%"),
            ("99999999999999999999%", "more than 100%"),
            ("25", "not a share in percent"),
            ("0.25", "not a share in percent"),
            ("", "not a share in percent"),
            ("%", "not a whole number"),
            ("-1%", "not a whole number"),
            ("2.5%", "not a whole number"),
            ("+5%", "not a whole number"),
            ("all", "not a share"),
        ];
        for (text, want) in table {
            let complaint = Share::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn a_wrong_rule_is_answered_with_those_that_are_allowed() {
        let all = "not-opted-in, opt-in-temperror, no-ptr, ptr-temperror, ptr-unconfirmed, \
                   auth-temperror, unauthenticated";
        let table = [
            ("unauthentiated", "did you mean unauthenticated?"),
            ("no_ptr", "did you mean no-ptr?"),
            ("spf-pass", "never refuses"),
            ("12", "is not a rule"),
            ("", "nothing is given"),
        ];
        for (text, want) in table {
            let complaint = RefusingRule::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
            assert!(complaint.contains(all), "{text}: {complaint}");
        }
        assert_eq!(RefusingRule::parse("no-ptr"), Ok(Rule::NoPtr));
        assert!(RefusingRule::check_list(&[Rule::NoPtr, Rule::NoPtr]).is_err());
    }
}
