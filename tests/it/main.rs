//! The one integration test binary: every behaviour that needs more than one file of code.

/// Rules of style and layering, checked on the sources.
mod tidy;
