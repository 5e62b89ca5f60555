//! What device trees mean, on trees made here.

mod common;

use common::build::TreeBuilder;
use ioward_firmware::devicetree::{self, MAX_DEPTH, Tree};
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Doorbell, Fact, InterruptLine, InterruptRole, Iommu, IommuKind, Msi, MsiController,
        NodeId, PciFunction, Problem, ReservedRule, Scope, Sources, Subject,
    },
};

fn read(bytes: &[u8]) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    devicetree::facts(bytes, &mut |fact| facts.push(fact));
    facts
}

fn causes(facts: &[Fact<'_>]) -> Vec<(&'static str, Cause)> {
    let problems = facts.iter().filter_map(|fact| match fact {
        Fact::Problem(Problem { structure, cause, .. }) => Some((*structure, *cause)),
        _ => None,
    });
    problems.collect()
}

fn iommus<'a>(facts: &[Fact<'a>]) -> Vec<Iommu<'a>> {
    let iommus = facts.iter().filter_map(|fact| match fact {
        Fact::Iommu(iommu) => Some(*iommu),
        _ => None,
    });
    iommus.collect()
}

fn scopes<'a>(facts: &[Fact<'a>]) -> Vec<Scope<'a>> {
    let scopes = facts.iter().filter_map(|fact| match fact {
        Fact::Scope(scope) => Some(*scope),
        _ => None,
    });
    scopes.collect()
}

/// Name, IOMMU by its place, and sources; of served scopes.
fn served(facts: &[Fact<'_>]) -> Vec<(String, usize, Sources)> {
    let units = iommus(facts);
    let scopes = scopes(facts).into_iter();
    scopes
        .filter_map(|scope| {
            let served = scope.served?;
            let unit = units.iter().position(|unit| unit.id == served.iommu)?;
            Some((scope.devices.to_string(), unit, served.sources))
        })
        .collect()
}

/// Devices that are behind an IOMMU that is not described: nobody may take them for devices without one.
fn behind_nothing(facts: &[Fact<'_>]) -> Vec<String> {
    let units = iommus(facts);
    let scopes = scopes(facts).into_iter();
    let unknown = scopes.filter(|scope| {
        scope.served.is_some_and(|served| units.iter().all(|unit| unit.id != served.iommu)) && scope.enabled
    });
    unknown.map(|scope| scope.devices.to_string()).collect()
}

fn same(source: u32) -> Sources {
    Sources::Same(SourceId(source))
}

fn from(source: u32) -> Sources {
    Sources::Consecutive(SourceId(source))
}

const SMMU: u32 = 0x10;

/// An SMMUv3 with `phandle` [`SMMU`].
fn smmu(tree: &mut TreeBuilder) -> &mut TreeBuilder {
    tree.begin("smmu@9050000")
        .text("compatible", "arm,smmu-v3")
        .cells("reg", &[0, 0x905_0000, 0, 0x2_0000])
        .cells("#iommu-cells", &[1])
        .cells("phandle", &[SMMU])
        .end()
}

/// Begins a PCI host.
fn host<'t>(tree: &'t mut TreeBuilder, name: &str) -> &'t mut TreeBuilder {
    tree.begin(name).text("device_type", "pci").cells("#address-cells", &[3]).cells("#size-cells", &[2])
}

