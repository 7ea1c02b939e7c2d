"""Leaderboard rows, and the checks that a run must pass before it is added."""
