//! Limits: files may be broken or hostile.

/// Files up to this size are read, in bytes.
pub const MAX_FILE: u64 = 4 << 30;

/// More descriptors aren't looked at.
pub const MAX_WINDOWS: u64 = 1 << 16;
/// More entries of another section aren't looked at.
pub const MAX_ENTRIES: u64 = 1 << 20;

/// More code of windows isn't disassembled, in bytes.
pub const MAX_CODE: u64 = 4 << 20;
/// Longer windows aren't disassembled, in bytes: a thread that is interrupted every few
/// milliseconds must get through.
pub const MAX_WINDOW: u64 = 64 << 10;