#[test]
fn an_smmu_v3() {
    let mut tree = TreeBuilder::new();
    tree.cells("interrupt-parent", &[1]);
    tree.begin("gic").cells("phandle", &[1]).cells("#interrupt-cells", &[3]).end();
    tree.begin("smmu@1000")
        .text("compatible", "vendor,own\0arm,smmu-v3")
        .cells("reg", &[0, 0x1000, 0, 0x2_0000])
        .property("interrupt-names", b"eventq\0gerror\0priq\0cmdq-sync\0")
        .cells("interrupts", &[0, 74, 1, 0, 75, 1, 0, 76, 1, 0, 77, 1])
        .flag("dma-coherent")
        .flag("hisilicon,broken-prefetch-cmd")
        .flag("cavium,cn9900-broken-page1-regspace")
        .end();
    tree.begin("smmu@2000")
        .text("compatible", "arm,smmu-v3")
        .cells("reg", &[0, 0x2000, 0, 0x2_0000])
        .text("interrupt-names", "combined")
        .cells("interrupts-extended", &[1, 0, 80, 1, 99, 5])
        .text("status", "disabled")
        .end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(causes(&facts), []);
    let [first, second] = iommus(&facts)[..] else { panic!("two IOMMUs") };
    let IommuKind::SmmuV3(smmu) = first.kind else { panic!("SMMUv3") };
    assert_eq!((smmu.coherent, smmu.broken_prefetch, smmu.page0_only), (Some(true), true, true));
    assert_eq!((first.name, first.enabled, second.enabled), ("smmu@1000", true, false));
    assert_eq!(first.registers, Span::new(PhysAddr(0x1000), 0x2_0000));
    let lines: Vec<_> =
        first.interrupts.iter().flatten().map(|interrupt| (interrupt.role, interrupt.line)).collect();
    let roles: Vec<_> = lines.iter().map(|line| line.0).collect();
    use InterruptRole::{Combined, Event, GlobalError, Nth, PageRequest, Sync};
    assert_eq!(roles, [Event, GlobalError, PageRequest, Sync]);
    let InterruptLine::DeviceTree { controller: Some(gic), cells: [0, 75, 1, 0], count: 3 } = lines[1].1
    else {
        panic!("{:?}", lines[1])
    };
    let extended: Vec<_> = second.interrupts.iter().flatten().collect();
    assert_eq!((extended[0].role, extended[1].role, extended.len()), (Combined, Nth(1), 2));
    let line = InterruptLine::DeviceTree { controller: Some(gic), cells: [0, 80, 1, 0], count: 3 };
    assert_eq!(extended[0].line, line);
    // A controller that is not there has specifiers of one cell.
    let line = InterruptLine::DeviceTree { controller: None, cells: [5, 0, 0, 0], count: 1 };
    assert_eq!(extended[1].line, line);
}

#[test]
fn platform_devices() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    tree.begin("old")
        .text("compatible", "arm,mmu-500")
        .cells("#iommu-cells", &[2])
        .cells("phandle", &[2])
        .cells("reg", &[0, 1, 0, 1])
        .end();
    tree.begin("plain").text("compatible", "rockchip,iommu").cells("phandle", &[3]).end();
    tree.begin("usb@0")
        .cells("iommus", &[SMMU, 7, 2, 8, 0xff, 3])
        .cells("pasid-num-bits", &[5])
        .flag("dma-can-stall")
        .end();
    tree.begin("bus").flag("dma-coherent").text("status", "disabled");
    tree.begin("net@0").cells("iommus", &[SMMU, 9]).end();
    tree.begin("net@1").cells("iommus", &[SMMU, 10]).flag("dma-noncoherent").text("status", "okay").end();
    tree.end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(causes(&facts), []);
    let expected = [("usb@0", 0, 7), ("usb@0", 1, 8), ("usb@0", 2, 0), ("net@0", 0, 9), ("net@1", 0, 10)];
    assert_eq!(served(&facts), expected.map(|(name, unit, source)| (name.into(), unit, same(source))));
    let kinds: Vec<_> = iommus(&facts).iter().map(|iommu| iommu.kind.to_string()).collect();
    assert_eq!(kinds, ["SMMUv3", "MMU-500", "Rockchip IOMMU"]);
    let scopes = scopes(&facts);
    let traits = scopes[0].traits;
    assert_eq!((traits.pasid_bits, traits.stall, traits.coherent), (Some(5), true, None));
    assert_eq!((scopes[0].enabled, scopes[3].enabled, scopes[4].enabled), (true, false, false));
    assert_eq!((scopes[3].traits.coherent, scopes[4].traits.coherent), (Some(true), Some(false)));
}

