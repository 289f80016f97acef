//! Tests of the whole house: walls, flows, simulation, live runs.
