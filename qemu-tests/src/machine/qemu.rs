//! QEMU's command line for the machine that microhv is built for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use super::iommu_options;

/// Where the virtio-blk disk sits, as `bus/slot/function`; loader.conf's `blkback_pptdevs` names the same place.
pub const DISK_SLOT: &str = "0/2/0";
/// Where the virtio-net NIC sits, as `bus/slot/function`; loader.conf's `netback_pptdevs` names the same place.
pub const NIC_SLOT: &str = "0/3/0";

/// Which IOMMU the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    /// Intel VT-d with interrupt remapping.
    Vtd,
    /// AMD-Vi with interrupt remapping.
    AmdVi,
    /// No IOMMU at all.
    None,
}

/// Where the machine's first serial port goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// The terminal of the person who runs it; Ctrl-C goes to the machine, Ctrl-A x ends QEMU.
    Terminal,
    /// QEMU's standard input and output, which a program reads and writes.
    Pipe,
}

/// A TCP port of the host that leads to a port of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Port on the host's 127.0.0.1.
    pub host: u16,
    /// The guest's address on QEMU's user network.
    pub guest: std::net::Ipv4Addr,
    /// The guest's port.
    pub port: u16,
}

/// How the machine comes to microhv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// QEMU loads [`Machine::kernel`] and [`Machine::archive`] itself: quick, and without a boot loader.
    Direct,
    /// SeaBIOS boots the disk.
    Bios,
    /// OVMF boots the disk.
    Uefi {
        /// OVMF's code.
        code: PathBuf,
        /// OVMF's variables as they are at first; what it writes to them is lost when the machine ends.
        vars: PathBuf,
    },
}

/// A machine that can be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The QEMU binary.
    pub qemu: OsString,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The IOMMU.
    pub iommu: Iommu,
    /// Value of `-cpu` when QEMU emulates the CPU; with KVM it is the host's.
    pub cpu: String,
    /// Use the host's hardware virtualisation.
    pub kvm: bool,
    /// How it comes to microhv.
    pub boot: Boot,
    /// The hypervisor's ELF image, for direct boot.
    pub kernel: PathBuf,
    /// The boot archive, for direct boot; none to see what microhv says about that.
    pub archive: Option<PathBuf>,
    /// The raw image behind the virtio-blk disk.
    pub disk: Option<PathBuf>,
    /// Writes to the disk are lost when the machine ends.
    pub snapshot: bool,
    /// Whether there is a virtio-net NIC, and the ports that lead in.
    pub nic: Option<Vec<Forward>>,
    /// Virtio devices go through the IOMMU; `false` only to prove that a test of that can fail.
    pub iommu_platform: bool,
    /// Where COM1 goes.
    pub serial: Serial,
    /// The socket that COM2 becomes; none for a machine without COM2.
    pub channel: Option<PathBuf>,
    /// A file that gets a copy of what COM1 prints.
    pub log: Option<PathBuf>,
    /// More arguments, at the end.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// The machine that the product is meant for: 2 CPUs, 2 GiB, SVM + NPT, VT-d; without disk or NIC yet.
    #[must_use]
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            qemu: "qemu-system-x86_64".into(),
            cpus: 2,
            memory: 2048,
            iommu: Iommu::Vtd,
            cpu: "max,+svm,+npt".into(),
            kvm: false,
            boot: Boot::Direct,
            kernel: kernel.into(),
            archive: None,
            disk: None,
            snapshot: false,
            nic: None,
            iommu_platform: true,
            serial: Serial::Pipe,
            channel: None,
            log: None,
            extra: Vec::new(),
        }
    }

    /// The arguments for QEMU.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut list: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| list.extend(words.iter().map(OsString::from));
        // QEMU's own emulation of the I/O APIC is the one that interrupt remapping needs. One thread for all CPUs: with
        // one each, QEMU mistakes host for guest now and then (docs/qemu-versions.md).
        let (accel, irqchip) = if self.kvm {
            ("kvm", "kernel-irqchip=split")
        } else {
            ("tcg,thread=single", "kernel-irqchip=off")
        };
        add(&[
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        add(&[
            "-machine",
            &format!("q35,{irqchip}"),
            "-accel",
            accel,
            "-cpu",
            if self.kvm { "host" } else { &self.cpu },
        ]);
        add(&[
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &self.memory.to_string(),
        ]);
        // Before other devices, which must find their bus behind it. amd-iommu is a PCI function as well, at 00:01.0.
        match self.iommu {
            Iommu::Vtd => add(&["-device", "intel-iommu,intremap=on"]),
            Iommu::AmdVi => add(&["-device", "amd-iommu,intremap=on"]),
            Iommu::None => {}
        }
        match self.serial {
            Serial::Terminal => {
                let log = self
                    .log
                    .as_ref()
                    .map(|log| format!(",logfile={}", escape(log)));
                let chardev = format!("stdio,id=com1,mux=on,signal=off{}", log.unwrap_or_default());
                add(&["-chardev", &chardev, "-mon", "chardev=com1,mode=readline"]);
            }
            Serial::Pipe => add(&["-chardev", "stdio,id=com1,mux=off,signal=off"]),
        }
        add(&["-serial", "chardev:com1"]);
        if let Some(socket) = &self.channel {
            let path = escape(socket);
            let chardev = format!("socket,id=com2,path={path},server=on,wait=off");
            add(&["-chardev", &chardev, "-serial", "chardev:com2"]);
        }
        // An emulated device bypasses the IOMMU unless told otherwise, and isolation would prove nothing.
        let virtio = match (self.iommu, self.iommu_platform) {
            (Iommu::Vtd | Iommu::AmdVi, true) => "iommu_platform=on,disable-legacy=on",
            _ => "iommu_platform=off,disable-legacy=on",
        };
        if let Some(disk) = &self.disk {
            let snapshot = if self.snapshot { "on" } else { "off" };
            let drive = format!(
                "if=none,id=disk0,format=raw,discard=unmap,snapshot={snapshot},file={}",
                escape(disk)
            );
            add(&["-drive", &drive]);
            // QEMU's own loader, which direct boot uses, has this index.
            let first = match self.boot {
                Boot::Direct => "",
                Boot::Bios | Boot::Uefi { .. } => "bootindex=0,",
            };
            add(&[
                "-device",
                &format!("virtio-blk-pci,addr=2,drive=disk0,{first}{virtio}"),
            ]);
        }
        if let Some(forwards) = &self.nic {
            let mut netdev = "user,id=net0".to_owned();
            for Forward { host, guest, port } in forwards {
                netdev += &format!(",hostfwd=tcp:127.0.0.1:{host}-{guest}:{port}");
            }
            add(&["-netdev", &netdev]);
            add(&[
                "-device",
                &format!("virtio-net-pci,addr=3,netdev=net0,romfile=,{virtio}"),
            ]);
        }
        match &self.boot {
            Boot::Direct => {
                list.extend(["-kernel".into(), self.kernel.clone().into_os_string()]);
                if let Some(archive) = &self.archive {
                    list.extend(["-initrd".into(), archive.clone().into_os_string()]);
                }
            }
            Boot::Bios => {}
            Boot::Uefi { code, vars } => {
                for (unit, file, how) in [(0, code, "readonly=on"), (1, vars, "snapshot=on")] {
                    let file = escape(file);
                    let drive = format!("if=pflash,unit={unit},format=raw,{how},file={file}");
                    list.extend(["-drive".into(), drive.into()]);
                }
            }
        }
        list.extend(self.extra.iter().cloned());
        list
    }

    /// The command that runs QEMU so that it does not outlive us.
    #[must_use]
    pub fn command(&self) -> Command {
        // Part of util-linux, which Debian marks essential.
        let setpriv = PathBuf::from("/usr/bin/setpriv");
        let mut command = if setpriv.exists() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(&self.qemu);
            command
        } else {
            Command::new(&self.qemu)
        };
        command.args(self.arguments());
        if self.iommu == Iommu::AmdVi {
            command.args(iommu_options::amd(&self.qemu));
        }
        command
    }
}