#[test]
fn kinds_by_their_compatible() {
    let mut tree = TreeBuilder::new();
    let names = [
        ("mediatek,mt8183-m4u", "MediaTek M4U"),
        ("mediatek,mt8188-iommu-infra", "MediaTek IOMMU"),
        ("apple,t8103-dart", "Apple DART"),
        ("renesas,ipmmu-r8a7795", "Renesas IPMMU"),
        ("nvidia,tegra210-smmu", "Tegra SMMU"),
        ("maker,newest", "maker,newest"),
    ];
    for (compatible, _) in names {
        tree.begin("unit").text("compatible", compatible).cells("#iommu-cells", &[1]).end();
    }
    tree.begin("unit").cells("#iommu-cells", &[1]).end();
    // Without the property they are something else.
    tree.begin("disk").text("compatible", "virtio,mmio").end();
    let blob = tree.build();
    let facts = read(&blob);
    let kinds: Vec<_> = iommus(&facts).iter().map(|iommu| iommu.kind.to_string()).collect();
    let expected: Vec<_> = names.iter().map(|name| name.1).chain(["IOMMU"]).collect();
    assert_eq!(kinds, expected);
    // Nobody drives them, so nobody misses their registers.
    assert_eq!(causes(&facts), []);
}

#[test]
fn a_pci_host() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    tree.begin("its@8080000")
        .text("compatible", "arm,gic-v3-its")
        .cells("reg", &[0, 0x808_0000, 0, 0x2_0000])
        .cells("phandle", &[5])
        .end();
    host(&mut tree, "pcie@4010000000")
        .text("compatible", "pci-host-ecam-generic")
        .cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000])
        .cells("bus-range", &[2, 0x7f])
        .cells("linux,pci-domain", &[4])
        .cells("iommu-map", &[0, SMMU, 0x100, 0x80, 0x80, SMMU, 0, 0, 0x100, SMMU, 0x8000, 0xff00])
        .cells("iommu-map-mask", &[0xfff8])
        .cells("msi-map", &[0, 5, 0x40, 0x1_0000])
        .cells(
            "ranges",
            &[
                0x100_0000,
                0,
                0,
                0,
                0x3eff_0000,
                0,
                0x1_0000, // I/O
                0x200_0000,
                0,
                0x1000_0000,
                0,
                0x1000_0000,
                0,
                0x2eff_0000, // 32 bits
                0x4300_0000,
                0x80,
                0,
                0x80,
                0,
                0x80,
                0, // 64 bits, prefetchable
            ],
        )
        .flag("dma-coherent")
        .flag("ats-supported")
        .end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(causes(&facts), [("iommu-map", Cause::Empty)]);
    let hosts: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::PciHost(host) => Some(host),
            _ => None,
        })
        .collect();
    let [host] = hosts[..] else { panic!("one host") };
    assert_eq!((host.segment, host.first_bus, host.last_bus), (4, 2, 0x7f));
    assert_eq!((host.coherent, host.enabled, host.name), (true, true, "pcie@4010000000"));
    assert_eq!(host.ecam, Span::new(PhysAddr(0x40_1000_0000), 0x1000_0000));
    let [rest, low, high] = scopes(&facts)[..] else { panic!("three scopes") };
    assert_eq!((rest.devices, rest.served), (Devices::PciRest { segment: 4 }, None));
    let at = |requester| PciFunction { segment: 4, requester };
    assert_eq!((low.devices.position(at(0x7f)), low.devices.position(at(0x80))), (Some(0x78), None));
    assert_eq!(low.served.map(|served| served.sources), Some(from(0x100)));
    assert_eq!(high.devices.position(at(0xffff)), Some(0xfef8));
    assert_eq!((high.traits.ats, high.traits.coherent), (Some(true), Some(true)));
    let windows: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Reserved(reserved) => Some((reserved.span, reserved.rule)),
            _ => None,
        })
        .collect();
    let span = |start, bytes| Span { start: Iova(start), bytes };
    assert_eq!(
        windows,
        [
            (span(0x1000_0000, 0x2eff_0000), ReservedRule::Forbidden),
            (span(0x80_0000_0000, 0x80_0000_0000), ReservedRule::Forbidden),
        ]
    );
    let doorbell = facts.iter().find_map(|fact| match fact {
        Fact::Doorbell(doorbell) => Some(*doorbell),
        _ => None,
    });
    let Some(Doorbell { controller, span, isolates: true }) = doorbell else { panic!("a doorbell") };
    assert_eq!(span, Span { start: PhysAddr(0x809_0040), bytes: 4 });
    let msi = facts.iter().find_map(|fact| match fact {
        Fact::Msi(msi) => Some((msi.controller, msi.device_ids)),
        _ => None,
    });
    assert_eq!(msi, Some((MsiController::Node(controller), Some(from(0x40)))));
}

