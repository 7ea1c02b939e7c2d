"""A run: its settings, its plan, and its record on disk."""
