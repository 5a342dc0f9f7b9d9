"""Training: the step (read `step.py` first), objectives, the loop, runs and their log."""