#[test]
fn hosts_without_a_domain_are_counted() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    host(&mut tree, "pci@0").cells("iommus", &[SMMU, 0x33]);
    // A bridge below a host is no host.
    host(&mut tree, "pci@1,0").end();
    tree.begin("iommu@8")
        .text("compatible", "riscv,pci-iommu")
        .cells("reg", &[0x800, 0, 0, 0, 0])
        .cells("#iommu-cells", &[1])
        .end();
    tree.end();
    host(&mut tree, "pci@1").text("status", "disabled").end();
    host(&mut tree, "pci@2").cells("msi-parent", &[SMMU]).end();
    host(&mut tree, "pci@3").cells("msi-parent", &[99]).end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(causes(&facts), [("msi-parent", Cause::Dangling { to: 99 })]);
    let hosts: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::PciHost(host) => Some((host.segment, host.enabled, host.ecam)),
            _ => None,
        })
        .collect();
    assert_eq!(hosts, [(0, true, None), (1, false, None), (2, true, None), (3, true, None)]);
    assert_eq!(served(&facts), [("all of segment 0x0".into(), 0, same(0x33))]);
    let unit = iommus(&facts)[1];
    assert_eq!((unit.function, unit.registers), (Some(PciFunction { segment: 0, requester: 8 }), None));
    assert_eq!(scopes(&facts).iter().filter(|scope| scope.served.is_none()).count(), 3);
}

#[test]
fn maps_that_make_no_sense() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    host(&mut tree, "pci@0")
        .cells("linux,pci-domain", &[0])
        .cells(
            "iommu-map",
            &[
                0,
                99,
                0,
                1, // nobody
                0xfff0,
                SMMU,
                0,
                0x11, // beyond the largest requester ID
                0,
                SMMU,
                u32::MAX,
                2, // beyond the largest source
                0x10,
                SMMU,
                0x20,
                8, // good
                1, // half an entry
            ],
        )
        .cells("msi-map", &[0, 98, 0, 1])
        .end();
    // Devices on a bus that is not PCI have numbers too.
    tree.begin("fsl-mc").cells("iommu-map", &[0, SMMU, 0x17, 0xe]).end();
    tree.begin("other-mc").cells("iommu-map", &[0, 97, 0, 1]).end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(
        causes(&facts),
        [
            ("iommu-map", Cause::Dangling { to: 99 }),
            ("iommu-map", Cause::Range { found: 0x11 }),
            ("iommu-map", Cause::Range { found: 2 }),
            ("iommu-map", Cause::Size { found: 68, entry: 16 }),
            ("msi-map", Cause::Dangling { to: 98 }),
            ("iommu-map", Cause::Dangling { to: 97 }),
        ]
    );
    let all = Sources::All { first: SourceId(0x17), last: SourceId(0x24) };
    assert_eq!(
        served(&facts),
        [("0000:00:02.0..=0000:00:02.7".into(), 0, from(0x20)), ("fsl-mc".into(), 0, all)]
    );
    // The one that is named, and, since the others mean somebody, whoever is not; the other bus's map is one reference.
    assert_eq!(behind_nothing(&facts), ["0000:00:00.0", "all of segment 0x0", "other-mc"]);
}

