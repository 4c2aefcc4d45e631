"""Continues a prompt with a trained model.

    python -m gpt1_jax.generate --checkpoint runs/pretrain --prompt 'Once upon a time'

The text is shown while it is generated. --temperature 0 always takes the most likely
token. Generation ends early, with a warning, when the model's context is full. --prompt
may be repeated; `--prompt -` reads one from standard input.
"""

import sys

from absl import flags

import gpt1_jax
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.data import formats
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.errors import UserError

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS)
_PROMPTS = flags.DEFINE_multi_string(
    "prompt",
    None,
    "Text to continue; - is standard input.",
    required=True,
    flag_values=_FLAGS,
)
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
    "num_samples", 1, "Number of continuations for each prompt.", 1, flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.", 0, flag_values=_FLAGS)
_COMPUTE_DTYPE = app.define_compute_dtype(_FLAGS)


def main() -> None:
    """Runs the command."""
    terminal.use_stderr(True)
    prompts = _read_prompts(_PROMPTS.value)
    runtime.prepare()
    model = gpt1_jax.load(_CHECKPOINT.value, _COMPUTE_DTYPE.value)
    subject = f"{_CHECKPOINT.value}: step {model.step:,}"
    terminal.say(mesh.describe(model.model.cfg, subject))
    all_prompts = [prompt for prompt in prompts for _ in range(_NUM_SAMPLES.value)]
    is_only_one = len(all_prompts) == 1
    shown = ""

    def show(number: int, text: str) -> None:
        nonlocal shown
        if is_only_one:
            terminal.write_result(text if shown else f"{prompts[0].rstrip()}{text}")
            shown += text

    samples = model.generate(
        all_prompts,
        _MAX_NEW_TOKENS.value,
        on_text=show,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
    )
    if shown:
        terminal.write_result("\n")
    else:
        for prompt, text in zip(all_prompts, samples, strict=True):
            terminal.write_result(f"{prompt.rstrip()}{text}\n\n")
    context = model.config.model.context_length
    longest = max(len(model.tokenizer.encode(prompt)) for prompt in prompts)
    if context - longest < _MAX_NEW_TOKENS.value:
        terminal.warn(
            f"the context of {context} tokens is full after {context - longest} of "
            f"{_MAX_NEW_TOKENS.value} new tokens"
        )


def _read_prompts(given: list[str]) -> list[str]:
    """Returns the prompts, with `-` replaced by the text of standard input."""
    standard = formats.STANDARD_INPUT
    if given.count(standard) > 1:
        raise UserError(
            f"--prompt - is given {given.count(standard)} times; standard input is "
            "read once; drop the others"
        )
    return [
        sys.stdin.read().removesuffix("\n") if prompt == standard else prompt
        for prompt in given
    ]


if __name__ == "__main__":
    app.run(main, _FLAGS)
