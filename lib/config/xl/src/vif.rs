//! `vif = [ 'SPEC', ... ]`: xl-network-configuration(5).

use crate::error::{SpecError, quoted};
use crate::mac::Mac;
use crate::rate::{self, Rate};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One virtual network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vif {
    /// The guest's address; `None` lets the caller make one.
    pub mac: Option<Mac>,
    /// The bridge; `None` is the caller's default.
    pub bridge: Option<String>,
    /// The backend's domain, by name or id; `None` leaves it to the caller.
    pub backend: Option<String>,
    /// Device number; `None` takes the lowest that is free.
    pub devid: Option<u32>,
    /// Bytes of payload; `None` is 1500 or the bridge's.
    pub mtu: Option<u32>,
    /// Speed limit.
    pub rate: Option<Rate>,
    /// `vif` or `ioemu`.
    pub vif_type: Option<String>,
    /// The emulated card, for HVM guests.
    pub model: Option<String>,
    /// The interface's name in the backend.
    pub vifname: Option<String>,
    /// Hotplug script of the backend.
    pub script: Option<String>,
    /// Addresses the guest may use.
    pub ip: Option<String>,
    /// The host's interface to route through.
    pub gatewaydev: Option<String>,
    /// VLANs.
    pub vlan: Option<String>,
    /// Whether the frontend should trust the backend; `None` is yes.
    pub trusted: Option<bool>,
    /// Parameters that are accepted but mean nothing here (COLO, accel).
    pub ignored: Vec<String>,
}

impl Vif {
    /// Reads one specification; an empty one is a vif with every default.
    ///
    /// # Errors
    /// The first part that is wrong.
    pub fn parse(spec: &str) -> Result<Vif, SpecError> {
        let mut vif = Vif::default();
        for part in spec
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match (part, part.split_once('=')) {
                ("trusted", _) => vif.trusted = Some(true),
                ("untrusted", _) => vif.trusted = Some(false),
                (_, Some((key, value))) => vif.set(spec, part, key.trim(), value.trim())?,
                (_, None) => {
                    return Err(SpecError::new(
                        spec,
                        part,
                        format!("expected name=value, found {}", quoted(part)),
                    ));
                }
            }
        }
        Ok(vif)
    }

    fn set(&mut self, spec: &str, part: &str, key: &str, value: &str) -> Result<(), SpecError> {
        let error = |expected: &str| {
            SpecError::new(spec, value, format!("{expected}, found {}", quoted(value)))
        };
        let number = || config::number::whole_as::<u32>(value);
        match key {
            "mac" => {
                self.mac = Some(
                    Mac::parse(value)
                        .ok_or_else(|| error("expected an address such as 00:16:3e:74:34:32"))?,
                )
            }
            "devid" => {
                self.devid = Some(number().ok_or_else(|| error("expected a device number"))?)
            }
            "mtu" => {
                let mtu = number().filter(|mtu| (68..=65535).contains(mtu));
                self.mtu = Some(mtu.ok_or_else(|| error("expected an MTU from 68 to 65535"))?);
            }
            "rate" => self.rate = Some(Rate::parse(value).ok_or_else(|| error(rate::EXPECTED))?),
            "type" => {
                if !matches!(value, "vif" | "ioemu") {
                    return Err(error("expected type vif or ioemu"));
                }
                self.vif_type = Some(value.to_string());
            }
            "bridge" => self.bridge = Some(value.to_string()),
            "backend" => self.backend = Some(value.to_string()),
            "model" => self.model = Some(value.to_string()),
            "vifname" => self.vifname = Some(value.to_string()),
            "script" => self.script = Some(value.to_string()),
            "ip" => self.ip = Some(value.to_string()),
            "gatewaydev" | "netdev" => self.gatewaydev = Some(value.to_string()),
            "vlan" => self.vlan = Some(value.to_string()),
            "accel" => self.ignored.push(part.to_string()),
            _ if key.starts_with("coloft_") || key.starts_with("colo_") => {
                self.ignored.push(part.to_string())
            }
            _ => {
                return Err(SpecError::new(
                    spec,
                    part,
                    format!("unknown vif parameter {}", quoted(part)),
                ));
            }
        }
        Ok(())
    }
}
