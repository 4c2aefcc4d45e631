"""Losses, the optimizer, the step, the loop and checkpoints."""
