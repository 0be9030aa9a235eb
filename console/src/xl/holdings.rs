//! `xl debug-use`: what the machine and each domain hold now, to see that nothing is left behind.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::FAILURE;
use super::options::Given;
use crate::app::App;
use crate::host::Host;

/// Nodes counted at most: more than the store can hold.
const NODES_MAX: u64 = 1 << 20;

/// Prints a line for each domain, then one for each thing that the machine has as a whole.
pub(super) fn print<H: Host>(app: &mut App<'_, H>, _given: &Given) -> i32 {
    let domains = match app.host.domains() {
        Ok(domains) => domains,
        Err(errno) => {
            app.complain(&format!("cannot list the domains: {errno}"));
            return FAILURE;
        }
    };
    app.say(&format!(
        "{:<40} {:>5} {:>8} {:>6} {:>11} {:>13}",
        "Name", "ID", "Pages", "Ports", "Grants used", "Grants mapped"
    ));
    for domid in domains.iter().map(|info| info.domain) {
        let name = app.name_of(domid);
        // It may have gone since the list was made.
        let Ok(held) = app.host.holdings(domid) else {
            continue;
        };
        app.say(&format!(
            "{name:<40} {domid:>5} {:>8} {:>6} {:>11} {:>13}",
            held.pages, held.ports, held.grants_used, held.grants_mapped
        ));
    }
    let mut lines = vec![("domains", domains.len().to_string())];
    if let Ok(physinfo) = app.host.physinfo() {
        lines.push(("free_pages", physinfo.free_pages.to_string()));
    }
    if let Ok(info) = app.host.microhv_info() {
        lines.push(("microhv_bytes", info.used_bytes.to_string()));
        lines.push(("page_table_bytes", info.page_table_bytes.to_string()));
    }
    match count_nodes(app) {
        Ok(count) => lines.push(("store_nodes", count.to_string())),
        Err(errno) => app.say(&format!("cannot count the store's nodes: {errno}")),
    }
    lines.push(("guests_known", app.guests.len().to_string()));
    lines.push(("console_logs", app.book.console_logs().to_string()));
    for (name, value) in lines {
        app.say(&format!("{name:<22} : {value}"));
    }
    0
}

/// How many nodes the store has. What comes or goes meanwhile is counted or not.
fn count_nodes<H: Host>(app: &mut App<'_, H>) -> Result<u64, xen_abi::Errno> {
    let mut waiting = vec![String::from("/")];
    let mut count = 0;
    while let Some(path) = waiting.pop() {
        count += 1;
        if count >= NODES_MAX {
            break;
        }
        let names = match app.host.store_list(&path) {
            Ok(names) => names,
            Err(xen_abi::Errno::ENOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let parent = path.trim_end_matches('/');
        waiting.extend(names.iter().map(|name| format!("{parent}/{name}")));
    }
    Ok(count)
}
