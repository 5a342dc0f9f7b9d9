"""Layers that several network families share: activations, spectral norm, the logit, initial weights."""
