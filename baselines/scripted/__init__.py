"""Ideal models: what a perfect language model would answer each memory system."""
