//! Error numbers (`errno.h`). Hypercalls return them negated.

use core::fmt;

/// A Xen error number, never zero for an error.
///
/// The numbers are Linux's, whatever the guest's own are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Errno(u16);

macro_rules! errnos {
    ($( $name:ident = $value:expr, $text:expr; )*) => {
        impl Errno {
            $( #[doc = $text] pub const $name: Errno = Errno($value); )*

            /// The symbolic name (`"EINVAL"`), as the store's `XS_ERROR` carries it; `None` for a number that Xen lacks.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some(stringify!($name)), )*
                    _ => None,
                }
            }

            /// The number for a symbolic name.
            pub fn from_name(name: &str) -> Option<Errno> {
                match name {
                    $( stringify!($name) => Some(Errno::$name), )*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such entry.";
    ESRCH = 3, "No such domain or vCPU.";
    EINTR = 4, "Interrupted (inside the hypervisor only).";
    EIO = 5, "I/O error.";
    ENXIO = 6, "No such device or address.";
    E2BIG = 7, "Argument list too long.";
    ENOEXEC = 8, "Not an executable image.";
    EBADF = 9, "Bad handle.";
    ECHILD = 10, "No child.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "Permission denied.";
    EFAULT = 14, "Bad guest address.";
    EBUSY = 16, "Busy.";
    EEXIST = 17, "Already exists.";
    EXDEV = 18, "Cross-device.";
    ENODEV = 19, "No such device.";
    ENOTDIR = 20, "Not a directory.";
    EISDIR = 21, "Is a directory.";
    EINVAL = 22, "Invalid argument.";
    ENFILE = 23, "Table full.";
    EMFILE = 24, "Too many open.";
    ENOSPC = 28, "No space left.";
    EROFS = 30, "Read-only.";
    EMLINK = 31, "Too many links.";
    EDOM = 33, "Outside the domain of the function.";
    ERANGE = 34, "Result not representable.";
    EDEADLK = 35, "Deadlock would occur.";
    ENAMETOOLONG = 36, "Name too long.";
    ENOLCK = 37, "No locks available.";
    ENOSYS = 38, "Not implemented.";
    ENOTEMPTY = 39, "Not empty.";
    ENODATA = 61, "No data available.";
    ETIME = 62, "Timer expired.";
    EBADMSG = 74, "Not a data message.";
    EOVERFLOW = 75, "Value too large.";
    EILSEQ = 84, "Illegal byte sequence.";
    ERESTART = 85, "To be restarted (inside the hypervisor only).";
    ENOTSOCK = 88, "Not a socket.";
    EMSGSIZE = 90, "Message too long.";
    EOPNOTSUPP = 95, "Operation not supported.";
    EADDRINUSE = 98, "Address in use.";
    EADDRNOTAVAIL = 99, "Address not available.";
    ENOBUFS = 105, "No buffer space.";
    EISCONN = 106, "Already connected.";
    ENOTCONN = 107, "Not connected.";
    ETIMEDOUT = 110, "Timed out.";
    ECONNREFUSED = 111, "Refused.";
}

/// The largest error number a hypercall's return value is taken to carry (Linux's `MAX_ERRNO`).
pub const MAX_ERRNO: u16 = 4095;

impl Errno {
    /// The positive number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// An error from its positive number; zero and numbers above [`MAX_ERRNO`] become `EINVAL`.
    pub const fn from_number(number: u16) -> Errno {
        if number == 0 || number > MAX_ERRNO {
            Errno::EINVAL
        } else {
            Errno(number)
        }
    }

    /// What a hypercall that fails with this error returns: the negated number.
    pub const fn to_ret(self) -> i64 {
        -(self.0 as i64)
    }

    /// Splits a hypercall's return value: −4095 to −1 are errors, everything else is the result.
    pub const fn from_ret(ret: i64) -> Result<u64, Errno> {
        if ret < 0 && ret >= -(MAX_ERRNO as i64) {
            Err(Errno((-ret) as u16))
        } else {
            Ok(ret as u64)
        }
    }
}

/// The return value of a hypercall handler's result.
pub fn ret_of(result: Result<u64, Errno>) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(errno) => errno.to_ret(),
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_values_split_into_results_and_errors() {
        assert_eq!(Errno::from_ret(0), Ok(0));
        assert_eq!(Errno::from_ret(7), Ok(7));
        assert_eq!(Errno::from_ret(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::from_ret(-4095).unwrap_err().number(), 4095);
        assert_eq!(
            Errno::from_ret(-4096),
            Ok(-4096_i64 as u64),
            "large negatives are addresses or counts"
        );
        assert_eq!(Errno::EINVAL.to_ret(), -22);
        assert_eq!(ret_of(Err(Errno::ENOSYS)), -38);
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(Errno::from_name("ENOENT"), Some(Errno::ENOENT));
        assert_eq!(Errno::ENOENT.name(), Some("ENOENT"));
        assert_eq!(Errno::from_name("EWHAT"), None);
        assert_eq!(format!("{}", Errno::from_number(200)), "errno 200");
    }
}
