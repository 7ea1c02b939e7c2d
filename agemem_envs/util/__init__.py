"""Helpers that all packages use: command lines, endpoints, processes, paths, text."""
