//! `xl create`: from a configuration file to a running guest.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::{DomId, Errno};
use xl_config::{DomainConfig, Uuid};

use super::boot::XENSTORE;
use super::{App, DOMAIN_0};
use crate::guest::{
    Content, CreateError, Created, DomainEntries, File, Guest, Kernel, create, domain_entries,
};
use crate::host::Host;
use xl_config::DomainType;

/// xl's exit codes: a configuration that cannot be read as one, and everything else (`-ERROR_FAIL`).
const EXIT_CONFIG: i32 = 1;
const EXIT_FAIL: i32 = 3;
/// Why there is no guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the operator; one or more lines.
    pub message: String,
    /// xl's exit code.
    pub status: i32,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            status: EXIT_FAIL,
        }
    }
}

impl<'a, H: Host> App<'a, H> {
    /// Reads the configuration at `source`, with `more` lines behind it, as `xl create FILE name=value` has them.
    pub(crate) fn read_config(
        &mut self,
        source: &str,
        more: &[String],
    ) -> Result<DomainConfig, Failure> {
        // As with xl: everything is on the command line.
        let mut text = if source == "/dev/null" {
            Vec::new()
        } else {
            self.file(source).map_err(|error| {
                Failure::new(format!("Failed to read config file: {source}: {error}"))
            })?
        };
        for line in more {
            text.push(b'\n');
            text.extend_from_slice(line.as_bytes());
        }
        DomainConfig::parse(source, &text).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure {
                message: lines.join("\n"),
                status: EXIT_CONFIG,
            }
        })
    }

    /// Creates the guest that the file at `source` describes.
    pub(crate) fn create_from_file(
        &mut self,
        source: &str,
        more: &[String],
        paused: bool,
    ) -> Result<DomId, Failure> {
        let config = self.read_config(source, more)?;
        for warning in config.warnings.clone() {
            self.remark(&warning.to_string());
            self.log_life(&config.name, &warning.to_string());
        }
        let name = config.name.clone();
        let created = self.create_guest(config, source, paused);
        if let Err(failure) = &created {
            self.log_life(&name, &failure.message);
            self.log_urgent();
        }
        created
    }

    /// Creates a guest; nothing is left of one that fails.
    pub(crate) fn create_guest(
        &mut self,
        config: DomainConfig,
        source: &str,
        paused: bool,
    ) -> Result<DomId, Failure> {
        let fail = |reason: String| Failure::new(format!("{}: {reason}", config.name));
        if self.named(&config.name).is_some() {
            let text = format!("Domain with name \"{}\" already exists.", config.name);
            return Err(Failure::new(text));
        }
        if let Some(kind @ (DomainType::Pv | DomainType::Hvm)) = config.domain_type {
            let kind = if kind == DomainType::Pv { "pv" } else { "hvm" };
            return Err(fail(format!(
                "type is {kind}; microhv runs pvh guests only"
            )));
        }
        let store_domain = self
            .named(XENSTORE)
            .ok_or_else(|| fail("there is no xenstore domain".to_string()))?;
        let named = match &config.bootloader {
            None => Some(self.named_kernel(&config).map_err(fail)?),
            Some(_) => None,
        };
        if config.cap != 0 {
            self.say(&format!(
                "{}: cap has no effect: CPU time is not limited",
                config.name
            ));
        }
        // Devices of a domain that does not exist yet: this finds what is wrong with them.
        self.devices(&config, 0).map_err(fail)?;

        let (kernel, lent) = match named {
            Some(kernel) => (kernel, None),
            None => {
                let (kernel, lent) = self.kernel_on_disk(&config).map_err(fail)?;
                (kernel, Some(lent))
            }
        };
        let path = kernel.image.path.clone();
        let handle = config.uuid.map_or_else(|| self.new_uuid(), |uuid| uuid.0);
        let created = create(&mut self.host, &config, handle, kernel, store_domain);
        if let Some(lent) = lent {
            self.give_back(lent);
        }
        let created = created.map_err(|error| {
            if matches!(error, CreateError::Memory { .. }) {
                let (key, asked) = if config.maxmem > config.memory {
                    ("maxmem", config.maxmem)
                } else {
                    ("memory", config.memory)
                };
                let (line, asked) = (self.line_of(source, key), asked.unwrap_or(0));
                let text = format!(
                    "{source}{line}: {key} = {asked} does not fit: {error}\n\
                     failed to free memory for the domain"
                );
                Failure::new(text)
            } else {
                fail(error.to_string())
            }
        })?;
        let domid = created.domid;
        let name = config.name.clone();
        let guest = Guest {
            name: name.clone(),
            handle,
            config: Some(config.clone()),
            source: source.to_string(),
            created: self.host.now(),
            ..Guest::default()
        };
        self.guests.insert(domid, guest);
        self.log_life(&name, &format!("Domain {domid} created from {source}"));
        if let Err(reason) = self.connect(&config, &created, handle, &path) {
            self.destroy(domid);
            return Err(fail(reason));
        }
        let now = self.host.now();
        if let Some(guest) = self.guests.get_mut(&domid) {
            guest.created = now;
        }
        if !paused && let Err(errno) = self.host.unpause_domain(domid) {
            self.destroy(domid);
            return Err(fail(format!("cannot be started: {errno}")));
        }
        let runs = if paused { "is paused" } else { "runs" };
        self.log_life(&name, &format!("Domain {domid} {runs}"));
        Ok(domid)
    }

    /// The kernel that `config` names, with its RAM disk.
    fn named_kernel(&self, config: &DomainConfig) -> Result<Kernel<'a>, String> {
        let file = |path: &String| -> Result<File<'a>, String> {
            let content = self
                .load(path)
                .map_err(|error| format!("{path}: {error}"))?;
            Ok(File {
                path: path.clone(),
                content: Content::Bytes(content),
            })
        };
        let kernel = config
            .kernel
            .as_ref()
            .ok_or("Neither kernel nor bootloader specified")?;
        Ok(Kernel {
            ramdisk: config.ramdisk.as_ref().map(file).transpose()?,
            image: file(kernel)?,
            cmdline: config.cmdline.clone(),
        })
    }

    /// Everything outside the hypervisor: console, store, devices.
    fn connect(
        &mut self,
        config: &DomainConfig,
        created: &Created,
        handle: [u8; 16],
        kernel: &str,
    ) -> Result<(), String> {
        let domid = created.domid;
        let opened = self.host.console_open(domid, created.console.1);
        opened.map_err(|error| format!("console: {error}"))?;
        if let Some(guest) = self.guests.get_mut(&domid) {
            guest.console_open = true;
        }
        let store_error = |errno: Errno| format!("xenstore: {errno}");
        let uuid = Uuid(handle).to_string();
        let entries = domain_entries(&DomainEntries {
            domid,
            name: &config.name,
            uuid: &uuid,
            memory: config.memory.unwrap_or(0) * 1024,
            max_memory: config.maxmem.unwrap_or(0) * 1024,
            vcpus: config.vcpus,
            max_vcpus: config.maxvcpus,
            store: Some(created.store),
            console: Some(created.console),
            kernel,
        });
        self.host.store_apply(&entries).map_err(store_error)?;
        let name = &config.name;
        let (port, nodes) = (created.console.1, entries.len());
        self.log_life(
            name,
            &format!(
                "Domain {domid}: kernel {kernel}; console at port {port}; {nodes} nodes in xenstore"
            ),
        );
        for described in self.devices(config, domid)? {
            self.describe(described).map_err(store_error)?;
        }
        let (gfn, port) = created.store;
        self.host
            .store_introduce(domid, gfn, port)
            .map_err(store_error)?;
        let devices = self.guests.get(&domid).map(|guest| guest.devices.clone());
        for device in devices.unwrap_or_default() {
            self.wait_for_backend(&device)?;
            let (kind, number) = (device.kind, device.number);
            let backend = self.name_of(device.backend);
            self.log_life(
                name,
                &format!("Domain {domid}: {kind} {number} taken up by {backend}"),
            );
        }
        Ok(())
    }

    /// A random UUID (RFC 4122, version 4).
    pub(super) fn new_uuid(&mut self) -> [u8; 16] {
        let mut uuid = [0; 16];
        let bytes = self.host.random().to_le_bytes().into_iter();
        let bytes: Vec<u8> = bytes.chain(self.host.random().to_le_bytes()).collect();
        for (index, (to, from)) in uuid.iter_mut().zip(bytes).enumerate() {
            *to = match index {
                6 => from & 0x0f | 0x40,
                8 => from & 0x3f | 0x80,
                _ => from,
            };
        }
        uuid
    }

    /// `:LINE` of the last setting of `key` in the file at `source`; nothing if it is not there.
    fn line_of(&self, source: &str, key: &str) -> String {
        let Ok(text) = self.file(source) else {
            return String::new();
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().enumerate().filter(|(_, line)| {
            let rest = line.trim_start().strip_prefix(key);
            rest.is_some_and(|rest| rest.trim_start().starts_with('='))
        });
        line.last()
            .map_or(String::new(), |(index, _)| format!(":{}", index + 1))
    }

    /// Whether a guest exists that may be managed.
    pub(crate) fn is_guest(&self, domid: DomId) -> bool {
        domid != DOMAIN_0
            && self
                .guests
                .get(&domid)
                .is_some_and(|guest| guest.config.is_some())
    }
}
