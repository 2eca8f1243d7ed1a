//! What the services of the chat have in common.

pub mod about;
pub mod http;
pub mod nats;
pub mod process;
pub mod websocket;
