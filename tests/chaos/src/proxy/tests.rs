//! Each trick once, on real servers.
