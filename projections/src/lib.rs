//! fedsx projections
