//! Names of nodes.
//!
//! Source: Xen's docs/misc/xenstore.txt; the rules of characters and lengths are those of Xen's own daemon.

use crate::error::{Error, Result};
use alloc::format;
use alloc::string::{String, ToString};

/// The node above all others.
pub const ROOT: &str = "/";

/// Longest path of all, in bytes (`XENSTORE_ABS_PATH_MAX`).
pub const ABSOLUTE_MAX: usize = xen_abi::io::xs_wire::XENSTORE_ABS_PATH_MAX;

/// The path that a domain's relative names start at.
#[must_use]
pub fn home(domid: u16) -> String {
    format!("/local/domain/{domid}")
}

/// Checks a name from a message and makes it absolute.
///
/// `home` is put before a relative name. `special` allows `@...`. `limit` bounds the part behind `/local/domain/N/`, in bytes;
/// `None` leaves only [`ABSOLUTE_MAX`].
///
/// # Errors
/// [`Error::Einval`] for anything that is no path.
pub fn canonicalize(
    name: &[u8],
    home: &str,
    special: bool,
    limit: Option<usize>,
) -> Result<String> {
    let name = core::str::from_utf8(name).map_err(|_| Error::Einval)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '@');
    if name.is_empty() || !name.chars().all(allowed) || (name.starts_with('@') && !special) {
        return Err(Error::Einval);
    }
    let path = if is_relative(name) {
        format!("{home}/{name}")
    } else {
        name.to_string()
    };
    let slashes = path.contains("//") || (path.ends_with('/') && path != ROOT);
    let own_part = path.len() - domain_prefix(&path);
    if slashes || path.len() > ABSOLUTE_MAX || limit.is_some_and(|limit| own_part > limit) {
        return Err(Error::Einval);
    }
    Ok(path)
}

/// Whether a name starts at its client's home.
#[must_use]
pub fn is_relative(name: &str) -> bool {
    !name.starts_with('/') && !name.starts_with('@')
}

/// Bytes of `/local/domain/<number>/` at the start, which do not count against a guest's limit.
fn domain_prefix(path: &str) -> usize {
    let Some(rest) = path.strip_prefix("/local/domain/") else {
        return 0;
    };
    match rest.find('/') {
        Some(end @ 1..=5) if rest.bytes().take(end).all(|b| b.is_ascii_digit()) => {
            path.len() - rest.len() + end + 1
        }
        _ => 0,
    }
}

/// The node above; `/` is above special names too, and above itself.
#[must_use]
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => ROOT,
        Some(end) => path.get(..end).unwrap_or(ROOT),
    }
}

/// The name in its parent.
#[must_use]
pub fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of a child.
#[must_use]
pub fn join(parent: &str, name: &str) -> String {
    if parent == ROOT {
        format!("/{name}")
    } else {
        format!("{parent}/{name}")
    }
}

/// `path`, its parent, and so on; for a real path to `/`, for a special name to its first part.
pub fn with_ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    core::iter::from_fn(move || {
        let current = next?;
        next = match current.rfind('/') {
            None => None,
            Some(0) if current.len() == 1 => None,
            Some(0) => Some(ROOT),
            Some(end) => current.get(..end),
        };
        Some(current)
    })
}

/// How many levels `path` is below `ancestor`, which must be one of [`with_ancestors`].
#[must_use]
pub fn levels_below(path: &str, ancestor: &str) -> usize {
    let below = path.get(ancestor.len()..).unwrap_or("");
    let slashes = below.bytes().filter(|b| *b == b'/').count();
    slashes + usize::from(ancestor == ROOT && !below.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical() {
        let path = |name: &str| canonicalize(name.as_bytes(), "/local/domain/3", false, Some(20));
        assert_eq!(path("/a/b-c_d@1").as_deref(), Ok("/a/b-c_d@1"));
        assert_eq!(path("x/y").as_deref(), Ok("/local/domain/3/x/y"));
        assert_eq!(path("/").as_deref(), Ok("/"));
        for bad in [
            "",
            "//",
            "/a/",
            "a//b",
            "/a b",
            "/a+",
            "@releaseDomain",
            "/a.b",
            "/\u{e9}",
            "a/",
        ] {
            assert_eq!(path(bad), Err(Error::Einval), "{bad}");
        }
        assert!(canonicalize(b"@releaseDomain", "/x", true, None).is_ok());
        assert!(path(&"a".repeat(20)).is_ok() && path(&"a".repeat(21)).is_err());
        assert!(
            path(&format!("/local/domain/77/{}", "a".repeat(20))).is_ok(),
            "only its own part counts"
        );
        assert!(path(&format!("/local/domains/{}", "a".repeat(20))).is_err());
        assert!(canonicalize("/a".repeat(1536).as_bytes(), "/", false, None).is_ok());
        assert!(canonicalize("/a".repeat(1537).as_bytes(), "/", false, None).is_err());
    }

    #[test]
    fn relations() {
        assert_eq!(
            (parent("/a/b"), parent("/a"), parent("/"), parent("@x")),
            ("/a", "/", "/", "/")
        );
        assert_eq!(
            (basename("/a/b"), join("/", "a"), join("/a", "b")),
            ("b", "/a".to_string(), "/a/b".to_string())
        );
        assert_eq!(
            with_ancestors("/a/b").collect::<Vec<_>>(),
            ["/a/b", "/a", "/"]
        );
        assert_eq!(with_ancestors("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(with_ancestors("@r/5").collect::<Vec<_>>(), ["@r/5", "@r"]);
        assert_eq!(
            (
                levels_below("/a/b", "/a"),
                levels_below("/a/b", "/"),
                levels_below("/a", "/"),
                levels_below("/", "/")
            ),
            (1, 2, 1, 0)
        );
    }
}
