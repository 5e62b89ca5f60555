//! Memory in files: raw, ELF cores, and files that are neither.

use ioward::types::{Format, Iova, PhysAddr, Root, TableConfig};
use ioward_pgtable::ReadMemory;
use ioward_study::walk::{End, Image, Origin, walk};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
};

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("image-{name}"));
    fs::write(&path, bytes).unwrap();
    path
}

/// A table of three levels of VT-d's second stage at 0x1000 of the image, which maps 0x20_3000 to 0xabc_d000, reading only.
fn table() -> Vec<u8> {
    let mut memory = vec![0u8; 0x4000];
    let mut put = |at: usize, word: u64| memory[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0x1000, 0x8000_2003);
    put(0x2008, 0x8000_3003);
    put(0x3018, 0xabc_d001);
    memory
}

fn origin() -> Origin {
    let config = TableConfig {
        format: Format::VtdSecond,
        in_bits: 39,
        out_bits: 52,
        page_sizes: 1 << 12,
        coherent: true,
        dirty: false,
        snoop: false,
    };
    Origin::Table(config, Root { at: PhysAddr(0x8000_1000), levels: 3 })
}

#[test]
fn raw_memory_begins_at_its_base() {
    let path = file("raw", &table());
    let image = Image::open(&path, Some(0x8000_0000)).unwrap();
    let report = walk(&image as &dyn ReadMemory, &origin(), Iova(0x20_3456));
    assert_eq!(
        report.end,
        End::Page {
            to: 0xabc_d456,
            bytes: 0x1000,
            read: true,
            write: false,
            execute: false,
            privileged: false
        }
    );
    let steps: Vec<_> =
        report.walks[0].steps.iter().map(|step| (step.at, step.raw.unwrap(), step.called)).collect();
    assert_eq!(
        steps,
        [
            (0x8000_1000, 0x8000_2003, "SS-PDPTE"),
            (0x8000_2008, 0x8000_3003, "SS-PDE"),
            (0x8000_3018, 0xabc_d001, "SS-PTE")
        ]
    );
    let absent = walk(&image as &dyn ReadMemory, &origin(), Iova(0x20_4000));
    assert!(matches!(absent.end, End::Fault { why } if why.contains("level 1 is not valid")));
    let elsewhere = Image::open(&path, None).unwrap();
    let nothing = walk(&elsewhere as &dyn ReadMemory, &origin(), Iova(0x20_3456));
    assert!(matches!(nothing.end, End::Fault { why } if why.contains("there is no memory")));
    assert!(elsewhere.failure().is_none());
}

#[test]
fn a_sparse_image_larger_than_memory_is_read_where_it_is_asked_for() {
    let path = file("sparse", &[]);
    let mut sparse = File::create(&path).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.seek(SeekFrom::Start(0x8000_0000)).unwrap();
    sparse.write_all(&table()).unwrap();
    let image = Image::open(&path, None).unwrap();
    let report = walk(&image as &dyn ReadMemory, &origin(), Iova(0x20_3000));
    assert!(matches!(report.end, End::Page { to: 0xabc_d000, .. }), "{report:?}");
    drop(image);
    fs::remove_file(path).unwrap();
}

/// An ELF core with one segment of memory from an address on.
fn core(physical: u64, memory: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
    bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
    bytes[64..68].copy_from_slice(&1u32.to_le_bytes());
    bytes[72..80].copy_from_slice(&(120u64).to_le_bytes());
    bytes[88..96].copy_from_slice(&physical.to_le_bytes());
    bytes[96..104].copy_from_slice(&(memory.len() as u64).to_le_bytes());
    bytes.extend(memory);
    bytes
}

#[test]
fn an_elf_core_has_addresses_of_its_own() {
    let path = file("core", &core(0x8000_0000, &table()));
    let image = Image::open(&path, None).unwrap();
    assert_eq!(image.spans().collect::<Vec<_>>(), [(0x8000_0000, 0x8000_3fff)]);
    let report = walk(&image as &dyn ReadMemory, &origin(), Iova(0x20_3008));
    assert!(matches!(report.end, End::Page { to: 0xabc_d008, .. }), "{report:?}");
    assert!(Image::open(&path, Some(0)).unwrap_err().to_string().contains("addresses of its own"));
}

#[test]
fn what_is_no_memory_is_refused_with_its_name() {
    let good = core(0, &[0; 64]);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    for (name, bytes, why) in [
        ("elf-short", good[..40].to_vec(), "ends in its header"),
        ("elf-32", with(4, &[1]), "64-bit little-endian"),
        ("elf-no-load", with(64, &[2]), "without memory"),
        ("elf-entries", with(54, &[32]), "not of 56 bytes"),
        ("elf-nowhere", with(32, &[0xff; 8]), "program headers lie behind its end"),
        ("elf-beyond", with(96, &[0xff; 8]), "its file does not hold"),
        ("elf-many", with(56, &[0xff, 0xff]), "more program headers"),
    ] {
        let path = file(name, &bytes);
        let error = Image::open(&path, None).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
    let raw = file("high", &[0; 64]);
    assert!(Image::open(&raw, Some(u64::MAX - 8)).unwrap_err().to_string().contains("do not fit"));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    assert!(Image::open(&folder, None).unwrap_err().to_string().contains("no regular file"));
    assert!(Image::open(&folder.join("absent"), None).unwrap_err().to_string().contains("absent"));
}
