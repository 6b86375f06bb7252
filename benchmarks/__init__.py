"""Benchmarks: throughput against the device's own limit, against peers, and over sizes."""
