use super::*;
use crate::{AcsBits, PortType, function::Header};
use alloc::format;

const PORT: &str = "\
00:1c.0 PCI bridge [0604]: Intel Corporation Device [8086:a340] (rev f0) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tIOMMU group: 7
\tBus: primary=00, secondary=03, subordinate=05, sec-latency=0
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\t\tDevCap:\tMaxPayload 256 bytes, PhantFunc 3
\t\tDevCtl:\tCorrErr- NonFatalErr- FatalErr- UnsupReq-
\t\t\tRlxdOrd- ExtTag- PhantFunc+ AuxPwr- NoSnoop-
\t\tDevSta:\tCorrErr- NonFatalErr- FatalErr- UnsupReq- AuxPwr+ TransPend-
\t\tDevCap2: Completion Timeout: Range ABC, TimeoutDis+, LTR+, OBFF Not Supported ARIFwd+
\t\tDevCtl2: Completion Timeout: 50us to 50ms, TimeoutDis-, LTR+, OBFF Disabled ARIFwd-
\tCapabilities: [140 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd- EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport

";

fn check(function: &Function) {
    assert_eq!(function.at, Bdf::new(0, 0, 0x1c, 0));
    assert_eq!(function.ids.map(|ids| (ids.vendor, ids.device)), Some((0x8086, 0xa340)));
    assert_eq!(function.class, Some(0x0604));
    assert_eq!(function.linux_group, Some(7));
    assert_eq!(function.driver.as_deref(), Some("pcieport"));
    assert!(matches!(function.header, Header::Bridge { secondary: 3, subordinate: 5, .. }));
    let express = function.express.present().unwrap();
    assert_eq!((express.kind, express.phantom_bits, express.phantom_enabled), (PortType::RootPort, 2, true));
    assert_eq!((express.ari_capable, express.ari_forwarding), (Some(true), Some(false)));
    let acs = function.acs.present().unwrap();
    assert_eq!(acs.capability, Some(AcsBits(0x0f)));
    assert_eq!(acs.control, Some(AcsBits::SV | AcsBits::RR));
    assert_eq!(function.pasid, Fact::Absent);
}

#[test]
fn verbose_text_is_read() {
    let listing = parse(PORT);
    assert_eq!(listing.degraded, []);
    check(&listing.functions[0]);
}

#[test]
fn mail_does_not_matter() {
    let quoted: String = PORT.lines().map(|line| format!("> {line}\n")).collect();
    let listing = parse(&quoted);
    assert_eq!(listing.degraded, [Degraded::Quoted]);
    check(&listing.functions[0]);

    let encoded = PORT.replace('=', "=3D").replace("DEVSEL", "DEV=\nSEL");
    let listing = parse(&encoded);
    assert_eq!(listing.degraded, [Degraded::Encoded]);
    check(&listing.functions[0]);

    let mut wrapped = String::new();
    for line in PORT.lines() {
        let at = line.char_indices().rfind(|&(at, c)| c == ' ' && (30..60).contains(&at));
        match at {
            Some((at, _)) => wrapped.extend([&line[..at], "\n", &line[at + 1..], "\n"]),
            None => wrapped.extend([line, "\n"]),
        }
    }
    let listing = parse(&wrapped);
    assert!(
        matches!(listing.degraded[..], [Degraded::Wrapped { lines }] if lines > 3),
        "{:?}",
        listing.degraded
    );
    check(&listing.functions[0]);

    let flat: String = PORT.lines().map(|line| format!("{}\n", line.trim())).collect();
    check(&parse(&flat).functions[0]);
    let indented: String = PORT.lines().map(|line| format!("    {line}\r\n")).collect();
    check(&parse(&indented).functions[0]);
}

#[test]
fn what_is_not_shown_is_unseen() {
    let listing = parse("00:1c.0 PCI bridge: Intel Corporation Device a340 (rev f0)\n");
    let function = &listing.functions[0];
    assert_eq!(function.header, Header::BridgeUnseen);
    assert_eq!((function.ids, function.express), (None, Fact::Unseen));
    assert_eq!(
        listing.degraded,
        [Degraded::NoIds { functions: 1 }, Degraded::NoCapabilities { functions: 1 }]
    );
    let denied = parse("00:02.0 VGA: X\n\tFlags: bus master\n\tCapabilities: <access denied>\n");
    assert_eq!(denied.functions[0].express, Fact::Unseen);
    let brief = parse("00:02.0 VGA: X\n\tFlags: bus master\n\tCapabilities: [100] Access Control Services\n");
    assert!(brief.functions[0].acs.present().is_some_and(|acs| acs.capability.is_none()));
    assert!(brief.degraded.contains(&Degraded::AcsWithoutBits { functions: 1 }));
    assert_eq!(brief.functions[0].express, Fact::Absent);
}

#[test]
fn a_line_that_lost_a_flag_tells_nothing() {
    let cut = PORT.replacen("UpstreamFwd- ", "", 1);
    let acs = parse(&cut).functions[0].acs;
    assert!(acs.present().is_some_and(|acs| acs.capability.is_none() && acs.control.is_some()));
}

#[test]
fn a_short_list_and_a_long_one_add_up() {
    let both = format!("00:1c.0 PCI bridge: Intel Corporation Device a340\n\n{PORT}");
    let listing = parse(&both);
    assert_eq!(listing.functions.len(), 1);
    check(&listing.functions[0]);
}

#[test]
fn a_dump_counts_more_than_words() {
    let dump = "\
00:1c.0 PCI bridge: Wrong [8086:0000]
00: 86 80 40 a3 07 04 10 00 f0 00 04 06 10 00 81 00
10: 00 00 00 00 00 00 00 00 00 03 05 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
";
    let listing = parse(dump);
    let function = &listing.functions[0];
    assert_eq!(function.ids.map(|ids| ids.device), Some(0xa340));
    assert_eq!(function.multifunction, Some(true));
    assert!(matches!(function.header, Header::Bridge { secondary: 3, .. }));
    // Sixty-four bytes are what a user without rights sees.
    assert_eq!(function.express, Fact::Unseen);
    assert!(matches!(listing.findings[0].problem, crate::Problem::Unread { offset: 0x40 }));
}

#[test]
fn sriov_and_pasid_are_read() {
    let text = "\
01:00.0 Ethernet controller [0200]: Intel Corporation 82576 [8086:10c9]
\tFlags: bus master
\tCapabilities: [150 v1] Alternative Routing-ID Interpretation (ARI)
\t\tARICap:\tMFVC- ACS-, Next Function: 1
\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)
\t\tIOVCap:\tMigration-, Interrupt Message Number: 000
\t\tIOVCtl:\tEnable+ Migration- Interrupt- MSE+ ARIHierarchy+
\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 2, Function Dependency Link: 00
\t\tVF offset: 128, stride: 2, Device ID: 10ca
\tCapabilities: [200 v1] Address Translation Service (ATS)
\t\tATSCap:\tInvalidate Queue Depth: 00
\t\tATSCtl:\tEnable+, Smallest Translation Unit: 00
\tCapabilities: [210 v1] Page Request Interface (PRI)
\t\tPRICtl: Enable- Reset-
\t\tPRISta: RF- UPRGI- Stopped+ PASID+
\t\tPage Request Capacity: 00000020, Page Request Allocation: 00000000
\tCapabilities: [220 v1] Process Address Space ID (PASID)
\t\tPASIDCap: Exec+ Priv-, Max PASID Width: 14
\t\tPASIDCtl: Enable+ Exec- Priv-
";
    let function = &parse(text).functions[0];
    let sriov = function.sriov.present().unwrap();
    assert_eq!(
        (sriov.enabled, sriov.count, sriov.offset, sriov.stride, sriov.device),
        (true, 2, 128, 2, 0x10ca)
    );
    assert_eq!(sriov.requester(function.at, 1), Some(0x0182));
    assert_eq!(function.ari.present().unwrap().next, Some(1));
    let ats = function.ats.present().unwrap();
    assert_eq!((ats.enabled, ats.queue_depth), (true, Some(32)));
    let pri = function.pri.present().unwrap();
    assert_eq!((pri.enabled, pri.capacity, pri.needs_pasid), (false, Some(32), true));
    let pasid = function.pasid.present().unwrap();
    assert_eq!((pasid.bits, pasid.enabled, pasid.execute, pasid.privileged), (Some(20), true, true, false));
}