#[test]
fn iommus_that_make_no_sense() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    tree.begin("plain").cells("phandle", &[2]).end();
    tree.begin("a").cells("iommus", &[99, 1]).end();
    tree.begin("b").cells("iommus", &[2, 1]).end();
    tree.begin("c").cells("iommus", &[SMMU, 4, SMMU]).end();
    tree.begin("d").cells("msi-parent", &[98]).end();
    tree.begin("e").cells("msi-parent", &[3]).end();
    tree.begin("msi").cells("phandle", &[3]).cells("#msi-cells", &[1]).end();
    tree.begin("f").cells("msi-parent", &[3, 7]).end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(
        causes(&facts),
        [
            ("iommus", Cause::Dangling { to: 99 }),
            ("iommus", Cause::Dangling { to: 2 }),
            ("iommus", Cause::Truncated { needs: 4, has: 0 }),
            ("msi-parent", Cause::Dangling { to: 98 }),
            ("msi-parent", Cause::Truncated { needs: 4, has: 0 }),
        ]
    );
    assert_eq!(served(&facts), [("c".into(), 0, same(4))]);
    // The last one is served in part: as all of it, it is not known.
    assert_eq!(behind_nothing(&facts), ["a", "b", "c"]);
    let msi: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Msi(Msi { devices, device_ids, .. }) => Some((devices.to_string(), *device_ids)),
            _ => None,
        })
        .collect();
    assert_eq!(msi, [("f".to_string(), Some(same(7)))]);
}

#[test]
fn registers_move_through_every_bus() {
    let mut tree = TreeBuilder::new();
    tree.begin("soc")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 0xf, 0, 0x100_0000]);
    tree.begin("inner").cells("#address-cells", &[1]).cells("#size-cells", &[1]).flag("ranges");
    for (name, address) in [("smmu@1000", 0x1000), ("smmu@1000000", 0x100_0000)] {
        tree.begin(name).text("compatible", "arm,smmu-v3").cells("reg", &[address, 0x100]).end();
    }
    tree.end();
    // A bus that shows nothing.
    tree.begin("hidden").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    tree.begin("smmu@0").text("compatible", "arm,smmu-v3").cells("reg", &[0, 0x100]).end();
    tree.end().end();
    // No cells at all, too few, and none that count.
    tree.begin("none").cells("#address-cells", &[0]).cells("#size-cells", &[0]).flag("ranges");
    tree.begin("smmu").text("compatible", "arm,smmu-v3").flag("reg").end();
    tree.end();
    tree.begin("smmu").text("compatible", "arm,smmu-v3").cells("reg", &[0, 1, 0]).end();
    tree.begin("smmu").text("compatible", "arm,smmu-v3").cells("reg", &[0, 1, 0, 0]).end();
    let blob = tree.build();
    let facts = read(&blob);
    let registers: Vec<_> = iommus(&facts).iter().map(|iommu| iommu.registers).collect();
    let good = Span::new(PhysAddr(0xf_0000_1000), 0x100);
    assert_eq!(registers, [good, None, None, None, None, None]);
    assert_eq!(causes(&facts).len(), 5);
    assert!(causes(&facts).iter().all(|cause| matches!(cause, ("IOMMU", Cause::Missing { .. }))));
}

