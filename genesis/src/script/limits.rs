//! What a script may use. All of it is counted, never measured: the same script with the same
//! input meets its limits at the same place on every machine.

/// The longest source, in bytes.
pub const SOURCE_BYTES: usize = 16 * 1024;
/// Steps of one run: each statement, expression and turn of a loop is one.
pub const OPERATIONS: u64 = 100_000;
/// Work of one run. Reading a variable costs what copying its value would: one for each value in
/// it and one for each [`WORK_BYTES`] of text. Functions over texts cost their length.
pub const WORK: u64 = 1_000_000;
/// Bytes of text that cost one unit of [`WORK`] where a value is read.
pub const WORK_BYTES: usize = 64;
/// Functions that may call each other.
pub const CALL_DEPTH: usize = 8;
/// Expressions within each other.
pub const EXPRESSION_DEPTH: usize = 32;
/// Variables that exist at once in one function.
pub const VARIABLES: usize = 48;
/// Functions of one script.
pub const FUNCTIONS: usize = 32;
/// The longest text that a script can make, and all texts of one of its values together, in bytes.
pub const TEXT_BYTES: usize = 64 * 1024;
/// Items of one list, with those of lists inside.
pub const LIST_ITEMS: usize = 2_000;
/// Members of one map, with those of maps inside.
pub const MAP_MEMBERS: usize = 2_000;
/// Values (items, members) in a variable that can change.
pub const VALUES: usize = LIST_ITEMS + MAP_MEMBERS;
/// A text in what a script is given is cut to this many bytes.
pub const INPUT_TEXT_BYTES: usize = 16 * 1024;
/// The largest state or result of a run: bytes of its texts and names, and eight for each value.
pub const OUTPUT_BYTES: usize = 64 * 1024;
/// How deep state and results may be nested.
pub const OUTPUT_DEPTH: usize = 24;
/// The longest reason that a script's failure gives, in characters.
pub const REASON_CHARS: usize = 300;
