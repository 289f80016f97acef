//! One-line saga tests, private services, conformance suites, seeded simulation.
