//! The saga orchestrator: what library users depend on.
