"""Plays runs: workers, executors, suites."""
