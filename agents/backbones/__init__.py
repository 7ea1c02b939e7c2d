"""Language models behind the agents: one engine per file, and a registry of names."""
