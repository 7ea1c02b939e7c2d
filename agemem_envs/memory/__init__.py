"""Long-term memory: the interface, the stores, and their names."""
