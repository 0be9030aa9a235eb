//! Domains and what is done with them: the tables behind [`Control`].

use super::*;

impl Control for Pretend {
    fn domains(&mut self) -> Result<Vec<XenDomctlGetdomaininfo>, Errno> {
        Ok(self.domains.values().map(|domain| domain.info).collect())
    }
    fn domain(&mut self, domid: DomId) -> Result<XenDomctlGetdomaininfo, Errno> {
        Ok(self.get(domid)?.info)
    }
    fn vcpu(&mut self, domid: DomId, vcpu: u32) -> Result<XenDomctlGetvcpuinfo, Errno> {
        self.get(domid)?;
        Ok(XenDomctlGetvcpuinfo {
            vcpu,
            online: 1,
            blocked: 1,
            cpu: 1,
            cpu_time: 2_500_000_000,
            ..Default::default()
        })
    }
    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Result<u64, Errno> {
        Ok(self
            .get(domid)?
            .affinity
            .get(&vcpu)
            .copied()
            .unwrap_or(u64::MAX))
    }
    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Result<(), Errno> {
        self.get(domid)?.affinity.insert(vcpu, cpus);
        Ok(())
    }
    fn set_weight(&mut self, domid: DomId, weight: u16, cap: u16) -> Result<(), Errno> {
        self.get(domid)?.weight = Some((weight, cap));
        Ok(())
    }
    fn weight(&mut self, domid: DomId) -> Result<u16, Errno> {
        Ok(self.get(domid)?.weight.map_or(256, |(weight, _)| weight))
    }
    fn set_max_pages(&mut self, domid: DomId, pages: u64) -> Result<(), Errno> {
        self.get(domid)?.info.max_pages = pages;
        Ok(())
    }
    fn trigger(&mut self, domid: DomId, vcpu: u32, trigger: u32) -> Result<(), Errno> {
        let domain = self.get(domid)?;
        if vcpu > domain.info.max_vcpu_id {
            return Err(Errno::ESRCH);
        }
        if trigger != 0 {
            return Err(Errno::ENOSYS);
        }
        domain.triggers.push((vcpu, trigger));
        Ok(())
    }
    fn physinfo(&mut self) -> Result<XenSysctlPhysinfo, Errno> {
        Ok(XenSysctlPhysinfo {
            nr_cpus: 2,
            max_cpu_id: 1,
            free_pages: self.free_pages,
            total_pages: 1 << 19,
            cpu_khz: 2_000_001,
            ..Default::default()
        })
    }
    fn version(&mut self) -> Version {
        Version {
            major: 4,
            minor: 17,
            extra: "-microhv".into(),
            ..Version::default()
        }
    }
    fn microhv_info(&mut self) -> Result<Info, Errno> {
        Ok(Info {
            image_bytes: 700 << 10,
            ..Default::default()
        })
    }
    fn exits(&mut self, domid: DomId) -> Result<Exits, Errno> {
        self.get(domid)?;
        let mut exits = Exits {
            events_sent: 7,
            ..Default::default()
        };
        exits.exits[1] = 5;
        exits.hypercalls[29] = 11;
        Ok(exits)
    }
    fn holdings(&mut self, domid: DomId) -> Result<Holdings, Errno> {
        let pages = self.get(domid)?.info.tot_pages;
        Ok(Holdings {
            domid,
            ports: 3,
            grants_used: 2,
            grants_mapped: 1,
            pages,
            ..Default::default()
        })
    }
    fn log(&mut self, clear: bool) -> Result<Vec<u8>, Errno> {
        let log = self.log.clone();
        if clear {
            self.log.clear();
        }
        Ok(log)
    }
    fn create_domain(&mut self, handle: [u8; 16], vcpus: u32, pages: u64) -> Result<DomId, Errno> {
        self.step("create")?;
        let domid = (1..)
            .find(|domid| !self.domains.contains_key(domid))
            .unwrap();
        let mut domain = Domain {
            pauses: 1,
            room: 1024,
            ..Domain::default()
        };
        domain.info.domain = domid;
        domain.info.handle = handle;
        domain.info.max_pages = pages;
        domain.info.nr_online_vcpus = vcpus;
        domain.info.max_vcpu_id = vcpus - 1;
        domain.info.flags = DominfFlags::HVM_GUEST | DominfFlags::PAUSED;
        self.domains.insert(domid, domain);
        Ok(domid)
    }
    fn destroy_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.step("destroy")?;
        let domain = self.domains.remove(&domid).ok_or(Errno::ESRCH)?;
        self.free_pages += domain.info.tot_pages;
        Ok(())
    }
    fn pause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.get(domid)?;
        domain.pauses += 1;
        domain.info.flags |= DominfFlags::PAUSED;
        Ok(())
    }
    fn unpause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.step("unpause")?;
        let domain = self.get(domid)?;
        domain.pauses -= 1;
        domain.info.flags = DominfFlags::HVM_GUEST | DominfFlags::BLOCKED;
        if let Some(path) = self.ends_at_once.take() {
            self.store.insert(path, "poweroff".into());
        }
        Ok(())
    }
    fn populate(&mut self, domid: DomId, range: Range) -> Result<(), Errno> {
        self.step("populate")?;
        self.free_pages -= range.frames();
        self.get(domid)?.info.tot_pages += range.frames();
        Ok(())
    }
    fn set_memory_map(&mut self, _: DomId, map: &MemoryMap) -> Result<(), Errno> {
        assert!(map.len() >= 3);
        Ok(())
    }
    fn write_memory(&mut self, domid: DomId, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.step("write")?;
        self.get(domid)?.written.insert(gpa, bytes.len());
        Ok(())
    }
    fn seed_grants(&mut self, domid: DomId, grants: &[(u32, DomId, u64)]) -> Result<(), Errno> {
        self.step("grants")?;
        self.get(domid)?.grants = grants.to_vec();
        Ok(())
    }
    fn hvm_param(&mut self, domid: DomId, index: u32) -> Result<u64, Errno> {
        Ok(self.get(domid)?.params.get(&index).copied().unwrap_or(0))
    }
    fn set_hvm_param(&mut self, domid: DomId, index: u32, value: u64) -> Result<(), Errno> {
        self.get(domid)?.params.insert(index, value);
        Ok(())
    }
    fn alloc_unbound(&mut self, domid: DomId, _: DomId) -> Result<u32, Errno> {
        self.get(domid)?;
        self.next_port += 1;
        Ok(self.next_port)
    }
    fn set_vcpu(&mut self, domid: DomId, state: &VcpuState) -> Result<(), Errno> {
        self.step("vcpu")?;
        self.get(domid)?.vcpu = Some(*state);
        Ok(())
    }
    fn shutdown_machine(&mut self, reason: u32) -> Errno {
        self.ended = Some(reason);
        Errno::EPERM
    }
}
