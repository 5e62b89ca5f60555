//! The driver of virtio-iommu, over devices that offer more and less.

mod benches;

use benches::virtio::Bed;
use ioward_models::virtio::VirtioIommuConfig;
use ioward_spec::virtio::features;

ioward_conformance::suite!(virtio {
    bypass_config => Bed::new(VirtioIommuConfig::default()),
    plain => Bed::new(VirtioIommuConfig {
        features: VirtioIommuConfig::default().features & !features::BYPASS_CONFIG,
        bypass: false,
        ..VirtioIommuConfig::default()
    }),
    in_any_order => Bed::in_any_order(VirtioIommuConfig::default()),
    minimal => Bed::new(VirtioIommuConfig::minimal()),
});