#[test]
fn regions_that_devices_need() {
    let mut tree = TreeBuilder::new();
    tree.begin("display@0").cells("phandle", &[7]).end();
    host(&mut tree, "pci@0").cells("phandle", &[8]).cells("linux,pci-domain", &[2]).end();
    tree.begin("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[2]).flag("ranges");
    tree.begin("splash@90000000")
        .cells("reg", &[0, 0x8000_0000, 0, 0x1000, 0, 0x9000_0000, 0, 0x10_0000])
        .cells("iommu-addresses", &[7, 0, 0x9000_0000, 0, 0x10_0000, 8, 0, 0x7000, 0, 0x1000])
        .end();
    tree.begin("hole").cells("iommu-addresses", &[7, 0, 0, 0, 0x1000, 7, 0, 5, 0, 0]).end();
    tree.begin("wraps").cells("iommu-addresses", &[7, u32::MAX, u32::MAX, 0, 2, 7, 0]).end();
    tree.begin("nobody").cells("iommu-addresses", &[99, 0, 0, 0, 0x1000]).end();
    tree.end();
    let blob = tree.build();
    let facts = read(&blob);
    assert_eq!(
        causes(&facts),
        [
            ("iommu-addresses", Cause::Empty),
            ("iommu-addresses", Cause::Range { found: 2 }),
            ("iommu-addresses", Cause::Truncated { needs: 16, has: 4 }),
            ("iommu-addresses", Cause::Dangling { to: 99 }),
        ]
    );
    let reserved: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Reserved(reserved) => match reserved.subject {
                Subject::Devices(devices) => Some((devices.to_string(), reserved.span, reserved.rule)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let span = |start, bytes| Span { start: Iova(start), bytes };
    let required = |to| ReservedRule::Required {
        to: PhysAddr(to),
        attributes: Attributes::READ_WRITE,
        relaxable: false,
    };
    assert_eq!(
        reserved,
        [
            ("display@0".into(), span(0x9000_0000, 0x10_0000), required(0x9000_0000)),
            ("0002:00:00.0..=0002:ff:1f.7".into(), span(0x7000, 0x1000), required(0x8000_0000)),
            ("display@0".into(), span(0, 0x1000), ReservedRule::Forbidden),
        ]
    );
}

#[test]
fn doorbells() {
    let mut tree = TreeBuilder::new();
    let nodes = [
        ("v2m", "arm,gic-v2m-frame", 0x1000u32, 0x1000u32),
        ("imsic", "riscv,imsics", 0x2000, 0x4000),
        ("short", "arm,gic-v3-its", 0x1_0000, 0x1_0000),
        ("none", "arm,gic-v2m-frame", 0x1000, 0),
    ];
    for (name, compatible, address, bytes) in nodes {
        tree.begin(name).text("compatible", compatible).cells("reg", &[0, address, 0, bytes]).end();
    }
    tree.begin("off")
        .text("compatible", "riscv,imsics")
        .cells("reg", &[0, 0x2000, 0, 0x4000])
        .text("status", "disabled")
        .end();
    let blob = tree.build();
    let spans: Vec<_> = read(&blob)
        .iter()
        .filter_map(|fact| match fact {
            Fact::Doorbell(doorbell) => Some((doorbell.span.start.0, doorbell.span.bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(spans, [(0x1040, 4), (0x2000, 0x4000)]);
}

#[test]
fn headers_that_cannot_be_read() {
    let blob = TreeBuilder::new().build();
    let with = |at: usize, value: u32| {
        let mut blob = blob.clone();
        blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
        causes(&read(&blob))
    };
    let length = blob.len() as u32;
    let structure = length - 56 - "#address-cells\0#size-cells\0".len() as u32;
    assert_eq!(causes(&read(&blob)), []);
    assert_eq!(causes(&read(&blob[..39])), [("header", Cause::Truncated { needs: 40, has: 39 })]);
    assert_eq!(with(0, 0), [("header", Cause::Signature { found: 0 })]);
    assert_eq!(with(20, 16), [("header", Cause::Version { found: 16 })]);
    assert_eq!(with(24, 18), [("header", Cause::Version { found: 18 })]);
    let strings = length - 56 - structure;
    assert_eq!(with(4, length + 1), [("header", Cause::Truncated { needs: length + 1, has: length })]);
    assert_eq!(with(32, strings + 1), [("header", Cause::Truncated { needs: strings + 1, has: strings })]);
    assert_eq!(with(8, 54)[0], ("header", Cause::Misaligned { found: 54, unit: 4 }));
    // A structure block behind everything holds no root.
    assert_eq!(
        with(8, 0xff00),
        [("header", Cause::Truncated { needs: structure, has: 0 }), ("structure block", Cause::Unpaired)]
    );
}

/// What the walk of a tree says that ends as `build` leaves it.
fn end(build: fn(&mut TreeBuilder) -> &mut TreeBuilder) -> Cause {
    let blob = build(&mut TreeBuilder::new()).blob();
    let found = causes(&read(&blob));
    let [("structure block", cause)] = found[..] else { panic!("{found:?}") };
    cause
}

#[test]
fn structures_that_are_broken() {
    // No end of the root, though the tree ends; no end of anything; one end too many; two roots.
    assert_eq!(end(|tree| tree.token(9)), Cause::Unpaired);
    assert_eq!(end(|tree| tree), Cause::Unpaired);
    assert_eq!(end(|tree| tree.end().end()), Cause::Unpaired);
    assert_eq!(end(|tree| tree.end().begin("").end().token(9)), Cause::Unpaired);
    // A token that is none; a property and a name that run out of the block.
    assert_eq!(end(|tree| tree.token(4).token(7)), Cause::Range { found: 7 });
    assert_eq!(end(|tree| tree.token(3).token(0x1000).token(0)), Cause::Range { found: 3 });
    assert_eq!(end(|tree| tree.token(3).token(0)), Cause::Range { found: 3 });
    assert_eq!(end(|tree| tree.token(1).token(u32::MAX)), Cause::Range { found: 1 });
    assert_eq!(
        end(|tree| (0..MAX_DEPTH).fold(tree, |tree, _| tree.begin("n"))),
        Cause::Depth { limit: MAX_DEPTH as u32 }
    );
    // Half a token at the block's end.
    let mut blob = TreeBuilder::new().blob();
    let structure = u32::from_be_bytes(blob[36..40].try_into().unwrap()) - 2;
    blob[36..40].copy_from_slice(&structure.to_be_bytes());
    assert!(matches!(causes(&read(&blob))[..], [("structure block", Cause::Range { .. })]));
    // Tokens that mean nothing are passed over, before the end too.
    let mut tree = TreeBuilder::new();
    assert_eq!(causes(&read(&tree.token(4).token(4).end().token(4).token(9).blob())), []);
}

#[test]
fn what_lies_before_the_damage_is_read() {
    let mut tree = TreeBuilder::new();
    smmu(&mut tree);
    tree.begin("usb").cells("iommus", &[SMMU, 3]).end();
    let blob = tree.token(77).blob();
    let facts = read(&blob);
    assert_eq!(served(&facts), [("usb".into(), 0, same(3))]);
    assert_eq!(causes(&facts), [("structure block", Cause::Range { found: 77 })]);
}

#[test]
fn the_raw_view() {
    let mut tree = TreeBuilder::new();
    tree.property("names", b"one\0two\0\xff\0three\0").cells("cell", &[5]).cells("linux,phandle", &[6]);
    tree.begin("a@1").cells("phandle", &[0]).text("status", "ok");
    tree.begin("b").text("status", "fail").end();
    tree.end();
    let blob = tree.build();
    let tree = Tree::open(&blob, &mut |fact| panic!("{fact:?}")).unwrap();
    let mut seen = Vec::new();
    tree.walk(&mut |path| {
        let node = path.node().unwrap();
        seen.push((path.to_string(), node.phandle(), path.is_okay()));
        true
    })
    .unwrap();
    let expected = [("/", Some(6), true), ("/a@1", None, true), ("/a@1/b", None, false)];
    assert_eq!(seen, expected.map(|(path, phandle, okay)| (path.to_string(), phandle, okay)));
    let root = tree.find(6).unwrap();
    let node = root.node().unwrap();
    assert!(
        root.parent().is_none() && root.ranges().is_none() && root.reg(0).is_none() && tree.find(7).is_none()
    );
    let names = node.property("names").unwrap();
    assert_eq!(names.texts().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((names.text(), names.cell(), node.cell("cell")), (Some("one"), None, Some(5)));
    assert!(names.at() > node.at() && names.name() == "names" && !node.has("absent"));
    // A walk ends when its visitor has seen enough.
    let mut count = 0;
    tree.walk(&mut |_| {
        count += 1;
        false
    })
    .unwrap();
    assert_eq!(count, 1);
    assert_eq!(NodeId(node.at()), NodeId(56));
}
