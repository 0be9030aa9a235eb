//! Disks made of files that the boot loader reads into memory, as FreeBSD's loader.conf(5) and md(4) have them: `<prefix>_load="YES"`,
//! `<prefix>_type="md_image"`, `<prefix>_name="/boot/disk.img"`, with any prefix.

use super::view::LoaderConf;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// The types that mean such a disk; the second one is the older name of the same.
const TYPES: [&str; 2] = ["md_image", "mfs_root"];

impl<'a> LoaderConf<'a> {
    fn of(&self, prefix: &str, suffix: &str) -> Option<super::Assignment<'a>> {
        self.find(|name| name.strip_prefix(prefix) == Some(suffix))
    }

    /// Is `name` one of the three settings of such a disk?
    pub(super) fn is_of_md_image(&self, name: &str) -> bool {
        let prefix = ["_load", "_type", "_name"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        prefix.is_some_and(|prefix| {
            self.of(prefix, "_load").is_some()
                && self
                    .of(prefix, "_type")
                    .is_some_and(|kind| TYPES.contains(&kind.value.raw().text))
        })
    }

    /// The paths of the files to be disks, in the order of their `_load` lines: `md0`, `md1` and so on; or the error in a path's place.
    pub fn md_images(&self) -> impl Iterator<Item = Result<Span<'a>, Diagnostic<'a>>> + use<'a> {
        let conf = *self;
        self.assignments()
            .filter_map(Result::ok)
            .filter_map(move |load| {
                let name = load.name;
                let prefix = name.text.strip_suffix("_load")?;
                // Of several lines with the same name the last one counts.
                let last = conf.of(prefix, "_load")?.name == name;
                if !last || !conf.is_of_md_image(name.text) {
                    return None;
                }
                match conf.truth(name.text) {
                    Ok(true) => Some(conf.md_path(name, prefix)),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                }
            })
    }

    fn md_path(&self, load: Span<'a>, prefix: &str) -> Result<Span<'a>, Diagnostic<'a>> {
        const EXPECTED: &str = "expected a disk's image as <prefix>_name=\"/boot/...\"";
        let Some(name) = self.of(prefix, "_name") else {
            return Err(Diagnostic::error(load.text, load.end(), EXPECTED));
        };
        let path = name.value.plain(name.name.text)?;
        if path.text.trim_matches('/').is_empty() {
            return Err(Diagnostic::error(name.name.text, path, EXPECTED));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(file: &str) -> Vec<Result<&str, String>> {
        let found = LoaderConf::new(file.as_bytes()).md_images();
        found
            .map(|image| {
                image
                    .map(|path| path.text)
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    fn said(file: &str) -> Vec<String> {
        let mut said = Vec::new();
        LoaderConf::new(file.as_bytes()).diagnostics(|remark| said.push(remark.to_string()));
        said
    }

    #[test]
    fn freebsds_words_name_disks_in_order() {
        let file = "mdroot_load=\"YES\"\nmdroot_type=\"md_image\"\nmdroot_name=\"/boot/root.img\"\n\
                    b_name=\"/boot/b\"\nb_type=\"mfs_root\"\nb_load=\"yes\"\n\
                    off_load=\"NO\"\noff_type=\"md_image\"\noff_name=\"/boot/off\"\n";
        assert_eq!(paths(file), [Ok("/boot/root.img"), Ok("/boot/b")]);
        assert_eq!(said(file), [""; 0]);
        // The last line counts, and it counts once.
        let again = format!("{file}mdroot_load=\"YES\"\nmdroot_name=\"/boot/other\"\n");
        assert_eq!(paths(&again), [Ok("/boot/b"), Ok("/boot/other")]);
        assert_eq!(
            paths(&format!("{file}b_load=\"NO\"\n")),
            [Ok("/boot/root.img")]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let file = "a_load=\"YES\"\na_type=\"md_image\"\n";
        let error =
            "loader.conf:1:7: a_load: expected a disk's image as <prefix>_name=\"/boot/...\"";
        assert_eq!(paths(file), [Err(error.into())]);
        assert_eq!(said(file), [error]);
        let file = "a_load=\"maybe\"\na_type=\"md_image\"\na_name=\"/x\"\n";
        assert_eq!(
            said(file),
            ["loader.conf:1:9: a_load: expected YES or NO, found 'maybe'"]
        );
        for name in ["", "/", "\\\\x"] {
            let file = format!("a_load=\"YES\"\na_type=\"md_image\"\na_name=\"{name}\"\n");
            assert!(
                said(&file)[0].starts_with("loader.conf:3:9: a_name: expected "),
                "{name}"
            );
        }
        // Kernel modules of FreeBSD's are nothing here.
        let other = "if_em_load=\"YES\"\nx_load=\"YES\"\nx_type=\"font\"\nx_name=\"/boot/x\"\n";
        assert_eq!(paths(other), []);
        assert_eq!(said(other).len(), 4);
        assert!(
            said(other)[0].ends_with("if_em_load: ignored, because microhv has no such setting")
        );
    }

    proptest! {
        /// Whatever the file says: an answer, no more disks than `_load` lines, and every error is among the remarks.
        #[test]
        fn any_file_is_survived(lines in prop::collection::vec(
            ("[ab]?_(load|type|name)", "(YES|NO|md_image|mfs_root|/boot/x|\\\\|)"), 0..12)) {
            let file: String = lines.iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
            let found = paths(&file);
            prop_assert!(found.len() <= lines.iter().filter(|(name, _)| name.ends_with("_load")).count());
            let said = said(&file);
            for error in found.into_iter().filter_map(Result::err) {
                prop_assert!(said.contains(&error));
            }
        }
    }
}
