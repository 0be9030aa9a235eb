//! How much of the store one domain may use.

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Nodes that it owns.
    Nodes,
    /// Watches.
    Watches,
    /// Requests that are not finished: replies and events that nobody has taken yet.
    Outstanding,
    /// Bytes of everything together.
    Memory,
    /// Transactions at the same time.
    Transactions,
    /// Nodes that one transaction may touch.
    TransactionNodes,
    /// Permissions of one node.
    NodePermissions,
    /// Bytes of a path, without `/local/domain/N/`.
    PathMax,
    /// Bytes of one node.
    NodeSize,
}

/// Name, meaning and Xen's default of each quota (Xen's tools/xenstored/domain.c).
pub const QUOTAS: [(Quota, &str, &str, u32); 9] = [
    (Quota::Nodes, "nodes", "Nodes per domain", 1000),
    (Quota::Watches, "watches", "Watches per domain", 128),
    (
        Quota::Outstanding,
        "outstanding",
        "Outstanding requests per domain",
        20,
    ),
    (
        Quota::Memory,
        "memory",
        "Total Xenstore memory per domain",
        2 * 1024 * 1024 + 512 * 1024,
    ),
    (
        Quota::Transactions,
        "transactions",
        "Active transactions per domain",
        10,
    ),
    (
        Quota::TransactionNodes,
        "transaction-nodes",
        "Max. number of accessed nodes per transaction",
        1024,
    ),
    (
        Quota::NodePermissions,
        "node-permissions",
        "Max. number of permissions per node",
        5,
    ),
    (
        Quota::PathMax,
        "path-max",
        "Max. length of a node path",
        2048,
    ),
    (Quota::NodeSize, "node-size", "Max. size of a node", 2048),
];

/// The limits of one domain. Zero means no limit, as in Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    values: [u32; QUOTAS.len()],
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            values: QUOTAS.map(|(_, _, _, default)| default),
        }
    }
}

impl Limits {
    /// The limit of `quota`; `None` is none.
    #[must_use]
    pub fn get(&self, quota: Quota) -> Option<usize> {
        let value = self.values.get(quota as usize).copied().unwrap_or(0);
        usize::try_from(value).ok().filter(|value| *value > 0)
    }

    /// The number as it was set.
    #[must_use]
    pub fn raw(&self, quota: Quota) -> u32 {
        self.values.get(quota as usize).copied().unwrap_or(0)
    }

    /// Changes the limit of `quota`.
    pub fn set(&mut self, quota: Quota, value: u32) {
        if let Some(place) = self.values.get_mut(quota as usize) {
            *place = value;
        }
    }

    /// Whether `value` is too much.
    #[must_use]
    pub fn exceeded(&self, quota: Quota, value: usize) -> bool {
        self.get(quota).is_some_and(|limit| value > limit)
    }
}

/// The quota of that name.
#[must_use]
pub fn by_name(name: &[u8]) -> Option<Quota> {
    QUOTAS
        .iter()
        .find(|(_, candidate, _, _)| candidate.as_bytes() == name)
        .map(|(quota, ..)| *quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_is_at_its_place() {
        let mut limits = Limits::default();
        for (index, (quota, name, _, default)) in QUOTAS.iter().enumerate() {
            assert_eq!(*quota as usize, index);
            assert_eq!(by_name(name.as_bytes()), Some(*quota));
            assert_eq!(limits.raw(*quota), *default);
        }
        assert!(limits.exceeded(Quota::Nodes, 1001) && !limits.exceeded(Quota::Nodes, 1000));
        limits.set(Quota::Nodes, 0);
        assert!(!limits.exceeded(Quota::Nodes, usize::MAX));
    }
}
