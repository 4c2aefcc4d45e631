"""GPT-1 in JAX: pre-training, and models to use in two lines.

Example: model = gpt1_jax.load("runs/pretrain"); model.generate("Once upon a time")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt1_jax.inference.language_model import Pretrained

__version__ = "0.1.0"


def load(workdir: str, compute_dtype: str = "") -> "Pretrained":
    """The trained model in `workdir`, or in one of its checkpoints/STEP.

    Args:    compute_dtype: another than the run's, as float32 on an accelerator.
    Returns: an object with config, params, tokenizer, logits(tokens), generate(prompts)
             and score(texts); see gpt1_jax.inference.language_model.Pretrained.
    Raises:  exits.NotFound, a FileNotFoundError, if there is none.
    """
    # Imported here: worker processes that only tokenise do without jax.
    from gpt1_jax.inference import language_model

    return language_model.load(workdir, compute_dtype)
