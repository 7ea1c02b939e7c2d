"""Memory systems to compare with: one a file, all behind :mod:`agemem.baselines.base`."""
