"""Sweeps: short runs of one recipe with some of its fields varied, ranked by a score. `run.py` is the way in."""
