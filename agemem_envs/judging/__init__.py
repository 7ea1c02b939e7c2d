"""Scores: judges, rewards, and how an episode is scored."""
