//! A device tree out of the directory that the kernel makes of it: a folder for each node, a file for each property.
//!
//! The result is a flattened tree (Devicetree Specification 0.4, chapter 5) that the same parser reads as any other. The
//! memory reservation block and the order of nodes are lost; neither says anything of IOMMUs.

use crate::{ReadError, files};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The most entries of a node that are looked at.
const MOST_ENTRIES: usize = 1 << 14;
/// The most bytes of a property. Initial programs and keys are larger and of no interest.
const LARGEST_PROPERTY: u64 = 1 << 20;
/// The most bytes of the whole.
const LARGEST: usize = 64 << 20;
/// The most nodes above a node.
const DEEPEST: usize = 64;

const MAGIC: u32 = 0xd00d_feed;
const HEADER_BYTES: usize = 40;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// The blob of the tree whose root is the folder `root`. What cannot be read of it is left out and listed.
pub fn flatten(root: &Path, errors: &mut Vec<ReadError>) -> Result<Vec<u8>, ReadError> {
    let mut blob = Blob::default();
    blob.node(root, "", 0, errors)?;
    blob.word(END);
    Ok(blob.finish())
}

#[derive(Default)]
struct Blob {
    structure: Vec<u8>,
    strings: Vec<u8>,
    offsets: BTreeMap<String, u32>,
}

impl Blob {
    fn node(
        &mut self,
        path: &Path,
        name: &str,
        depth: usize,
        errors: &mut Vec<ReadError>,
    ) -> Result<(), ReadError> {
        if depth > DEEPEST || self.structure.len() > LARGEST {
            return Err(ReadError::TooLarge { path: path.into(), most: LARGEST as u64 });
        }
        self.word(BEGIN_NODE);
        self.padded(&[name.as_bytes(), &[0]].concat());
        let mut nodes: Vec<(String, PathBuf)> = Vec::new();
        for entry in files::names(path, MOST_ENTRIES, errors) {
            let path = path.join(&entry);
            let Some(name) = entry.to_str() else {
                let what = "the name of a node or property";
                errors.push(ReadError::malformed(&path, what, &entry.to_string_lossy()));
                continue;
            };
            // Links lead around in circles; a device tree has none.
            match fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_dir() => nodes.push((name.to_owned(), path)),
                Ok(kind) if kind.is_file() => match files::bytes(&path, LARGEST_PROPERTY) {
                    // The kernel adds the node's name as a property; a blob has none of that name.
                    Ok(_) if name == "name" => {}
                    // A node may have thousands of them.
                    Ok(bytes) if self.structure.len() + bytes.len() > LARGEST => {
                        return Err(ReadError::TooLarge { path, most: LARGEST as u64 });
                    }
                    Ok(bytes) => self.property(name, &bytes),
                    // Serial numbers and keys are root's; nobody here wants them.
                    Err(error) if error.needs_root() => {}
                    Err(error) => errors.push(error),
                },
                Ok(_) => errors.push(ReadError::NotAFile { path, what: "a link, pipe, socket or device" }),
                Err(error) => errors.push(ReadError::io(&path, &error)),
            }
        }
        // Properties come before nodes.
        for (name, path) in nodes {
            self.node(&path, &name, depth + 1, errors)?;
        }
        self.word(END_NODE);
        Ok(())
    }

    fn property(&mut self, name: &str, bytes: &[u8]) {
        let next = self.strings.len() as u32;
        let offset = *self.offsets.entry(name.to_owned()).or_insert_with(|| {
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            next
        });
        self.word(PROPERTY);
        self.word(bytes.len() as u32);
        self.word(offset);
        self.padded(bytes);
    }

    fn word(&mut self, word: u32) {
        self.structure.extend_from_slice(&word.to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.structure.extend_from_slice(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn finish(self) -> Vec<u8> {
        // After the header, an empty memory reservation block: one entry of zeros.
        let structure = HEADER_BYTES + 16;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            HEADER_BYTES as u32,
            17,
            16,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.resize(structure, 0);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }
}
