//! What a built domain's memory holds.

mod common;

use std::ptr::NonNull;

use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use common::{Memory, elf};
use pvh::{
    BuildError, Image, Layout, LayoutError, MemoryType, Module, ModuleSource, Parameters, Range,
    Start, VcpuState, build,
};

const MIB: u64 = 1 << 20;

fn kernel() -> Vec<u8> {
    elf(
        true,
        62,
        Some(&0x20_0010_u32.to_le_bytes()),
        &[
            (0x20_0000, b"text of the kernel", 0x2000),
            (0x20_2000, b"data", 0x1_2345),
        ],
    )
}

fn built(memory: u64, vcpus: u32, parameters: &Parameters<'_>) -> (Memory, Layout, Start) {
    let layout = Layout::new(memory, vcpus).unwrap();
    let mut guest = Memory::of(&layout);
    let file = kernel();
    let image = Image::parse(&file).unwrap();
    let start = build(&mut guest, &layout, &image, parameters).unwrap();
    (guest, layout, start)
}

fn text(guest: &Memory, gpa: u64, length: usize) -> String {
    String::from_utf8(guest.read(gpa, length)).unwrap()
}

#[test]
fn start_info_points_at_everything() {
    let initrd: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let modules = [
        Module {
            source: ModuleSource::Data(&initrd),
            cmdline: "",
        },
        Module {
            source: ModuleSource::Present {
                gpa: 1 << 33,
                size: 77,
            },
            cmdline: "archive",
        },
    ];
    let parameters = Parameters {
        cmdline: "console=hvc0 root=/dev/xvda",
        modules: &modules,
    };
    let (guest, layout, start) = built(64 * MIB, 2, &parameters);
    assert_eq!(start.entry, 0x20_0010);
    assert_eq!(text(&guest, 0x20_0000, 18), "text of the kernel");
    assert_eq!(text(&guest, 0x20_2000, 4), "data");

    let info = u64::from(start.start_info);
    assert_eq!(info, 0x21_5000, "first page behind the kernel");
    assert_eq!(guest.u32(info), 0x336e_c578);
    assert_eq!(guest.u32(info + 4), 1);
    assert_eq!(guest.u32(info + 12), 2);
    let cmdline = guest.u64(info + 24);
    assert_eq!(text(&guest, cmdline, 28), "console=hvc0 root=/dev/xvda\0");
    assert_eq!(text(&guest, guest.u64(info + 32), 8), "RSD PTR ");

    let list = guest.u64(info + 16);
    let (gpa, size) = (guest.u64(list), guest.u64(list + 8));
    assert_eq!(guest.read(gpa, size as usize), initrd);
    assert_eq!(gpa % 4096, 0);
    assert_eq!(guest.u64(list + 32), 1 << 33);
    assert_eq!(guest.u64(list + 40), 77);
    assert_eq!(text(&guest, guest.u64(list + 48), 8), "archive\0");
    assert!(start.used_end >= gpa + size && start.used_end < gpa + size + 4096);

    let map = guest.u64(info + 40);
    assert_eq!(guest.u32(info + 48) as usize, layout.memory_map().len());
    assert_eq!(
        (guest.u64(map), guest.u64(map + 8), guest.u32(map + 16)),
        (0, 64 * MIB, 1)
    );
}

#[test]
fn a_domain_too_small_is_refused_before_anything_is_written() {
    let layout = Layout::new(2 * MIB, 1).unwrap();
    let mut guest = Memory::default(); // any write would fail the test
    let file = kernel();
    let image = Image::parse(&file).unwrap();
    let result = build(&mut guest, &layout, &image, &Parameters::default());
    assert_eq!(
        result,
        Err(BuildError::DoesNotFit {
            needed: 0x21_6000,
            available: 2 * MIB
        })
    );
    let big = vec![0; 4 << 20];
    let modules = [Module {
        source: ModuleSource::Data(&big),
        cmdline: "",
    }];
    let layout = Layout::new(4 * MIB, 1).unwrap();
    let parameters = Parameters {
        cmdline: "",
        modules: &modules,
    };
    let error = build(&mut guest, &layout, &image, &parameters).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel and modules need 6232 KiB of memory, the domain has 4096 KiB"
    );
}

