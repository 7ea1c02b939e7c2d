"""Questions about conversations of many sessions."""
