//! The PV console's page (`io/console.h`).

/// Bytes from the backend to the guest.
pub const XENCONS_IN_SIZE: u32 = 1024;
/// Bytes from the guest to the backend.
pub const XENCONS_OUT_SIZE: u32 = 2048;

/// `connection`: the backend serves the ring.
pub const XENCONSOLE_CONNECTED: u8 = 0;
/// `connection`: nobody does.
pub const XENCONSOLE_DISCONNECTED: u8 = 1;

abi_struct! {
    /// `struct xencons_interface`. Indexes run freely and are masked by the ring's size.
    pub struct XenconsInterface {
        r#in: [u8; 1024],
        out: [u8; 2048],
        in_cons: u32,
        in_prod: u32,
        out_cons: u32,
        out_prod: u32,
        connection: u8,
        _pad: [u8; 3],
    }
}
