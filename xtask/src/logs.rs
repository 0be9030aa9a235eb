//! `cargo xtask logs`: what the machine's console said.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Prints the log of the last run, or every log of the failed scenario with `scenario` in its name.
///
/// # Errors
/// When there is no such log, or several scenarios have the word.
pub fn print(scenario: Option<&str>) -> Result<ExitCode> {
    let Some(word) = scenario else {
        copy(&paths::log().join("run.log"))?;
        return Ok(ExitCode::SUCCESS);
    };
    let word = word.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let folders: Vec<PathBuf> = entries(&paths::target().join("test"))?
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(&word))
        .collect();
    match &folders[..] {
        [] => bail!("no failed scenario has \"{word}\" in its name"),
        [folder] => {
            for file in entries(folder)? {
                if file.extension().is_some_and(|extension| extension == "log") {
                    copy(&file)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        several => {
            for folder in several {
                eprintln!("  {}", folder.file_name().unwrap_or_default().display());
            }
            bail!("several failed scenarios have \"{word}\" in their names")
        }
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = list
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn copy(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(std::io::stdout().write_all(&bytes)?)
}
