//! Which table some bytes are.

use crate::{devicetree, dmar, iort, ivrs, rimt, viot};
use ioward_types::describe::{Cause, Fact, Problem, Table};

/// The kind of table that the bytes begin like; none if they begin like none that describes IOMMUs.
pub fn kind_of(bytes: &[u8]) -> Option<Table> {
    match bytes.get(..4)? {
        b"IORT" => Some(Table::Iort),
        b"IVRS" => Some(Table::Ivrs),
        b"DMAR" => Some(Table::Dmar),
        b"RIMT" => Some(Table::Rimt),
        b"VIOT" => Some(Table::Viot),
        [0xd0, 0x0d, 0xfe, 0xed] => Some(Table::DeviceTree),
        _ => None,
    }
}

/// Delivers the facts of one table. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(table: Table, bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match table {
        Table::Iort => iort::facts(bytes, sink),
        Table::Ivrs => ivrs::facts(bytes, sink),
        Table::Dmar => dmar::facts(bytes, sink),
        Table::Rimt => rimt::facts(bytes, sink),
        Table::Viot => viot::facts(bytes, sink),
        Table::DeviceTree => devicetree::facts(bytes, sink),
        _ => {
            let structure = "table";
            let cause = Cause::Missing { what: "a parser for this kind of table" };
            sink(Fact::Problem(Problem { table, offset: 0, structure, cause }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_by_the_first_four_bytes() {
        assert_eq!(kind_of(b"IVRS...."), Some(Table::Ivrs));
        assert_eq!(kind_of(b"IORT"), Some(Table::Iort));
        assert_eq!(kind_of(b"DMAR"), Some(Table::Dmar));
        assert_eq!(kind_of(b"RIMT"), Some(Table::Rimt));
        assert_eq!(kind_of(b"VIOT"), Some(Table::Viot));
        assert_eq!(kind_of(&[0xd0, 0x0d, 0xfe, 0xed, 0]), Some(Table::DeviceTree));
        assert_eq!(kind_of(b"SSDT"), None);
        assert_eq!(kind_of(b"IO"), None);
    }

    #[test]
    fn garbage_is_one_problem_whatever_it_is_taken_for() {
        let tables = [Table::Iort, Table::Ivrs, Table::Dmar, Table::Rimt, Table::Viot, Table::DeviceTree];
        for table in tables {
            for bytes in [&b""[..], b"garbage", &[0; 64]] {
                let mut problems = 0;
                facts(table, bytes, &mut |fact| match fact {
                    Fact::Problem(problem) if problem.table == table => problems += 1,
                    other => panic!("{table}: {other:?}"),
                });
                assert_eq!(problems, 1, "{table}");
            }
        }
    }
}
