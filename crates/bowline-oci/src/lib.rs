//! Images: from a Dockerfile to an image without a daemon where that is certain to give what the engine would,
//! through the engine where it is not, and from there to a registry and back.
//!
//! [`assemble`](mod@assemble) makes an image of a [`Recipe`](dockerfile::Recipe) in a [`Store`](store::Store).
#![deny(missing_docs)]

pub mod assemble;
pub mod config;
pub mod context;
pub mod copy;
pub mod credential;
pub mod dockerfile;
pub mod ecr;
pub mod ignore;
pub mod layer;
pub mod manifest;
pub mod pattern;
pub mod push;
pub mod registry;
pub mod store;
pub mod tree;
pub mod word;
