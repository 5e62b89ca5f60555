//! Names short enough to stand in a drawing. The page's list of functions has them whole.

/// Words of companies' names that tell nobody anything.
const LEGAL: [&str; 14] = [
    ", Inc.",
    " Inc.",
    " Inc",
    " Corporation",
    " Corp.",
    " Co., Ltd.",
    " Co., Ltd",
    " Co., Limited",
    ", Ltd.",
    " Ltd.",
    " Limited",
    " Electronics",
    " Semiconductor",
    " Technologies",
];

/// A name without legal forms, and without what `lspci` appends (revision, interface).
///
/// `Advanced Micro Devices, Inc. [AMD] Milan IOMMU [1022:164f] (rev 01)` becomes `AMD Milan IOMMU`.
pub fn name(name: &str) -> String {
    let mut name = name.trim();
    // From the end: (rev 01), (prog-if 00 [Normal decode]), [1022:164f].
    loop {
        let cut = match name.chars().last() {
            Some(')') => name.rfind(" (rev ").or_else(|| name.rfind(" (prog-if ")),
            Some(']') => name.rfind(" [").filter(|&at| is_ids(&name[at + 2..name.len() - 1])),
            _ => None,
        };
        // Only a group that ends where the name does is an appendix: `(rev 01) (prog-if 00)` goes in two steps.
        let Some(at) = cut else { break };
        let at = name.rfind(" (prog-if ").filter(|&other| other > at).unwrap_or(at);
        name = name[..at].trim_end();
    }
    // The short form that a company has itself: `Advanced Micro Devices, Inc. [AMD/ATI] Navi`.
    let own = name.find(" [").and_then(|open| {
        let close = open + name[open..].find(']')?;
        let (long, short, rest) = (&name[..open], &name[open + 2..close], &name[close + 1..]);
        let company = LEGAL.iter().any(|legal| long.ends_with(legal)) && !rest.trim().is_empty();
        company.then(|| format!("{short}{rest}"))
    });
    let mut name = own.unwrap_or_else(|| name.to_owned());
    for legal in LEGAL {
        if let Some(at) = name.find(legal)
            && at > 0
            && name[at + legal.len()..].starts_with(' ')
        {
            name.replace_range(at..at + legal.len(), "");
        }
    }
    name
}

fn is_ids(text: &str) -> bool {
    let hex = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(vendor, device)| hex(vendor) && hex(device))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn what_tells_a_device_stays_and_the_rest_goes() {
        for (long, short) in [
            ("Advanced Micro Devices, Inc. [AMD] Milan IOMMU [1022:164f] (rev 01)", "AMD Milan IOMMU"),
            (
                "NVIDIA Corporation GF114 [GeForce GTX 560] (rev a1) (prog-if 00 [VGA controller])",
                "NVIDIA GF114 [GeForce GTX 560]",
            ),
            (
                "Samsung Electronics Co Ltd NVMe SSD Controller SM981/PM981/PM983",
                "Samsung Co Ltd NVMe SSD Controller SM981/PM981/PM983",
            ),
            ("Intel Corporation I350 Gigabit Network Connection", "Intel I350 Gigabit Network Connection"),
            ("Device 1234", "Device 1234"),
            ("[AMD] x", "[AMD] x"),
            ("x (rev ", "x (rev"),
            ("Inc.", "Inc."),
            ("(", "("),
            (")", ")"),
            ("] [", "] ["),
            ("", ""),
        ] {
            assert_eq!(name(long), short);
        }
    }
}
