"""How many floating-point operations a trained token costs, by one convention."""

from gpt1_jax.config import ModelConfig

CONVENTION = (
    "per token, forward and backward: 6 x weights in matrix products (tied output "
    "included, embedding look-ups not) + 12 x layers x context x width for attention, "
    "masked positions included"
)


def per_token(model: ModelConfig, vocab_size: int) -> int:
    """Operations of one token, forward and backward, by CONVENTION."""
    D, F = model.width, model.mlp_width
    weights = model.num_layers * (4 * D * D + 2 * D * F) + vocab_size * D
    return 6 * weights + 12 * model.num_layers * model.context_length * D
