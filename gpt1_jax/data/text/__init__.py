"""Text for pre-training: documents to token stores and windows. No jax here."""
