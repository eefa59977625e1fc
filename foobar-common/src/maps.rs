//! Names of the maps, as the object file has them, and who owns them.

/// Longest-prefix tables of IPv4 source addresses to classes.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// Longest-prefix tables of IPv6 source addresses to classes.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// Longest-prefix tables of IPv4 destination addresses to classes.
pub const DESTINATIONS_V4: &str = "DESTINATIONS_V4";
/// Longest-prefix tables of IPv6 destination addresses to classes.
pub const DESTINATIONS_V6: &str = "DESTINATIONS_V6";
/// One [`crate::rule::Table`] for each [`crate::rule::TableField`].
pub const TABLES: &str = "TABLES";
/// The [`crate::rule::Class`]es.
pub const CLASSES: &str = "CLASSES";
/// The [`crate::rule::RuleRecord`]s, in the order of the file.
pub const RULES: &str = "RULES";
/// Interface index to [`crate::rule::InterfaceRecord`].
pub const INTERFACES: &str = "INTERFACES";
/// The one [`crate::rule::DecisionRecord`].
pub const DECISION: &str = "DECISION";
/// Maps that belong to one ruleset and are made anew with it.
pub const OF_RULESET: [&str; 9] =
    [SOURCES_V4, SOURCES_V6, DESTINATIONS_V4, DESTINATIONS_V6, TABLES, CLASSES, RULES, INTERFACES, DECISION];

/// Per-CPU [`crate::counters::Counter`]s by rule slot.
pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
/// Per-CPU [`crate::counters::Counter`]s by [`crate::counters::verdict_slot`].
pub const VERDICT_COUNTERS: &str = "VERDICT_COUNTERS";
/// Per-CPU [`crate::counters::Counter`]s by [`crate::counters::port_slot`].
pub const PORT_COUNTERS: &str = "PORT_COUNTERS";
/// Maps that outlive every ruleset and are pinned.
pub const SURVIVING: [&str; 3] = [RULE_COUNTERS, VERDICT_COUNTERS, PORT_COUNTERS];

/// The XDP program.
pub const INGRESS: &str = "ingress";
/// The read-only constant that holds [`crate::rule::Settings`].
pub const SETTINGS: &str = "SETTINGS";
