"""Long-term memory: the interface, two stores, and their names."""
