//! The mark: by what a machine in an account is known to be ours.
//!
//! The order's exact name, where the vendor shows a name that people can change, and the same in the variables that the
//! order gave the machine, which outlive a renaming. A machine that only bears the variables while another bears the
//! name is a copy that somebody made of ours, and is left alone.

use serde_json::Value;
use std::collections::HashMap;
use trainyard_domain::{InstallationId, OrderName};

/// The variable of a machine that holds its order's name.
pub const MARK_VARIABLE: &str = "TRAINYARD_BOOT_ORDER";

/// The order's name among a machine's variables, as vendors write them: an object, or a list of pairs. Nothing else
/// of them is looked at.
pub fn mark_of(variables: &Value) -> Option<OrderName> {
    let value = match variables {
        Value::Object(object) => object.get(MARK_VARIABLE)?,
        Value::Array(pairs) => {
            pairs.iter().filter_map(Value::as_array).find_map(|pair| match pair.as_slice() {
                [Value::String(name), value] if name == MARK_VARIABLE => Some(value),
                _ => None,
            })?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    value.as_str()?.parse().ok()
}

/// Which of an account's machines are that installation's, each with its order: by their names, and by their variables
/// where nothing bears that name.
pub fn owned<'a, M>(
    owner: &InstallationId,
    machines: &'a [M],
    name: impl Fn(&M) -> Option<OrderName>,
    mark: impl Fn(&M) -> Option<OrderName>,
) -> Vec<(OrderName, &'a M)> {
    let ours = |order: &OrderName| order.installation() == owner.as_str();
    let mut owned: Vec<(OrderName, &M)> = Vec::new();
    let mut marked: HashMap<OrderName, Vec<&M>> = HashMap::new();
    for machine in machines {
        match (name(machine).filter(ours), mark(machine).filter(ours)) {
            (Some(order), _) => owned.push((order, machine)),
            (None, Some(order)) => marked.entry(order).or_default().push(machine),
            (None, None) => {}
        }
    }
    for (order, machines) in marked {
        if let [machine] = machines.as_slice()
            && !owned.iter().any(|(known, _)| *known == order)
        {
            owned.push((order, machine));
        }
    }
    owned
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trainyard_domain::OrderName;

    use super::{mark_of, owned};

    const OURS: &str = "ty-abcdefgh-01k0000000000000000000000a";
    const OTHER: &str = "ty-abcdefgh-01k0000000000000000000000b";
    const FOREIGN: &str = "ty-somebody-01k0000000000000000000000a";

    fn found(machines: &[(&str, &str)]) -> Vec<(String, usize)> {
        let numbered: Vec<(usize, &(&str, &str))> = machines.iter().enumerate().collect();
        let parse = |text: &str| text.parse::<OrderName>().ok();
        let owner = "abcdefgh".parse().expect("an id");
        let ours = owned(&owner, &numbered, |(_, (name, _))| parse(name), |(_, (_, mark))| parse(mark));
        let mut found: Vec<(String, usize)> =
            ours.into_iter().map(|(order, (at, _))| (order.to_string(), *at)).collect();
        found.sort();
        found
    }

    #[test]
    fn a_machine_is_ours_by_its_name_or_by_its_variables_alone() {
        let of = |order: &str, at: usize| (order.to_owned(), at);
        assert_eq!(found(&[(OURS, OURS), ("mine", ""), (FOREIGN, FOREIGN)]), [of(OURS, 0)]);
        assert_eq!(found(&[("renamed", OURS)]), [of(OURS, 0)], "renamed in the console");
        assert_eq!(found(&[(OURS, OURS), ("a copy", OURS)]), [of(OURS, 0)], "a copy is somebody's own");
        assert_eq!(found(&[("one", OURS), ("two", OURS)]), [], "which of the two is not known");
        assert_eq!(found(&[(FOREIGN, OURS)]), [of(OURS, 0)]);
        assert_eq!(
            found(&[(OURS, FOREIGN), (OURS, ""), ("x", OTHER)]),
            [of(OURS, 0), of(OURS, 1), of(OTHER, 2)]
        );
    }

    #[test]
    fn variables_are_read_as_vendors_write_them() {
        let mark = |value: Value| mark_of(&value).map(|order| order.to_string());
        let ours = Some(OURS.to_owned());
        assert_eq!(mark(json!({"A": 1, "TRAINYARD_BOOT_ORDER": OURS})), ours);
        assert_eq!(mark(json!([["A", "b"], ["TRAINYARD_BOOT_ORDER", OURS]])), ours);
        for odd in [
            json!(null),
            json!("TRAINYARD_BOOT_ORDER"),
            json!([["TRAINYARD_BOOT_ORDER"], "x", [1, 2]]),
            json!({"TRAINYARD_BOOT_ORDER": {"x": OURS}}),
            json!({"TRAINYARD_BOOT_ORDER": "ty-abcdefgh-job"}),
        ] {
            assert_eq!(mark(odd.clone()), None, "{odd}");
        }
    }
}
