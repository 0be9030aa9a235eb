//! Bochs with VMX, which only Debian 13's package has: downloaded once and run in place, on Debian 12 too, since its C library
//! comes along. Nothing is installed, and root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::output::step;
use crate::{host, paths};

/// The suite whose Bochs is tested; sid's 3.1 computes wrongly and crashes Linux.
const SUITE: &str = "trixie";
/// The start of the version that it has to be.
const VERSION: &str = "3.0";
/// Bochs, the display with the fewest libraries, and the machine's firmware.
const PACKAGES: [&str; 4] = ["bochs", "bochs-term", "bochsbios", "vgabios"];
/// Who signs Debian's packages.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where Debian is if this host's own apt does not say.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Where the packages have their libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The folder that Bochs is in, or will be.
pub fn folder() -> PathBuf {
    paths::cache().join("bochs")
}

/// Whether it is there.
pub fn is_there() -> bool {
    // Written last.
    folder().join("VERSION").exists()
}

/// The folder with Bochs, downloaded if need be.
///
/// # Errors
/// One sentence about what this host lacks, or apt's complaint.
pub fn get() -> Result<PathBuf> {
    let target = folder();
    if is_there() {
        return Ok(target);
    }
    let work = paths::cache().join("bochs.partial");
    for place in [&work, &target] {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
    }
    let root = work.join("root");
    fs::create_dir_all(&root)?;
    let packages = download(&work.join("apt"))
        .context("cannot fetch Bochs 3.0 of Debian 13, the only one with VMX")?;
    step("Unpacking", "Bochs");
    let mut version = String::new();
    for package in &packages {
        host::quiet(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        if let Some(rest) = name.strip_prefix("bochs_") {
            rest.split('_')
                .next()
                .unwrap_or_default()
                .clone_into(&mut version);
        }
    }
    ensure!(
        version.starts_with(VERSION),
        "Debian 13 has Bochs {version:?}, and microhv is tested with {VERSION}"
    );
    let made = work.join("bochs");
    assemble(&root, &made)?;
    try_it(&made)?;
    fs::write(made.join("VERSION"), &version)?;
    fs::rename(&made, &target)?;
    fs::remove_dir_all(&work)?;
    step("Made", &format!("{} (Bochs {version})", target.display()));
    Ok(target)
}

/// Has apt download the packages with all they need, by a configuration of its own in `folder`: this host's suites,
/// packages and settings do not matter. Gives the files.
fn download(folder: &Path) -> Result<Vec<PathBuf>> {
    for program in ["apt-get", "dpkg-deb"] {
        ensure!(
            host::find(program).is_some(),
            "there is no {program} here: Bochs comes out of Debian's packages"
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
    fs::write(folder.join("etc/debian.sources"), sources(&mirror()))?;
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
        "package lists of Debian 13, apart from this host's",
    );
    apt(&["update", "-qq"])?;
    step("Downloading", "Bochs 3.0 and its libraries (20 MB, once)");
    apt(&[&["install", "-y", "-qq", "--download-only"][..], &PACKAGES].concat())?;
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
fn mirror() -> String {
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

fn sources(mirror: &str) -> String {
    format!(
        "Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n"
    )
}

fn settings(folder: &Path) -> Result<String> {
    let folder = folder.to_str().context("the path of target/ is no text")?;
    if folder.contains(['"', '\n']) {
        bail!("apt cannot use a folder whose path has quotes in it: {folder}");
    }
    Ok(format!(
        r#"APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
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

/// Takes what is needed out of the unpacked packages: `lib` (the program, its plugins, all libraries and their loader)
/// and `share` (the BIOSes).
fn assemble(root: &Path, target: &Path) -> Result<()> {
    let library = target.join("lib");
    let (plugins, shared) = (library.join("plugins"), library.join("so"));
    for place in [&plugins, &shared, &target.join("share")] {
        fs::create_dir_all(place)?;
    }
    let from = root.join(LIBRARIES);
    let loader = from.join("ld-linux-x86-64.so.2");
    copy(&loader, &library.join("ld.so"))?;
    let program = library.join("bochs-bin");
    copy(&root.join("usr/bin/bochs-bin"), &program)?;
    let mut users = vec![program];
    for entry in fs::read_dir(from.join("bochs/plugins")).context("Bochs's plugins")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // The host's sound would be looked for at every start.
        let sound = ["alsa", "oss", "pulse"]
            .iter()
            .any(|word| name.contains(word));
        if !sound && name.ends_with(".so") {
            let plugin = plugins.join(&name);
            copy(&path, &plugin)?;
            users.push(plugin);
        }
    }
    for user in users {
        // It names a plugin's symbols that only the program has, and fails; the list is whole all the same.
        let output = Command::new(&loader)
            .arg("--library-path")
            .arg(&from)
            .arg("--list")
            .arg(&user)
            .output()
            .with_context(|| loader.display().to_string())?;
        for path in libraries(&String::from_utf8_lossy(&output.stdout)) {
            let to = shared.join(path.file_name().unwrap_or_default());
            if !to.exists() {
                copy(&path, &to)?;
            }
        }
    }
    let bios = root.join("usr/share/bochs");
    for file in ["BIOS-bochs-latest", "VGABIOS-lgpl-latest"] {
        copy(&bios.join(file), &target.join("share").join(file))?;
    }
    Ok(())
}

/// The files in what `ld.so --list` prints.
fn libraries(list: &str) -> impl Iterator<Item = PathBuf> {
    list.lines().filter_map(|line| {
        let (_, path) = line.split_once(" => ")?;
        let path = path.split(" (").next()?.trim();
        path.starts_with('/').then(|| path.into())
    })
}

/// Copies what `from` is or points to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| from.display().to_string())
}

/// Bochs must start here and know a CPU with VMX.
fn try_it(folder: &Path) -> Result<()> {
    let library = folder.join("lib");
    let output = Command::new(library.join("ld.so"))
        .arg("--library-path")
        .arg(library.join("so"))
        .arg(library.join("bochs-bin"))
        .args(["--help", "cpu"])
        .env("LTDL_LIBRARY_PATH", library.join("plugins"))
        .env("BXSHARE", folder.join("share"))
        .output()
        .context("Bochs does not start")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        said.contains("broadwell_ult"),
        "Bochs does not start: {}",
        said.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_files_of_the_list() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /root/usr/lib/libc.so.6 (0x00007f)\n\
                    \tlibx.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00)\n";
        let found: Vec<_> = libraries(list).collect();
        assert_eq!(found, [PathBuf::from("/root/usr/lib/libc.so.6")]);
    }

    #[test]
    fn apts_own_files_stay_out_of_it() {
        let text = settings(Path::new("/t/apt")).unwrap();
        assert!(text.contains("Dir::State::lists \"/t/apt/lists/\";"));
        assert_eq!(text.matches("\"/dev/null\"").count(), 5);
        assert!(settings(Path::new("/a\"b")).is_err());
        assert!(sources("http://m/debian").contains("URIs: http://m/debian\nSuites: trixie\n"));
    }
}
