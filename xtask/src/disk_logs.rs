//! `cargo xtask logs`: the logs of a machine that runs, or on the disk of one that has stopped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use qemu_tests::fat;

use crate::cli::Logs;
use crate::{logs, paths, xl};

/// Folders with logs.
const FOLDERS: [&str; 2] = ["var/log/xen", "var/log/xen/console"];

/// Shows the log that is meant, the older part first; what is on no disk is looked for among the consoles.
///
/// # Errors
/// When there is no such log.
pub fn logs(arguments: &Logs) -> Result<ExitCode> {
    if arguments.disk.is_none()
        && (arguments.list || arguments.name.is_some())
        && let Some(socket) = xl::machine(None)?
        && of_running(&socket, arguments)?
    {
        return Ok(ExitCode::SUCCESS);
    }
    let disk = match &arguments.disk {
        Some(disk) => Ok(disk.clone()),
        None => last_disk(),
    };
    if arguments.list {
        for (path, size) in all(&disk?) {
            println!("{size:>10}  /{path}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let (Ok(disk), Some(wanted)) = (disk, &arguments.name) {
        let all = all(&disk);
        if let Some(path) = choose(wanted, all.iter().map(|(path, _)| path.as_str())) {
            show(&disk, path, &all)?;
            return Ok(ExitCode::SUCCESS);
        }
        if arguments.disk.is_some() {
            bail!("{} has no log {wanted}", disk.display());
        }
    }
    logs::print(arguments.name.as_deref())
}

/// Shows what is wanted of a running machine; false if it has no such log.
fn of_running(socket: &Path, arguments: &Logs) -> Result<bool> {
    let mut line = xl::Line::open(socket)?;
    let mut all = Vec::new();
    for folder in FOLDERS {
        // It may have none yet.
        let listed = line
            .output(&["ls", &format!("/{folder}")])
            .unwrap_or_default();
        all.extend(listing(folder, &String::from_utf8_lossy(&listed)));
    }
    let mut out = std::io::stdout().lock();
    let Some(wanted) = &arguments.name else {
        for (path, size) in all {
            writeln!(out, "{size:>10}  /{path}")?;
        }
        return Ok(true);
    };
    let Some(path) = choose(wanted, all.iter().map(|(path, _)| path.as_str())) else {
        return Ok(false);
    };
    let older = format!("{path}.1");
    for part in [older.as_str(), path] {
        if all.iter().any(|(path, _)| path == part) {
            out.write_all(&line.output(&["cat", &format!("/{part}")])?)?;
        }
    }
    Ok(true)
}

/// The files in what Domain-0's `ls` says of a folder.
fn listing<'a>(folder: &'a str, text: &'a str) -> impl Iterator<Item = (String, u64)> + 'a {
    text.lines().filter_map(move |line| {
        let (size, name) = line.trim_start().split_once("  ")?;
        Some((format!("{folder}/{name}"), size.parse().ok()?))
    })
}

/// Paths and sizes of all logs.
fn all(disk: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for folder in FOLDERS {
        // A machine that never ran a guest may lack one.
        let files = fat::list(disk, folder).unwrap_or_default();
        all.extend(
            files
                .into_iter()
                .filter(|(name, _)| !name.ends_with('/'))
                .map(|(name, size)| (format!("{folder}/{name}"), size)),
        );
    }
    all
}

fn show(disk: &Path, path: &str, all: &[(String, u64)]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let older = format!("{path}.1");
    for part in [older.as_str(), path] {
        if all.iter().any(|(path, _)| path == part) {
            out.write_all(&fat::read(disk, part)?)?;
        }
    }
    Ok(())
}

/// The log that is meant: by path, file name, or the name of a guest or domain.
fn choose<'a>(wanted: &str, paths: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.trim_start_matches('/');
    let names = [
        wanted.to_owned(),
        format!("{wanted}.log"),
        format!("guest-{wanted}.log"),
        format!("xl-{wanted}.log"),
    ];
    let fits = |path: &str, name: &String| path == name || path.ends_with(&format!("/{name}"));
    let paths: Vec<&str> = paths.collect();
    names
        .iter()
        .find_map(|name| paths.iter().find(|path| fits(path, name)).copied())
}

/// Disks of `cargo xtask run`, direct and with `--boot`, and of `cargo xtask image`.
const DISKS: [&str; 5] = [
    "debian.img",
    "scratch.img",
    "debian.boot.img",
    "scratch.boot.img",
    "microhv.img",
];

/// The disk that was written last and has logs: one that was only made has none.
fn last_disk() -> Result<PathBuf> {
    let written = |disk: &PathBuf| disk.metadata().and_then(|data| data.modified()).ok();
    let disks = DISKS.map(|name| paths::image().join(name)).into_iter();
    match disks
        .filter(|disk| !all(disk).is_empty())
        .max_by_key(written)
    {
        Some(disk) => Ok(disk),
        None => bail!("no machine has run yet: there is no disk with logs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_listing() {
        let text = "   7  a.log\n            console/\n  123  b c.log\n";
        let found: Vec<_> = listing("var", text).collect();
        assert_eq!(
            found,
            [("var/a.log".into(), 7), ("var/b c.log".into(), 123)]
        );
    }

    #[test]
    fn a_log_is_found_by_what_people_call_it() {
        let paths = [
            "var/log/xen/hypervisor.log",
            "var/log/xen/xl-debian.log",
            "var/log/xen/blkback.log",
            "var/log/xen/console/guest-debian.log",
        ];
        let choose = |wanted| choose(wanted, paths.into_iter());
        assert_eq!(choose("hypervisor"), Some(paths[0]));
        assert_eq!(choose("blkback.log"), Some(paths[2]));
        assert_eq!(choose("debian"), Some(paths[3]));
        assert_eq!(choose("xl-debian"), Some(paths[1]));
        assert_eq!(choose("/var/log/xen/xl-debian.log"), Some(paths[1]));
        assert_eq!(choose("nobody"), None);
    }
}
