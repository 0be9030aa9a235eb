//! Programs out of another suite of Debian than this host's: fetched once and run in place, since their C library comes
//! along. Nothing is installed, and root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::host;
use crate::output::step;

/// Who signs Debian's packages.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where Debian is if this host's own apt does not say.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Where packages have their libraries.
pub const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Downloads `packages` of Debian's `suite` with all they need, by a configuration of apt's own in `folder` (this host's
/// suites, packages and settings do not matter), and unpacks them into `root`. Gives the version of the first.
///
/// # Errors
/// One sentence about what this host lacks, or apt's complaint.
pub fn unpack(suite: &str, packages: &[&str], folder: &Path, root: &Path) -> Result<String> {
    let files = download(suite, packages, folder)?;
    fs::create_dir_all(root)?;
    step("Unpacking", &format!("{} packages", files.len()));
    let mut version = None;
    for file in &files {
        host::quiet(Command::new("dpkg-deb").arg("-x").arg(file).arg(root))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut parts = name.split('_');
        if parts.next() == packages.first().copied() {
            version = parts.next().map(|version| version.replace("%3a", ":"));
        }
    }
    version.with_context(|| format!("apt left no package {packages:?}"))
}

fn download(suite: &str, packages: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    for program in ["apt-get", "dpkg-deb"] {
        ensure!(
            host::find(program).is_some(),
            "there is no {program} here: this comes out of Debian's packages"
        );
    }
    ensure!(
        Path::new(KEYRING).exists(),
        "there is no {KEYRING}: apt-get install debian-archive-keyring"
    );
    for place in ["etc", "lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(place))?;
    }
    let configuration = folder.join("apt.conf");
    fs::write(folder.join("status"), "")?;
    fs::write(folder.join("etc/debian.sources"), sources(&mirror(), suite))?;
    fs::write(&configuration, settings(folder)?)?;
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", &configuration)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(words);
        host::quiet(&mut command)
    };
    step(
        "Updating",
        &format!("package lists of Debian {suite}, apart from this host's"),
    );
    apt(&["update", "-qq"])?;
    let names = packages.join(", ");
    step("Downloading", &format!("{names} and their libraries, once"));
    apt(&[&["install", "-y", "-qq", "--download-only"][..], packages].concat())?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.join("cache/archives"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Debian's mirror that this host uses, or Debian's own.
pub fn mirror() -> String {
    let targets = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
            "Created-By: Packages",
        ])
        .output();
    let said = targets.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    // Neither security updates nor other people's packages are there.
    let found = said
        .lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|"));
    found.unwrap_or(MIRROR).trim_end_matches('/').to_owned()
}

fn sources(mirror: &str, suite: &str) -> String {
    format!(
        "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n"
    )
}

fn settings(folder: &Path) -> Result<String> {
    let folder = folder.to_str().context("the path of target/ is no text")?;
    if folder.contains(['"', '\n']) {
        bail!("apt cannot use a folder whose path has quotes in it: {folder}");
    }
    // Of a mirror that lags behind, old lists are as good: they are signed all the same.
    Ok(format!(
        r#"APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/etc/";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/";
Dir::State::lists "{folder}/lists/";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache/";
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_own_files_stay_out_of_it() {
        let text = settings(Path::new("/t/apt")).unwrap();
        assert!(text.contains("Dir::State::lists \"/t/apt/lists/\";"));
        assert_eq!(text.matches("\"/dev/null\"").count(), 5);
        assert!(settings(Path::new("/a\"b")).is_err());
        let sources = sources("http://m/debian", "trixie");
        assert!(sources.contains("URIs: http://m/debian\nSuites: trixie\n"));
    }
}