#[test]
fn slots_port_numbers_and_translation_services_are_read() {
    let text = "\
02:05.0 PCI bridge [0604]: Intel Corporation JHL6540 Thunderbolt 3 Bridge [8086:15d3] (rev 02)
\tFlags: bus master, fast devsel, latency 0
\tMemory at fe800000 (64-bit, non-prefetchable) [size=256K]
\tBus: primary=02, secondary=03, subordinate=05, sec-latency=0
\tCapabilities: [c0] Express (v2) Downstream Port (Slot+), MSI 00
\t\tDevCap:\tMaxPayload 128 bytes, PhantFunc 0
\t\tLnkCap:\tPort #5, Speed 2.5GT/s, Width x4, ASPM L1, Exit Latency L1 <1us
\t\tLnkCtl:\tASPM Disabled; Disabled- CommClk-
\tCapabilities: [500 v1] Vendor Specific Information: ID=1234 Rev=1 Len=0d8 <?>
\tCapabilities: [600 v1] Address Translation Service (ATS)
\t\tATSCap:\tInvalidate Queue Depth: 10
\t\tATSCtl:\tEnable-, Smallest Translation Unit: 1f
\tCapabilities: [610 v1] Page Request Interface (PRI)
\t\tPRICtl: Enable- Reset-
\t\tPRISta: RF- UPRGI- Stopped+ PASID-
\t\tPage Request Capacity: 00000100, Page Request Allocation: 00000020
\tCapabilities: [620 v1] Process Address Space ID (PASID)
\t\tPASIDCap: Exec- Priv+, Max PASID Width: 10
\t\tPASIDCtl: Enable- Exec- Priv+
\tCapabilities: [630 v1] Alternative Routing-ID Interpretation (ARI)
\t\tARICap:\tMFVC- ACS+, Next Function: 0
\t\tARICtl:\tMFVC- ACS+, Function Group: 3
";
    let function = &parse(text).functions[0];
    let express = function.express.present().unwrap();
    assert_eq!((express.slot, express.port_number), (Some(true), Some(5)));
    assert_eq!((function.thunderbolt, function.memory), (Fact::Present(()), Some(true)));
    let ats = function.ats.present().unwrap();
    assert_eq!((ats.enabled, ats.queue_depth, ats.smallest_unit), (false, Some(16), Some(31)));
    let pri = function.pri.present().unwrap();
    assert_eq!((pri.stopped, pri.capacity, pri.allocation), (Some(true), Some(256), Some(32)));
    let pasid = function.pasid.present().unwrap();
    assert_eq!((pasid.execute, pasid.execute_enabled), (false, false));
    assert_eq!((pasid.privileged, pasid.privileged_enabled), (true, true));
    assert_eq!(function.ari.present().unwrap().acs_group, Some(3));
    // Words that are not there are nobody's word against it.
    let brief = &parse(
        "02:05.0 PCI bridge: X\n\tFlags: fast\n\tCapabilities: [c0] Express Downstream Port, MSI 00\n",
    );
    let function = &brief.functions[0];
    let express = function.express.present().unwrap();
    assert_eq!((express.slot, express.port_number, function.memory), (None, None, Some(false)));
    let other = text.replace("[8086:15d3]", "[1b36:15d3]");
    assert_eq!(parse(&other).functions[0].thunderbolt, Fact::Absent);
}

#[test]
fn ids_come_from_the_kernels_log_too() {
    let mut listing = parse("00:1c.0 PCI bridge: Intel Corporation Device\n00:1d.0 PCI bridge: Intel\n");
    let log = "[    0.1] pci 0000:00:1c.0: [8086:a110] type 01 class 0x060400\n0000:00:1d.0 8086:a118 type 01 class 0x060400";
    assert_eq!(add_ids(&mut listing.functions, log), 2);
    assert_eq!(listing.functions[1].ids.map(|ids| ids.device), Some(0xa118));
}

#[test]
fn other_text_is_no_listing() {
    for text in ["", "\n\n", "hello world\nfoo: bar\n", "00:00.0\n", "1f: 00 00\n", "=3D=20\n=\n"] {
        assert!(parse(text).is_empty(), "{text:?}");
    }
}
