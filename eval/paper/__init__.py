"""The paper's methods, benchmarks, tables and figures, as data."""
