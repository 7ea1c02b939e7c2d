"""Evaluation: runs agents on environments and writes what happened."""
