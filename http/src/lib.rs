//! fedsx http
