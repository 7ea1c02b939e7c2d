"""Memory systems to compare with: one per file, all behind :mod:`agemem.baselines.base`."""
