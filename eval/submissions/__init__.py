"""The leaderboard's rows, and the checks that a run must pass."""
