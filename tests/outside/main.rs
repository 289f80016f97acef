//! A crate outside the workspace: its own saga and activity, and `knarr` as its only dependency.

mod outside;
mod project;
