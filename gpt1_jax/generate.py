"""Continues a prompt with a trained model.

    python -m gpt1_jax.generate --checkpoint runs/pretrain --prompt 'Once upon a time'

--temperature 0 takes the likeliest token each time. The text ends early where the
model's context is full.
"""

from absl import flags

import gpt1_jax
from gpt1_jax import command, terminal
from gpt1_jax.training import mesh, process

_FLAGS = flags.FlagValues()
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "A workdir, or its checkpoints/STEP.",
    required=True,
    flag_values=_FLAGS,
)
_PROMPT = flags.DEFINE_string(
    "prompt", None, "Text to continue.", required=True, flag_values=_FLAGS
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", 40, "Tokens to add, at most.", flag_values=_FLAGS
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 0.8, "0 is greedy.", flag_values=_FLAGS
)
_TOP_K = flags.DEFINE_integer(
    "top_k", 0, "Keep the K likeliest tokens; 0 keeps all.", flag_values=_FLAGS
)
_TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "Keep the likeliest tokens of mass P.", flag_values=_FLAGS
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 1, "How many continuations.", 1, flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "The same seed, the same text.", 0, flag_values=_FLAGS
)


def main() -> None:
    """Runs the command."""
    process.prepare()
    model = gpt1_jax.load(_CHECKPOINT.value)
    devices = mesh.describe(model.model.cfg)
    terminal.say(f"{devices}; {_CHECKPOINT.value}: step {model.step:,}")
    samples = model.generate(
        [_PROMPT.value] * _NUM_SAMPLES.value,
        _MAX_NEW_TOKENS.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
    )
    for text in samples:
        terminal.say(f"{_PROMPT.value.rstrip()}{text}\n")


if __name__ == "__main__":
    command.run(main, _FLAGS)