/// A path as the value of a QEMU option, where commas separate options unless doubled.
fn escape(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(machine: &Machine) -> String {
        let words: Vec<_> = machine
            .arguments()
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }

    #[test]
    fn virtio_never_bypasses_the_iommu_unless_asked() {
        let mut machine = Machine::new("microhv");
        machine.disk = Some("a,b.img".into());
        machine.nic = Some(vec![Forward {
            host: 8080,
            guest: [10, 0, 2, 20].into(),
            port: 80,
        }]);
        let words = text(&machine);
        assert_eq!(
            words.matches("iommu_platform=on,disable-legacy=on").count(),
            2
        );
        assert!(words.contains("file=a,,b.img"));
        assert!(words.contains("hostfwd=tcp:127.0.0.1:8080-10.0.2.20:80"));
        machine.iommu_platform = false;
        assert_eq!(text(&machine).matches("iommu_platform=off").count(), 2);
    }

    #[test]
    fn a_machine_with_firmware_boots_its_disk() {
        let mut machine = Machine::new("microhv");
        machine.disk = Some("disk.img".into());
        machine.boot = Boot::Bios;
        assert!(!text(&machine).contains("-kernel"));
        machine.boot = Boot::Uefi {
            code: "code.fd".into(),
            vars: "vars.fd".into(),
        };
        let words = text(&machine);
        assert!(words.contains("readonly=on,file=code.fd"));
        assert!(words.contains("snapshot=on,file=vars.fd"));
        assert!(words.contains("bootindex=0"));
    }

    #[test]
    fn com2_is_a_socket_if_there_is_one() {
        let mut machine = Machine::new("microhv");
        assert!(!text(&machine).contains("com2"));
        machine.channel = Some("run/com2.sock".into());
        let words = text(&machine);
        let first = words.find("-serial chardev:com1").unwrap();
        assert!(words.contains("path=run/com2.sock,server=on,wait=off"));
        assert!(first < words.find("-serial chardev:com2").unwrap());
    }

    #[test]
    fn a_machine_without_an_iommu_has_none() {
        let mut machine = Machine::new("microhv");
        assert!(text(&machine).contains("intel-iommu,intremap=on"));
        machine.iommu = Iommu::AmdVi;
        assert!(text(&machine).contains("amd-iommu,intremap=on"));
        machine.iommu = Iommu::None;
        assert!(!text(&machine).contains("iommu"));
    }
}
