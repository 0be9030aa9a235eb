//! Network device requests (`io/netif.h`).

use crate::grant_table::GrantRef;

/// Slots a backend must accept for one packet.
pub const XEN_NETIF_NR_SLOTS_MIN: usize = 18;
/// The largest packet.
pub const XEN_NETIF_MAX_TX_SIZE: usize = 0xffff;

abi_flags! {
    /// `netif_tx_request.flags`.
    pub struct NettxFlags: u16 {
        /// The checksum field holds only the pseudo header's sum.
        const CSUM_BLANK = 1 << 0;
        /// The data need no check.
        const DATA_VALIDATED = 1 << 1;
        /// The packet continues in the next request.
        const MORE_DATA = 1 << 2;
        /// A `netif_extra_info` is in the next slot.
        const EXTRA_INFO = 1 << 3;
    }

    /// `netif_rx_response.flags`.
    pub struct NetrxFlags: u16 {
        const DATA_VALIDATED = 1 << 0;
        const CSUM_BLANK = 1 << 1;
        const MORE_DATA = 1 << 2;
        const EXTRA_INFO = 1 << 3;
        const GSO_PREFIX = 1 << 4;
    }

    /// `netif_extra_info.flags`.
    pub struct ExtraFlags: u8 {
        /// Another extra slot follows.
        const MORE = 1 << 0;
    }
}

abi_numbers! { u8;
    XEN_NETIF_EXTRA_TYPE_NONE = 0;
    XEN_NETIF_EXTRA_TYPE_GSO = 1;
    XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2;
    XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3;
    XEN_NETIF_EXTRA_TYPE_HASH = 4;
    XEN_NETIF_EXTRA_TYPE_MAX = 5;
    XEN_NETIF_GSO_TYPE_NONE = 0;
    XEN_NETIF_GSO_TYPE_TCPV4 = 1;
    XEN_NETIF_GSO_TYPE_TCPV6 = 2;
}

abi_numbers! { i16;
    NETIF_RSP_DROPPED = -2;
    NETIF_RSP_ERROR = -1;
    NETIF_RSP_OKAY = 0;
    /// Answers a slot that was extra info.
    NETIF_RSP_NULL = 1;
}

abi_struct! {
    /// `struct netif_tx_request`. `size` of a packet's first request is the whole packet's, of the others their own.
    pub struct NetifTxRequest {
        gref: GrantRef,
        offset: u16,
        flags: NettxFlags,
        id: u16,
        size: u16,
    }

    /// `struct netif_tx_response`.
    pub struct NetifTxResponse {
        id: u16,
        status: i16,
    }

    /// `struct netif_rx_request`.
    pub struct NetifRxRequest {
        id: u16,
        pad: u16,
        gref: GrantRef,
    }

    /// `struct netif_rx_response`: `status` is the size of the data, or an error.
    pub struct NetifRxResponse {
        id: u16,
        offset: u16,
        flags: NetrxFlags,
        status: i16,
    }

    /// `struct netif_extra_info`: stands in a request's or response's slot; the union is `u`.
    pub struct NetifExtraInfo {
        r#type: u8,
        flags: ExtraFlags,
        u: [u16; 3],
    }

    /// The GSO arm of [`NetifExtraInfo`].
    pub struct NetifExtraGso {
        /// Maximum segment payload, bytes.
        size: u16,
        r#type: u8,
        pad: u8,
        features: u16,
    }
}

impl NetifExtraInfo {
    /// Extra info that asks for segmentation into payloads of `size` bytes.
    pub fn gso(gso_type: u8, size: u16) -> Self {
        NetifExtraInfo {
            r#type: XEN_NETIF_EXTRA_TYPE_GSO,
            flags: ExtraFlags::empty(),
            u: [size, u16::from(gso_type), 0],
        }
    }

    /// The union's GSO arm.
    pub fn as_gso(&self) -> NetifExtraGso {
        zerocopy::transmute!(self.u)
    }

    /// The union's multicast arm: the address.
    pub fn as_mcast(&self) -> [u8; 6] {
        zerocopy::transmute!(self.u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmentation_info_is_read_as_it_was_written() {
        let extra = NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, 1448);
        assert_eq!(
            (extra.as_gso().size, extra.as_gso().r#type),
            (1448, XEN_NETIF_GSO_TYPE_TCPV4)
        );
        assert_eq!(extra.as_mcast(), [0xa8, 5, 1, 0, 0, 0]);
    }
}
