"""Memory systems whose libraries need an environment of their own: each is a process."""
