//! `ioward walk`: the translation of an IOVA step by step.

mod embedded;
mod text;

use super::BROKEN;
use crate::show::{Style, output};
use clap::{Args, ValueEnum};
use ioward::{
    pci::Bdf,
    pgtable::{self, ReadMemory},
    types::{Format, Iova, PhysAddr, Root, TableConfig},
};
use ioward_study::walk::{self, Device, End, Image, Kind, Origin, Report};
use serde::Serialize;
use std::{io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward walk 0x7000 --image ram.bin --base 0x40000000 --format arm-stage1 --root 0x4a000000 --bits 39
  ioward walk 0x7000 --image vmcore --entry amdvi@0x101a40
  ioward walk 0x7000 --image vmcore --registers vtd:0x1000400 --source 00:02.0 --pasid 5
  ioward walk 0x7000 --image vmcore --registers smmuv3:0x4b000000,0x10008 --source 0x10
  ioward walk --embedded gpu                     a page of a device of the embedded machine

An image is raw memory (pmemsave of QEMU's monitor), whose first byte lies at --base, or an ELF core (dump-guest-memory). Only
what the walk asks for is read of it. Registers: smmuv3 takes STRTAB_BASE and STRTAB_BASE_CFG, amdvi the device table base,
vtd RTADDR, riscv and riscv64 (device contexts of 64 bytes) ddtp. Numbers are decimal, or hexadecimal with 0x.

Exit codes:
  0  the address leads somewhere
  1  it faults
  2  the input is broken, or nobody here can tell";

/// What `walk` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The address that the device issues; with --embedded, an address of a page that is mapped for it if none is given
    #[arg(value_parser = number, required_unless_present = "embedded")]
    iova: Option<u64>,
    /// Memory: raw, or an ELF core
    #[arg(long, value_name = "FILE", required_unless_present = "embedded")]
    image: Option<PathBuf>,
    /// The physical address of raw memory's first byte
    #[arg(long, value_name = "PA", value_parser = number)]
    base: Option<u64>,
    /// Begin at a table of this format
    #[arg(long, value_enum, requires = "root", conflicts_with_all = ["entry", "registers"])]
    format: Option<FormatName>,
    /// The root of the table
    #[arg(long, value_name = "PA", value_parser = number)]
    root: Option<u64>,
    /// The width of addresses that the table translates
    #[arg(long, value_name = "N")]
    bits: Option<u8>,
    /// The bytes of a smallest page, for Arm
    #[arg(long, value_enum, default_value_t)]
    granule: Granule,
    /// How many levels the table has; by default as many as its width asks for
    #[arg(long, value_name = "N")]
    levels: Option<u8>,
    /// Begin at a device's entry: smmuv3, amdvi, vtd-legacy, vtd-scalable, riscv or riscv64, and where it lies
    #[arg(long, value_name = "KIND@PA", value_parser = entry, conflicts_with = "registers")]
    entry: Option<(Kind, u64)>,
    /// Begin at an IOMMU's registers: smmuv3, amdvi, vtd, riscv or riscv64, and what they hold
    #[arg(long, value_name = "KIND:VALUE[,VALUE]", value_parser = registers, requires = "source")]
    registers: Option<(Kind, u64, u64)>,
    /// Who asks: a stream or device ID, or a PCI function
    #[arg(long, value_name = "ID", value_parser = source)]
    source: Option<u32>,
    /// The PASID of the request
    #[arg(long, value_name = "N", value_parser = pasid)]
    pasid: Option<u32>,
    /// Walk in the memory of the embedded machine, for this device
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["image", "format", "entry", "registers", "source", "base"])]
    embedded: Option<String>,
    /// Print JSON for programs instead of text for people
    #[arg(long)]
    json: bool,
}

/// A format by its name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Arm VMSAv8-64, stage 1
    #[value(name = "arm-stage1")]
    ArmStage1,
    /// Arm VMSAv8-64, stage 2
    #[value(name = "arm-stage2")]
    ArmStage2,
    /// AMD host tables
    AmdV1,
    /// AMD guest tables
    AmdV2,
    /// VT-d first stage
    VtdFirst,
    /// VT-d second stage
    VtdSecond,
    /// Sv39, Sv48, Sv57
    RiscvFirst,
    /// Sv39x4, Sv48x4, Sv57x4
    RiscvSecond,
}

/// The bytes of a smallest page.
#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Granule {
    /// 4 KiB
    #[default]
    #[value(name = "4k")]
    K4,
    /// 16 KiB
    #[value(name = "16k")]
    K16,
    /// 64 KiB
    #[value(name = "64k")]
    K64,
}

fn number(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let read = match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => plain.parse(),
    };
    read.map_err(|error| format!("{text:?} is no number of at most 64 bits: {error}"))
}

fn pasid(text: &str) -> Result<u32, String> {
    let pasid = number(text)?;
    u32::try_from(pasid)
        .ok()
        .filter(|pasid| *pasid < 1 << 20)
        .ok_or_else(|| format!("{text:?} has more than 20 bits"))
}

fn source(text: &str) -> Result<u32, String> {
    if let Ok(function) = text.parse::<Bdf>() {
        return Ok(function.requester().into());
    }
    u32::try_from(number(text)?).map_err(|_| format!("{text:?} has more than 32 bits"))
}

fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "smmuv3" => Kind::SmmuV3,
        "amdvi" => Kind::AmdVi,
        "vtd" | "vtd-legacy" => Kind::VtdLegacy,
        "vtd-scalable" => Kind::VtdScalable,
        "riscv" => Kind::RiscV,
        "riscv64" => Kind::RiscVExtended,
        other => {
            return Err(format!(
                "{other:?} is none of smmuv3, amdvi, vtd, vtd-legacy, vtd-scalable, riscv, riscv64"
            ));
        }
    })
}

fn entry(text: &str) -> Result<(Kind, u64), String> {
    let (name, at) = text.split_once('@').ok_or_else(|| format!("{text:?} has no @"))?;
    if name == "vtd" {
        return Err("an entry does not tell VT-d's mode: say vtd-legacy or vtd-scalable".into());
    }
    Ok((kind(name)?, number(at)?))
}

fn registers(text: &str) -> Result<(Kind, u64, u64), String> {
    let (name, values) = text.split_once(':').ok_or_else(|| format!("{text:?} has no :"))?;
    let kind = kind(name)?;
    match (kind, values.split_once(',')) {
        (Kind::SmmuV3, Some((base, config))) => Ok((kind, number(base)?, number(config)?)),
        (Kind::SmmuV3, None) => Err("smmuv3 needs STRTAB_BASE,STRTAB_BASE_CFG".into()),
        (_, None) => Ok((kind, number(values)?, 0)),
        (_, Some(_)) => Err(format!("{name} has one register that counts")),
    }
}

/// What is printed for programs.
#[derive(Serialize)]
struct Document {
    version: u32,
    memory: String,
    /// One; a device of the embedded machine has one for each of its sources.
    walks: Vec<Named>,
}

/// A walk with what it is of.
#[derive(Serialize)]
pub struct Named {
    /// Of whom.
    pub of: String,
    #[serde(flatten)]
    pub report: Report,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let (memory, walks) = match walks(arguments) {
        Ok(walks) => walks,
        Err(why) => {
            eprintln!("ioward: {why}");
            return Ok(BROKEN);
        }
    };
    let code = walks.iter().map(|walk| match walk.report.end {
        End::Page { .. } | End::Passes { .. } => 0,
        End::Fault { .. } => 1,
        End::Unknown { .. } => BROKEN,
    });
    let code = code.max().unwrap_or(0);
    if arguments.json {
        output::json(&Document { version: 1, memory, walks })?;
    } else {
        output::text(&text::render(&memory, &walks, &Style::of_stdout()))?;
    }
    Ok(code)
}

fn walks(arguments: &Arguments) -> Result<(String, Vec<Named>), String> {
    if let Some(device) = &arguments.embedded {
        let walks = embedded::walks(device, arguments.iova, arguments.pasid)?;
        return Ok(("the embedded machine".into(), walks));
    }
    let (Some(path), Some(iova)) = (&arguments.image, arguments.iova) else {
        return Err("--image and an address are needed".into());
    };
    let image = Image::open(path, arguments.base).map_err(|error| error.to_string())?;
    let origin = origin(arguments)?;
    let report = walk::walk(&image as &dyn ReadMemory, &origin, Iova(iova));
    if let Some(failure) = image.failure() {
        return Err(format!("{}: {failure}", path.display()));
    }
    let spans: Vec<String> = image.spans().map(|(first, last)| format!("{first:#x}..={last:#x}")).collect();
    Ok((format!("{} ({})", path.display(), spans.join(", ")), vec![Named { of: String::new(), report }]))
}

fn origin(arguments: &Arguments) -> Result<Origin, String> {
    let device = Device { source: arguments.source.unwrap_or(0), pasid: arguments.pasid };
    if let Some((kind, at)) = arguments.entry {
        return Ok(Origin::Entry { kind, at: PhysAddr(at), device });
    }
    if let Some((kind, base, config)) = arguments.registers {
        return Ok(Origin::Registers { kind, base, config, device });
    }
    let (Some(format), Some(root)) = (arguments.format, arguments.root) else {
        return Err("where to begin: --format with --root, --entry, or --registers with --source".into());
    };
    let granule = match arguments.granule {
        Granule::K4 => 12,
        Granule::K16 => 14,
        Granule::K64 => 16,
    };
    let (format, bits, out_bits) = match format {
        FormatName::ArmStage1 => (Format::ArmStage1, 48, if granule == 16 { 52 } else { 48 }),
        FormatName::ArmStage2 => (Format::ArmStage2, 48, if granule == 16 { 52 } else { 48 }),
        FormatName::AmdV1 => (Format::AmdV1, 48, 52),
        FormatName::AmdV2 => (Format::AmdV2, 48, 52),
        FormatName::VtdFirst => (Format::VtdFirst, 48, 52),
        FormatName::VtdSecond => (Format::VtdSecond, 48, 52),
        FormatName::RiscvFirst => (Format::RiscvFirst, 48, 56),
        FormatName::RiscvSecond => (Format::RiscvSecond, 50, 56),
    };
    let config = TableConfig {
        format,
        in_bits: arguments.bits.unwrap_or(bits),
        out_bits,
        page_sizes: 1 << granule,
        coherent: true,
        dirty: false,
        snoop: true,
    };
    let levels = match arguments.levels {
        Some(levels) => levels,
        None => pgtable::shape(&config).map_err(|error| error.to_string())?.levels as u8,
    };
    Ok(Origin::Table(config, Root { at: PhysAddr(root), levels }))
}
