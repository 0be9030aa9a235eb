//! The store's messages and ring page (`io/xs_wire.h`).

abi_numbers! { u32;
    XS_CONTROL = 0;
    XS_DIRECTORY = 1;
    XS_READ = 2;
    XS_GET_PERMS = 3;
    XS_WATCH = 4;
    XS_UNWATCH = 5;
    XS_TRANSACTION_START = 6;
    XS_TRANSACTION_END = 7;
    XS_INTRODUCE = 8;
    XS_RELEASE = 9;
    XS_GET_DOMAIN_PATH = 10;
    XS_WRITE = 11;
    XS_MKDIR = 12;
    XS_RM = 13;
    XS_SET_PERMS = 14;
    XS_WATCH_EVENT = 15;
    XS_ERROR = 16;
    XS_IS_DOMAIN_INTRODUCED = 17;
    XS_RESUME = 18;
    XS_SET_TARGET = 19;
    XS_RESET_WATCHES = 21;
    XS_DIRECTORY_PART = 22;
    XS_GET_FEATURE = 23;
    XS_SET_FEATURE = 24;
    XS_GET_QUOTA = 25;
    XS_SET_QUOTA = 26;
    XS_TYPE_COUNT = 27;
    XS_INVALID = 0xffff;
}

/// Bytes of each direction's ring.
pub const XENSTORE_RING_SIZE: u32 = 1024;
/// Longest payload of a message.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Longest absolute path.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// Longest relative path.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

abi_numbers! { u32;
    XENSTORE_SERVER_FEATURE_RECONNECTION = 1;
    XENSTORE_SERVER_FEATURE_ERROR = 2;
    XENSTORE_SERVER_FEATURE_WATCHDEPTH = 4;
    /// `connection`.
    XENSTORE_CONNECTED = 0;
    XENSTORE_RECONNECT = 1;
    /// `error`.
    XENSTORE_ERROR_NONE = 0;
    XENSTORE_ERROR_COMM = 1;
    XENSTORE_ERROR_RINGIDX = 2;
    XENSTORE_ERROR_PROTO = 3;
}

abi_struct! {
    /// `struct xsd_sockmsg`: before each message; `len` bytes follow.
    pub struct XsdSockmsg {
        r#type: u32,
        req_id: u32,
        tx_id: u32,
        len: u32,
    }

    /// `struct xenstore_domain_interface`: the ring page.
    pub struct XenstoreDomainInterface {
        req: [u8; 1024],
        rsp: [u8; 1024],
        req_cons: u32,
        req_prod: u32,
        rsp_cons: u32,
        rsp_prod: u32,
        server_features: u32,
        connection: u32,
        error: u32,
        evtchn_port: u32,
    }
}
