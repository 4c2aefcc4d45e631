"""Measures of a trained model, and the file of its predictions."""
