//! The kit of the live tests, as far as it is needed here.

#[path = "../../live/binary.rs"]
pub(crate) mod binary;
#[path = "../../live/moments.rs"]
pub(crate) mod moments;
#[path = "../../live/program.rs"]
pub(crate) mod program;
#[path = "../../live/serving.rs"]
pub(crate) mod serving;
#[path = "../../live/stored.rs"]
pub(crate) mod stored;
#[path = "../../live/wire.rs"]
pub(crate) mod wire;
#[path = "../../live/world.rs"]
pub(crate) mod world;
