//! Images: from a Dockerfile to an image without a daemon where that is certain to give what the engine would,
//! through the engine where it is not, and from there to a registry and back.
//!
//! - [`build`](build::build) makes an image of a Dockerfile in a [`Store`](store::Store): by
//!   [`assemble`](assemble::assemble), or by the [`Engine`](engine::Engine) where a line needs it;
//! - [`push`](push::push) brings images and their tags into one repository;
//! - [`push_artifact`](artifact::push_artifact) puts a release's record beside them, as the last step;
//! - [`list`](list::list) says what a repository holds.
#![deny(missing_docs)]

pub mod artifact;
pub mod assemble;
pub mod build;
pub mod config;
pub mod context;
pub mod copy;
pub mod credential;
pub mod dockerfile;
pub mod ecr;
pub mod engine;
pub mod ignore;
pub mod layer;
mod link;
pub mod list;
pub mod manifest;
pub mod pattern;
pub mod pull;
pub mod push;
pub mod registry;
pub mod store;
pub mod tree;
pub mod word;
