//! FreeBSD's loader.conf(5), with the names that microhv understands.

mod assignment;
mod domain;
mod ifconfig;
mod md_image;
mod pptdevs;
mod value;
mod view;

pub use assignment::{Assignment, Assignments};
pub use domain::DomainConf;
pub use ifconfig::{Ifconfig, Setting};
pub use pptdevs::Pptdev;
pub use value::Value;
pub use view::LoaderConf;

#[cfg(test)]
mod tests;
