"""Benchmarks: one adapter a file, and one module per generator of embedded data."""
