"""GPT-1 in JAX: pre-trains and fine-tunes models, and uses them in two lines.

Example: model = gpt1_jax.load("runs/pretrain"); model.generate("Once upon a time")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt1_jax.inference.classifier import Classifier
    from gpt1_jax.inference.language_model import LanguageModel

__version__ = "0.1.0"

# The imports are inside functions: worker processes that only tokenize need no jax.


def load(workdir: str, compute_dtype: str = "") -> "LanguageModel":
    """Returns the language model in `workdir`, or in one of its checkpoints/STEP.

    Args:    compute_dtype: replaces the run's number format, for example by float32.
    Returns: an object with config, params, tokenizer, logits(tokens), generate(prompts)
             and, for texts, score, hidden_states, embed and attentions; see
             gpt1_jax.inference.language_model.LanguageModel.
    Raises:  errors.NotFound, a FileNotFoundError: there is no model.
    """
    from gpt1_jax.inference import language_model

    return language_model.load(workdir, compute_dtype)


def load_classifier(workdir: str) -> "Classifier":
    """Returns the fine-tuned model in `workdir`, or in one of its checkpoints/STEP.

    Returns: an object with predict(rows), whose rows are texts, tuples of texts or
             Examples; see gpt1_jax.inference.classifier.Classifier.
    Raises:  errors.NotFound, a FileNotFoundError: there is no run.
             errors.UserError, a ValueError: the model has no head for a task.
    """
    from gpt1_jax.inference import classifier

    return classifier.load(workdir)
