//! Who we are, as envelopes tell it to the services that receive them.

use knarr_model::format::masstransit::Host;

/// This machine and process.
pub(crate) fn sender(application: &str, version: &str) -> Host {
    let machine = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let machine = machine.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    Host {
        machine_name: machine.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        process_name: Some(application.to_owned()),
        process_id: Some(std::process::id()),
        assembly: Some(application.to_owned()),
        assembly_version: Some(version.to_owned()),
        framework_version: Some(concat!("knarr ", env!("CARGO_PKG_VERSION")).to_owned()),
        mass_transit_version: None,
        operating_system_version: Some(std::env::consts::OS.to_owned()),
    }
}
