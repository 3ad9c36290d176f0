//! The tiles of which a tree is made.

use fedsx_kernel::merkle::{Level, TileAddress};

#[test]
fn tile_addresses() {
    let address = |level, index, width| TileAddress { level, index, width };
    for (text, expected) in [
        ("tile/0/000", address(Level::Hashes(0), 0, 256)),
        ("tile/4/x001/x234/067", address(Level::Hashes(4), 1_234_067, 256)),
        ("tile/63/999.p/1", address(Level::Hashes(63), 999, 1)),
        ("tile/entries/x001/000.p/255", address(Level::Entries, 1000, 255)),
    ] {
        assert_eq!(text.parse::<TileAddress>().unwrap(), expected, "{text}");
        assert_eq!(expected.to_string(), text);
    }
    for bad in [
        "",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x001/x001",
        "tile/0/-01",
        "tile/0/+01",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(bad.parse::<TileAddress>().is_err(), "{bad}");
    }
    assert!("tile/0/x018/x446/x744/x073/x709/x551/615".parse::<TileAddress>().is_ok(), "2^64 - 1");
}

/// The example of C2SP tlog-tiles: which tiles a tree of 70,000 leaves has.
#[test]
fn tiles_of_a_tree() {
    let width = |level, index| TileAddress::width_at(Level::Hashes(level), index, 70_000);
    assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (256, 112, 0));
    assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (256, 17, 0));
    assert_eq!((width(2, 0), width(2, 1), width(3, 0), width(63, 0)), (1, 0, 0, 0));
    assert_eq!(TileAddress::width_at(Level::Hashes(1), 0, 256), 1);
    assert_eq!(TileAddress::width_at(Level::Hashes(0), u64::MAX, u64::MAX), 0);
    assert_eq!(TileAddress::width_at(Level::Entries, 273, 70_000), 112);
}
