"""Language models behind the agents: one engine a file, and a registry of names."""
