//! `CONTROL`: what an operator may ask the store itself.

use super::Store;
use super::request::OK;
use crate::error::{Error, Result};
use crate::message::{PAYLOAD_MAX, number, strings};
use crate::perms::parse_domid;
use crate::quota::{self, QUOTAS};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What `help` answers.
const COMMANDS: &str =
    "check\nhelp\nmemreport\nprint <string>\nquota [set <name> <val>|<domid>]\nwatches <domid>\n";

impl Store {
    /// The first string is the command.
    pub(super) fn control(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let arguments: Vec<_> = strings(payload).collect();
        let text = match arguments.as_slice() {
            [b"help"] => COMMANDS.to_string(),
            [b"check"] if self.db.is_consistent() => return Ok(OK.to_vec()),
            [b"check"] => return Err(Error::Eio),
            [b"print", text] => {
                log::info!("{}", text.escape_ascii());
                return Ok(OK.to_vec());
            }
            [b"memreport"] => self.memory_report(),
            [b"quota"] => self.quota_report(),
            [b"quota", b"set", name, value] => {
                let quota = quota::by_name(name).ok_or(Error::Einval)?;
                self.db
                    .accounts
                    .limits
                    .set(quota, number(value).ok_or(Error::Einval)?);
                return Ok(OK.to_vec());
            }
            [b"quota", domid] => self.domain_report(parse_domid(domid)?)?,
            [b"watches", domid] => self.watch_report(parse_domid(domid)?),
            _ => return Err(Error::Einval),
        };
        let mut reply = text.into_bytes();
        reply.truncate(PAYLOAD_MAX - 1);
        reply.push(0);
        Ok(reply)
    }

    fn memory_report(&self) -> String {
        let mut report = format!(
            "nodes: {}\nbytes: {}\n",
            self.db.len(),
            self.db.accounts.total()
        );
        for domid in self.domains.keys() {
            let account = self.db.accounts.get(*domid);
            report.push_str(&format!(
                "domain {domid}: {} nodes, {} bytes\n",
                account.nodes, account.memory
            ));
        }
        report
    }

    fn quota_report(&self) -> String {
        let mut report = String::from("Quota settings:\n");
        for (quota, name, description, _) in QUOTAS {
            report.push_str(&format!(
                "{name:<17}: {:8} {description}\n",
                self.db.accounts.limits.raw(quota)
            ));
        }
        report
    }

    fn domain_report(&self, domid: u16) -> Result<String> {
        let domain = self.domains.get(&domid).ok_or(Error::Enoent)?;
        let account = self.db.accounts.get(domid);
        let values = [
            ("nodes", account.nodes),
            ("watches", account.watches),
            (
                "outstanding",
                domain.output.replies() + domain.pending.len(),
            ),
            ("memory", account.memory),
            ("transactions", account.transactions),
        ];
        let mut report = format!("Domain {domid}:\n");
        for (name, value) in values {
            report.push_str(&format!("{name:<17}: {value:8}\n"));
        }
        Ok(report)
    }
}
