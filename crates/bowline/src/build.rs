//! From sources to something an image can be made of: build commands, artifacts, Dockerfiles.

pub mod artifact;
pub mod change;
pub mod command;
pub mod image;
pub mod inspection;
pub mod output;
pub mod process;
pub mod recipe;
