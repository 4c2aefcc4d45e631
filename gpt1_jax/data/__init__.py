"""Text to tokens to batches: numpy only, no jax."""
