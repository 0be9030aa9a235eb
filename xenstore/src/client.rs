//! Who asks.

/// A domain's number.
pub type DomId = u16;

/// The control domain: no quota and no permission stops it.
pub const CONTROL_DOMAIN: DomId = 0;

/// First number that is no ordinary domain's (`DOMID_FIRST_RESERVED`).
pub const FIRST_RESERVED: DomId = 0x7ff0;

/// In permissions: every domain (`DOMID_ANY`).
pub const DOMID_ANY: DomId = 0x7ff5;

/// The identity behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The domain that asks.
    pub domid: DomId,
    /// A domain whose permissions it has too (`SET_TARGET`).
    pub target: Option<DomId>,
}

impl Client {
    /// The control domain itself: for what the store does on its own account.
    pub const CONTROL: Client = Client {
        domid: CONTROL_DOMAIN,
        target: None,
    };

    /// Whether it is above permissions and quotas.
    #[must_use]
    pub fn is_privileged(self) -> bool {
        self.domid == CONTROL_DOMAIN
    }

    /// Whether a permission for `domid` is one for this client.
    #[must_use]
    pub fn is(self, domid: DomId) -> bool {
        domid == self.domid || self.target == Some(domid) || domid == DOMID_ANY
    }
}
