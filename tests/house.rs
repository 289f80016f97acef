//! The rules of the house as tests: each failure says what to do.

#[path = "house/circles.rs"]
mod circles;
#[path = "house/failpoints.rs"]
mod failpoints;
#[path = "house/forms.rs"]
mod forms;
#[path = "house/links.rs"]
mod links;
#[path = "house/logged.rs"]
mod logged;
#[path = "house/manifests.rs"]
mod manifests;
#[path = "house/modules.rs"]
mod modules;
#[path = "house/named.rs"]
mod named;
#[path = "house/picture.rs"]
mod picture;
#[path = "house/places.rs"]
mod places;
#[path = "house/repo.rs"]
mod repo;
#[path = "house/sizes.rs"]
mod sizes;
#[path = "house/stack.rs"]
mod stack;
#[path = "house/walls.rs"]
mod walls;
