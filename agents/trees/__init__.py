"""Token trees: models that attend over them, and prompts that share their beginnings."""
