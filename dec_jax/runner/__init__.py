"""Runs: their configuration, and what trains, reports and sweeps on top of the library."""
