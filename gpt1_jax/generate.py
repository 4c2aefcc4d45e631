"""Continues a prompt with a trained model.

    python -m gpt1_jax.generate --checkpoint runs/pretrain --prompt 'Once upon a time'

The text is shown while it is generated. --temperature 0 always takes the most likely
token. Generation ends early, with a warning, when the model's context is full.
"""

from absl import flags

import gpt1_jax
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.distributed import mesh, runtime

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS)
_PROMPT = app.define_required("prompt", "Text to continue.", _FLAGS)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", 40, "Most tokens to add.", flag_values=_FLAGS
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 0.8, "0 is greedy.", flag_values=_FLAGS
)
_TOP_K = flags.DEFINE_integer(
    "top_k", 0, "Keep the K most likely tokens; 0: all.", flag_values=_FLAGS
)
_TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "Keep the most likely tokens of total mass P.", flag_values=_FLAGS
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 1, "Number of continuations.", 1, flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.", 0, flag_values=_FLAGS)
_COMPUTE_DTYPE = app.define_compute_dtype(_FLAGS)


def main() -> None:
    """Runs the command."""
    runtime.prepare()
    model = gpt1_jax.load(_CHECKPOINT.value, _COMPUTE_DTYPE.value)
    subject = f"{_CHECKPOINT.value}: step {model.step:,}"
    terminal.say(mesh.describe(model.model.cfg, subject))
    prompt, count = _PROMPT.value.rstrip(), _NUM_SAMPLES.value
    shown = ""

    def show(number: int, text: str) -> None:
        nonlocal shown
        if count == 1:
            terminal.write(text if shown else f"{prompt}{text}")
            shown += text

    samples = model.generate(
        [_PROMPT.value] * count,
        _MAX_NEW_TOKENS.value,
        on_text=show,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
    )
    if shown:
        terminal.write("\n")
    else:
        for text in samples:
            terminal.say(f"{prompt}{text}\n")
    context = model.config.model.context_length
    most = context - len(model.tokenizer.encode(_PROMPT.value))
    if most < _MAX_NEW_TOKENS.value:
        terminal.warn(
            f"the context of {context} tokens is full after {most} of "
            f"{_MAX_NEW_TOKENS.value} new tokens"
        )


if __name__ == "__main__":
    app.run(main, _FLAGS)
