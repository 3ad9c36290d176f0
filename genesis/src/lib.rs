//! fedsx genesis
