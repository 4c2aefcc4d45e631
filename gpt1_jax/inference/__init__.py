"""Trained models in use: generation, log-probabilities, classification."""
