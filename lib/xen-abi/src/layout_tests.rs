//! Sizes, alignments and field offsets of every wire type, as a C compiler computes them from Xen's headers.

/// `module => test { Type, size, alignment; .field = offset, ... }`
macro_rules! layouts {
    ($( $module:path => $test:ident { $( $name:ident, $size:expr, $align:expr; $( .$field:ident = $offset:expr, )* )* } )*) => { $(
        #[test]
        fn $test() {
            use $module::*;
            $(
                assert_eq!(size_of::<$name>(), $size, "size of {}", stringify!($name));
                assert_eq!(align_of::<$name>(), $align, "alignment of {}", stringify!($name));
                $( assert_eq!(
                    core::mem::offset_of!($name, $field), $offset, "{}.{}", stringify!($name), stringify!($field),
                ); )*
            )*
        }
    )* };
}

layouts! {
crate::xen => xen_types {
    VcpuTimeInfo, 32, 8; .version = 0, .tsc_timestamp = 8, .system_time = 16, .tsc_to_system_mul = 24, .tsc_shift = 28, .flags = 29,
    ArchVcpuInfo, 16, 8; .cr2 = 0,
    VcpuInfo, 64, 8; .evtchn_upcall_pending = 0, .evtchn_upcall_mask = 1, .evtchn_pending_sel = 8, .arch = 16, .time = 32,
    ArchSharedInfo, 48, 8; .max_pfn = 0, .pfn_to_mfn_frame_list_list = 8, .nmi_reason = 16, .p2m_cr3 = 24, .p2m_vaddr = 32, .p2m_generation = 40,
    SharedInfo, 3136, 8; .vcpu_info = 0, .evtchn_pending = 2048, .evtchn_mask = 2560, .wc_version = 3072, .wc_sec = 3076, .wc_nsec = 3080, .wc_sec_hi = 3084, .arch = 3088,
    XenctlBitmap, 16, 8; .bitmap = 0, .nr_bits = 8,
    MulticallEntry, 64, 8; .op = 0, .result = 8, .args = 16,
}
crate::memory => memory_types {
    MemoryReservation, 32, 8; .extent_start = 0, .nr_extents = 8, .extent_order = 16, .mem_flags = 20, .domid = 24,
    MemoryDomain, 2, 2; .domid = 0,
    AddToPhysmap, 24, 8; .domid = 0, .size = 2, .space = 4, .idx = 8, .gpfn = 16,
    AddToPhysmapBatch, 32, 8; .domid = 0, .space = 2, .size = 4, .foreign_domid = 6, .idxs = 8, .gpfns = 16, .errs = 24,
    RemoveFromPhysmap, 16, 8; .domid = 0, .gpfn = 8,
    MemoryMap, 16, 8; .nr_entries = 0, .buffer = 8,
    ForeignMemoryMap, 24, 8; .domid = 0, .map = 8,
    MemAcquireResource, 32, 8; .domid = 0, .r#type = 2, .id = 4, .nr_frames = 8, .pad = 12, .frame = 16, .frame_list = 24,
}
crate::event_channel => event_channel_types {
    EvtchnAllocUnbound, 8, 4; .dom = 0, .remote_dom = 2, .port = 4,
    EvtchnBindInterdomain, 12, 4; .remote_dom = 0, .remote_port = 4, .local_port = 8,
    EvtchnBindVirq, 12, 4; .virq = 0, .vcpu = 4, .port = 8,
    EvtchnBindPirq, 12, 4; .pirq = 0, .flags = 4, .port = 8,
    EvtchnBindIpi, 8, 4; .vcpu = 0, .port = 4,
    EvtchnClose, 4, 4; .port = 0,
    EvtchnSend, 4, 4; .port = 0,
    EvtchnStatus, 24, 4; .dom = 0, .port = 4, .status = 8, .vcpu = 12, .u = 16,
    EvtchnBindVcpu, 8, 4; .port = 0, .vcpu = 4,
    EvtchnUnmask, 4, 4; .port = 0,
    EvtchnReset, 2, 2; .dom = 0,
    EvtchnInitControl, 24, 8; .control_gfn = 0, .offset = 8, .vcpu = 12, .link_bits = 16,
    EvtchnExpandArray, 8, 8; .array_gfn = 0,
    EvtchnSetPriority, 8, 4; .port = 0, .priority = 4,
    EvtchnFifoControlBlock, 72, 4; .ready = 0, .head = 8,
}
crate::grant_table => grant_table_types {
    GrantEntryV1, 8, 4; .flags = 0, .domid = 2, .frame = 4,
    GnttabMapGrantRef, 32, 8; .host_addr = 0, .flags = 8, .r#ref = 12, .dom = 16, .status = 18, .handle = 20, .dev_bus_addr = 24,
    GnttabUnmapGrantRef, 24, 8; .host_addr = 0, .dev_bus_addr = 8, .handle = 16, .status = 20,
    GnttabSetupTable, 24, 8; .dom = 0, .nr_frames = 4, .status = 8, .frame_list = 16,
    GnttabTransfer, 24, 8; .mfn = 0, .domid = 8, .r#ref = 12, .status = 16,
    GnttabCopyPtr, 16, 8; .u = 0, .domid = 8, .offset = 10,
    GnttabCopy, 40, 8; .source = 0, .dest = 16, .len = 32, .flags = 34, .status = 36,
    GnttabQuerySize, 16, 4; .dom = 0, .nr_frames = 4, .max_nr_frames = 8, .status = 12,
    GnttabUnmapAndReplace, 24, 8; .host_addr = 0, .new_addr = 8, .handle = 16, .status = 20,
    GnttabSetVersion, 4, 4; .version = 0,
    GnttabGetStatusFrames, 16, 8; .nr_frames = 0, .dom = 4, .status = 6, .frame_list = 8,
    GnttabGetVersion, 8, 4; .dom = 0, .pad = 2, .version = 4,
    GnttabSwapGrantRef, 12, 4; .ref_a = 0, .ref_b = 4, .status = 8,
    GnttabCacheFlush, 16, 8; .a = 0, .offset = 8, .length = 10, .op = 12,
}
crate::vcpu => vcpu_types {
    VcpuRunstateInfo, 48, 8; .state = 0, .state_entry_time = 8, .time = 16,
    VcpuRegisterArea, 8, 8; .addr = 0,
    VcpuSetPeriodicTimer, 8, 8; .period_ns = 0,
    VcpuSetSingleshotTimer, 16, 8; .timeout_abs_ns = 0, .flags = 8,
    VcpuRegisterVcpuInfo, 16, 8; .mfn = 0, .offset = 8, .rsvd = 12,
    VcpuGetPhysid, 8, 8; .phys_id = 0,
    VcpuHvmX86_32, 120, 8; .eax = 0, .ecx = 4, .edx = 8, .ebx = 12, .esp = 16, .ebp = 20, .esi = 24, .edi = 28, .eip = 32, .eflags = 36, .cr0 = 40, .cr3 = 44, .cr4 = 48, .pad1 = 52, .efer = 56, .cs_base = 64, .ds_base = 68, .ss_base = 72, .es_base = 76, .tr_base = 80, .cs_limit = 84, .ds_limit = 88, .ss_limit = 92, .es_limit = 96, .tr_limit = 100, .cs_ar = 104, .ds_ar = 106, .ss_ar = 108, .es_ar = 110, .tr_ar = 112, .pad2 = 114,
    VcpuHvmX86_64, 112, 8; .rax = 0, .rcx = 8, .rdx = 16, .rbx = 24, .rsp = 32, .rbp = 40, .rsi = 48, .rdi = 56, .rip = 64, .rflags = 72, .cr0 = 80, .cr3 = 88, .cr4 = 96, .efer = 104,
}
crate::sched => sched_types {
    SchedShutdown, 4, 4; .reason = 0,
    SchedPoll, 24, 8; .ports = 0, .nr_ports = 8, .timeout = 16,
    SchedRemoteShutdown, 8, 4; .domain_id = 0, .reason = 4,
    SchedWatchdog, 8, 4; .id = 0, .timeout = 4,
    SchedPinOverride, 4, 4; .pcpu = 0,
}
crate::version => version_types {
    CompileInfo, 144, 1; .compiler = 0, .compile_by = 64, .compile_domain = 80, .compile_date = 112,
    PlatformParameters, 8, 8; .virt_start = 0,
    FeatureInfo, 8, 4; .submap_idx = 0, .submap = 4,
}
crate::hvm::op => hvm_op_types {
    HvmParam, 16, 8; .domid = 0, .pad = 2, .index = 4, .value = 8,
    HvmEvtchnUpcallVector, 8, 4; .vcpu = 0, .vector = 4,
    HvmGetTime, 8, 8; .now = 0,
    HvmPagetableDying, 16, 8; .domid = 0, .pad = 2, .gpa = 8,
}
crate::hvm::start_info => hvm_start_info_types {
    HvmStartInfo, 56, 8; .magic = 0, .version = 4, .flags = 8, .nr_modules = 12, .modlist_paddr = 16, .cmdline_paddr = 24, .rsdp_paddr = 32, .memmap_paddr = 40, .memmap_entries = 48, .reserved = 52,
    HvmModlistEntry, 32, 8; .paddr = 0, .size = 8, .cmdline_paddr = 16, .reserved = 24,
    HvmMemmapTableEntry, 24, 8; .addr = 0, .size = 8, .r#type = 16, .reserved = 20,
}
crate::hvm::save => hvm_save_types {
    HvmSaveDescriptor, 8, 4; .typecode = 0, .instance = 2, .length = 4,
    HvmSaveHeader, 24, 8; .magic = 0, .version = 4, .changeset = 8, .cpuid = 16, .gtsc_khz = 20,
    HvmHwCpu, 1032, 8; .fpu_regs = 0, .rax = 512, .rbx = 520, .rcx = 528, .rdx = 536, .rbp = 544, .rsi = 552, .rdi = 560, .rsp = 568, .r8 = 576, .r9 = 584, .r10 = 592, .r11 = 600, .r12 = 608, .r13 = 616, .r14 = 624, .r15 = 632, .rip = 640, .rflags = 648, .cr0 = 656, .cr2 = 664, .cr3 = 672, .cr4 = 680, .dr0 = 688, .dr1 = 696, .dr2 = 704, .dr3 = 712, .dr6 = 720, .dr7 = 728, .cs_sel = 736, .ds_sel = 740, .es_sel = 744, .fs_sel = 748, .gs_sel = 752, .ss_sel = 756, .tr_sel = 760, .ldtr_sel = 764, .cs_limit = 768, .ds_limit = 772, .es_limit = 776, .fs_limit = 780, .gs_limit = 784, .ss_limit = 788, .tr_limit = 792, .ldtr_limit = 796, .idtr_limit = 800, .gdtr_limit = 804, .cs_base = 808, .ds_base = 816, .es_base = 824, .fs_base = 832, .gs_base = 840, .ss_base = 848, .tr_base = 856, .ldtr_base = 864, .idtr_base = 872, .gdtr_base = 880, .cs_arbytes = 888, .ds_arbytes = 892, .es_arbytes = 896, .fs_arbytes = 900, .gs_arbytes = 904, .ss_arbytes = 908, .tr_arbytes = 912, .ldtr_arbytes = 916, .sysenter_cs = 920, .sysenter_esp = 928, .sysenter_eip = 936, .shadow_gs = 944, .msr_flags = 952, .msr_lstar = 960, .msr_star = 968, .msr_cstar = 976, .msr_syscall_mask = 984, .msr_efer = 992, .msr_tsc_aux = 1000, .tsc = 1008, .pending_event = 1016, .error_code = 1020, .flags = 1024, .pad0 = 1028,
}
crate::domctl => domctl_types {
    XenArchDomainconfig, 8, 4; .emulation_flags = 0, .misc_flags = 4,
    XenDomctlCreatedomain, 68, 4; .ssidref = 0, .handle = 4, .flags = 20, .iommu_opts = 24, .max_vcpus = 28, .max_evtchn_port = 32, .max_grant_frames = 36, .max_maptrack_frames = 40, .grant_opts = 44, .altp2m_opts = 48, .altp2m_nr = 50, .vmtrace_size = 52, .cpupool_id = 56, .arch = 60,
    XenDomctlGetdomaininfo, 112, 8; .domain = 0, .pad1 = 2, .flags = 4, .tot_pages = 8, .max_pages = 16, .outstanding_pages = 24, .shr_pages = 32, .paged_pages = 40, .shared_info_frame = 48, .cpu_time = 56, .nr_online_vcpus = 64, .max_vcpu_id = 68, .ssidref = 72, .handle = 76, .cpupool = 92, .gpaddr_bits = 96, .pad2 = 97, .arch_config = 104,
    XenDomctlMaxMem, 8, 8; .max_memkb = 0,
    XenDomctlMaxVcpus, 4, 4; .max = 0,
    XenDomctlGetvcpuinfo, 24, 8; .vcpu = 0, .online = 4, .blocked = 5, .running = 6, .cpu_time = 8, .cpu = 16,
    XenDomctlVcpuaffinity, 40, 8; .vcpu = 0, .flags = 4, .cpumap_hard = 8, .cpumap_soft = 24,
    XenDomctlSchedCredit, 4, 2; .weight = 0, .cap = 2,
    XenDomctlSchedulerOp, 24, 8; .sched_id = 0, .cmd = 4, .credit = 8,
    XenDomctlSetdomainhandle, 16, 1; .handle = 0,
    XenDomctlSettimeoffset, 8, 8; .time_offset_seconds = 0,
    XenDomctlHvmcontext, 16, 8; .size = 0, .buffer = 8,
    XenDomctlSendtrigger, 8, 4; .trigger = 0, .vcpu = 4,
    Domctl, 144, 8; .cmd = 0, .interface_version = 4, .domain = 8, .u = 16,
}
crate::sysctl => sysctl_types {
    XenSysctlReadconsole, 24, 8; .clear = 0, .incremental = 1, .pad0 = 2, .pad1 = 3, .index = 4, .buffer = 8, .count = 16,
    XenSysctlPhysinfo, 112, 8; .threads_per_core = 0, .cores_per_socket = 4, .nr_cpus = 8, .max_cpu_id = 12, .nr_nodes = 16, .max_node_id = 20, .cpu_khz = 24, .capabilities = 28, .arch_capabilities = 32, .pad = 36, .total_pages = 40, .free_pages = 48, .scrub_pages = 56, .outstanding_pages = 64, .max_mfn = 72, .hw_cap = 80,
    XenSysctlSchedId, 4, 4; .sched_id = 0,
    XenSysctlGetdomaininfolist, 24, 8; .first_domain = 0, .max_domains = 4, .buffer = 8, .num_domains = 16,
    XenSysctlDebugKeys, 16, 8; .keys = 0, .nr_keys = 8,
    XenSysctlCpuinfo, 8, 8; .idletime = 0,
    XenSysctlGetcpuinfo, 24, 8; .max_cpus = 0, .info = 8, .nr_cpus = 16,
    XenSysctlAvailheap, 24, 8; .min_bitwidth = 0, .max_bitwidth = 4, .node = 8, .avail_bytes = 16,
    Sysctl, 136, 8; .cmd = 0, .interface_version = 4, .u = 8,
}
crate::io::console => io_console_types {
    XenconsInterface, 3092, 4; .r#in = 0, .out = 1024, .in_cons = 3072, .in_prod = 3076, .out_cons = 3080, .out_prod = 3084, .connection = 3088,
}
crate::io::ring => io_ring_types {
    SringHeader, 64, 4; .req_prod = 0, .req_event = 4, .rsp_prod = 8, .rsp_event = 12, .pvt = 16,
}
crate::io::blkif => io_blkif_types {
    BlkifRequestSegment, 8, 4; .gref = 0, .first_sect = 4, .last_sect = 5,
    BlkifRequest, 112, 8; .operation = 0, .nr_segments = 1, .handle = 2, .id = 8, .sector_number = 16, .seg = 24,
    BlkifRequestDiscard, 32, 8; .operation = 0, .flag = 1, .handle = 2, .id = 8, .sector_number = 16, .nr_sectors = 24,
    BlkifRequestIndirect, 64, 8; .operation = 0, .indirect_op = 1, .nr_segments = 2, .id = 8, .sector_number = 16, .handle = 24, .indirect_grefs = 28,
    BlkifResponse, 16, 8; .id = 0, .operation = 8, .status = 10,
    BlkifX86_32Request, 108, 4; .operation = 0, .nr_segments = 1, .handle = 2, .id = 4, .sector_number = 12, .seg = 20,
    BlkifX86_32RequestDiscard, 28, 4; .operation = 0, .flag = 1, .handle = 2, .id = 4, .sector_number = 12, .nr_sectors = 20,
    BlkifX86_32RequestIndirect, 64, 4; .operation = 0, .indirect_op = 1, .nr_segments = 2, .id = 4, .sector_number = 12, .handle = 20, .indirect_grefs = 24, .pad = 56,
    BlkifX86_32Response, 12, 4; .id = 0, .operation = 8, .status = 10,
}
crate::io::netif => io_netif_types {
    NetifTxRequest, 12, 4; .gref = 0, .offset = 4, .flags = 6, .id = 8, .size = 10,
    NetifTxResponse, 4, 2; .id = 0, .status = 2,
    NetifRxRequest, 8, 4; .id = 0, .pad = 2, .gref = 4,
    NetifRxResponse, 8, 2; .id = 0, .offset = 2, .flags = 4, .status = 6,
    NetifExtraInfo, 8, 2; .r#type = 0, .flags = 1, .u = 2,
}
crate::io::xs_wire => io_xs_wire_types {
    XsdSockmsg, 16, 4; .r#type = 0, .req_id = 4, .tx_id = 8, .len = 12,
    XenstoreDomainInterface, 2080, 4; .req = 0, .rsp = 1024, .req_cons = 2048, .req_prod = 2052, .rsp_cons = 2056, .rsp_prod = 2060, .server_features = 2064, .connection = 2068, .error = 2072, .evtchn_port = 2076,
}
}
