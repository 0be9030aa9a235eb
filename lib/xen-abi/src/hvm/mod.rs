//! HVM and PVH guests (`hvm/*.h`, `arch-x86/hvm/*.h`).

pub mod op;
pub mod params;
pub mod save;
pub mod start_info;
