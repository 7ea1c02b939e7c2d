"""The scripted model: what a perfect language model would answer each memory system."""