#[test]
fn memory_maps_are_sorted_disjoint_and_complete() {
    for mib in [2, 16, 2048, 3840, 3841, 8192] {
        let layout = Layout::new(mib * MIB, 1).unwrap();
        let map = layout.memory_map();
        assert!(
            map.windows(2)
                .all(|two| two[0].range.end() <= two[1].range.start)
        );
        let ram: u64 = map
            .iter()
            .filter(|e| e.kind == MemoryType::Ram)
            .map(|e| e.range.size)
            .sum();
        assert_eq!(ram, mib * MIB);
        let backed: u64 = layout.populate().iter().map(Range::frames).sum();
        assert_eq!(backed, mib * 256 + Layout::extra_pages());
        for gfn in [
            layout.store_gfn(),
            layout.console_gfn(),
            layout.rsdp() / 4096,
        ] {
            assert!(
                layout
                    .populate()
                    .iter()
                    .any(|r| { (r.first_gfn()..r.first_gfn() + r.frames()).contains(&gfn) })
            );
        }
    }
}

#[test]
fn what_cannot_be_laid_out() {
    assert!(matches!(
        Layout::new(0, 1),
        Err(LayoutError::BadMemorySize { bytes: 0 })
    ));
    assert!(Layout::new(16 * MIB + 1, 1).is_err());
    assert!(Layout::new(!4095, 1).is_err());
    assert!(matches!(
        Layout::new(16 * MIB, 0),
        Err(LayoutError::BadVcpus { vcpus: 0 })
    ));
    assert!(Layout::new(16 * MIB, 128).is_err());
    let mut layout = Layout::new(16 * MIB, 1).unwrap();
    let bar = Range {
        start: 0xFEBF_0000,
        size: 0x4000,
    };
    layout.reserve(bar).unwrap();
    assert_eq!(layout.reserve(bar), Err(LayoutError::BadReserved(bar)));
    for (start, size) in [
        (0, 4096),
        (0xFEFF_F000, 4096),
        (1 << 33, 0),
        (1, 4096),
        (!4095, 8192),
    ] {
        assert!(layout.reserve(Range { start, size }).is_err(), "{start:#x}");
    }
}

#[test]
fn entry_state_is_what_pvh_promises() {
    let state = VcpuState::pvh_entry(0x20_0010, 0x21_5000);
    assert_eq!(
        (state.rip, state.rbx, state.cr0 & 1, state.cr4),
        (0x20_0010, 0x21_5000, 1, 0)
    );
    assert_eq!(state.rflags & (1 << 9 | 1 << 8 | 1 << 17), 0);
    assert_eq!(
        (state.cs.base, state.cs.limit, state.cs.attributes),
        (0, u32::MAX, 0xc9b)
    );
    assert_eq!((state.tr.limit, state.tr.attributes & 0xf), (0x67, 0xb));
}

/// Lets the acpi crate read the tables out of a copy.
#[derive(Clone)]
struct Tables(&'static [u8], u64);

impl AcpiHandler for Tables {
    unsafe fn map_physical_region<T>(&self, gpa: usize, size: usize) -> PhysicalMapping<Self, T> {
        let offset = gpa - self.1 as usize;
        let bytes = &self.0[offset..offset + size];
        let start = NonNull::new(bytes.as_ptr().cast_mut().cast()).unwrap();
        // SAFETY: the range is inside a leaked slice that nothing writes to any more.
        unsafe { PhysicalMapping::new(gpa, start, size, size, self.clone()) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

#[test]
fn an_independent_parser_accepts_the_acpi_tables() {
    for vcpus in [1, 2, 127] {
        let (guest, layout, _) = built(16 * MIB, vcpus, &Parameters::default());
        let bytes: &'static [u8] = guest.read(layout.rsdp(), 8192).leak();
        if let Ok(directory) = std::env::var("PVH_DUMP_ACPI") {
            std::fs::write(format!("{directory}/acpi-{vcpus}.bin"), bytes).unwrap();
        }
        let handler = Tables(bytes, layout.rsdp());
        // SAFETY: the handler maps from a leaked copy of the tables.
        let tables = unsafe { AcpiTables::from_rsdp(handler, layout.rsdp() as usize) }.unwrap();
        let fadt = tables.find_table::<acpi::fadt::Fadt>().unwrap();
        fadt.validate().unwrap();
        let flags = fadt.flags;
        assert!(flags.system_is_hw_reduced_acpi());
        assert_eq!(fadt.dsdt_address().unwrap() as u64, layout.rsdp() + 0x200);
        let madt = tables.find_table::<Madt>().unwrap();
        let ids: Vec<u32> = madt
            .get()
            .entries()
            .map(|entry| match entry {
                MadtEntry::LocalApic(apic) => apic.apic_id.into(),
                _ => panic!("only local APICs expected"),
            })
            .collect();
        assert_eq!(ids, (0..vcpus).map(|v| v * 2).collect::<Vec<_>>());
    }
}
