"""Statistics: the one place for means, intervals and tests."""
