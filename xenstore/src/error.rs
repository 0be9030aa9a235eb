//! Errors as the wire has them: names, because numbers differ between systems.

/// An error reply (`xsd_errors` of Xen's io/xs_wire.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request makes no sense.
    Einval,
    /// No permission; also where telling the truth would tell of a node that the client must not see.
    Eacces,
    /// There is one like it already.
    Eexist,
    /// No such node, watch, transaction or domain.
    Enoent,
    /// The store has no memory left for this.
    Enomem,
    /// A quota is used up.
    Enospc,
    /// The connection could not be made.
    Eio,
    /// The request type is not known.
    Enosys,
    /// Not now: a transaction inside a transaction.
    Ebusy,
    /// The transaction met another change; start again.
    Eagain,
    /// The reply does not fit a message.
    E2big,
    /// Only the control domain may do this.
    Eperm,
}

impl Error {
    /// The name that goes over the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Error::Einval => "EINVAL",
            Error::Eacces => "EACCES",
            Error::Eexist => "EEXIST",
            Error::Enoent => "ENOENT",
            Error::Enomem => "ENOMEM",
            Error::Enospc => "ENOSPC",
            Error::Eio => "EIO",
            Error::Enosys => "ENOSYS",
            Error::Ebusy => "EBUSY",
            Error::Eagain => "EAGAIN",
            Error::E2big => "E2BIG",
            Error::Eperm => "EPERM",
        }
    }
}

/// What requests come to.
pub type Result<T> = core::result::Result<T, Error>;
