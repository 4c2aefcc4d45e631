"""Continues prompts with a trained model; shows text as it is generated.

    python -m gpt1_jax.generate --checkpoint runs/pretrain --prompt 'Once upon a time'

Each row of --output has `prompt` and `text`, the continuation without the prompt. With
one --seed a prompt has the same continuation alone and among others; a prompt given
twice has two. A prompt longer than the context is cut to its last tokens.
"""

import json
import sys

from absl import flags

import gpt1_jax
from gpt1_jax import terminal
from gpt1_jax.cli import app, outputs
from gpt1_jax.data import formats, tables
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.errors import UserError

_FLAGS = flags.FlagValues()
_CHECKPOINT = app.define_checkpoint(_FLAGS)
_PROMPTS = flags.DEFINE_multi_string(
    "prompt", [], "Text to continue; - is standard input.", flag_values=_FLAGS
)
_PROMPTS_FILE = flags.DEFINE_string(
    "prompts",
    "",
    "A file of a prompt a line, or a table as for score; - is standard input.",
    flag_values=_FLAGS,
)
_COLUMN = flags.DEFINE_string(
    "column",
    "",
    "The column of --prompts, if it is a table; empty: `text`, or the only one.",
    flag_values=_FLAGS,
)
_OUTPUT = outputs.Output(
    _FLAGS, "JSON Lines file to write; - is standard output", is_required=False
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
_WINDOW = flags.DEFINE_integer(
    "window",
    0,
    "Go on after the last N tokens when the context is full; 0: end there.",
    0,
    flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.", 0, flag_values=_FLAGS)
_COMPUTE_DTYPE = app.define_compute_dtype(_FLAGS)


def main() -> None:
    """Runs the command."""
    prompts_file = _PROMPTS_FILE.value
    if _OUTPUT.is_given:
        _OUTPUT.check([prompts_file] if prompts_file else [])
    else:
        terminal.use_stderr(True)
    prompts = _read_prompts(_PROMPTS.value, prompts_file, _COLUMN.value)
    runtime.prepare()
    model = gpt1_jax.load(_CHECKPOINT.value, _COMPUTE_DTYPE.value)
    subject = f"{_CHECKPOINT.value}: step {model.step:,}"
    terminal.say(mesh.describe(model.model.cfg, subject))
    all_prompts = [prompt for prompt in prompts for _ in range(_NUM_SAMPLES.value)]
    is_streamed = len(all_prompts) == 1 and not _OUTPUT.is_given
    shown = ""

    def show(number: int, text: str) -> None:
        nonlocal shown
        if is_streamed:
            terminal.write_result(text if shown else f"{prompts[0].rstrip()}{text}")
            shown += text

    samples = model.generate(
        all_prompts,
        _MAX_NEW_TOKENS.value,
        on_text=show,
        window=_WINDOW.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
    )
    pairs = list(zip(all_prompts, samples, strict=True))
    if _OUTPUT.is_given:
        with _OUTPUT.open() as file:
            for prompt, text in pairs:
                file.write(f"{json.dumps({'prompt': prompt, 'text': text})}\n")
        terminal.say(f"{_OUTPUT}: {len(pairs):,} texts")
    elif shown:
        terminal.write_result("\n")
    else:
        for prompt, text in pairs:
            terminal.write_result(f"{prompt.rstrip()}{text}\n\n")


def _read_prompts(given: list[str], prompts_file: str, column: str) -> list[str]:
    """Returns the prompts, with `-` replaced by the text of standard input.

    Raises: UserError: none or two sources are given, or a prompt is empty.
    """
    if bool(given) == bool(prompts_file):
        count = "both are" if given else "none is"
        raise UserError(
            f"--prompt and --prompts: {count} given; one of them is expected; give "
            "texts with --prompt, or a file with --prompts"
        )
    standard = formats.STANDARD_INPUT
    if prompts_file:
        with formats.local_file(prompts_file) as path:
            prompts = tables.read_texts(path, column)
        empty = [n for n, prompt in enumerate(prompts, start=1) if not prompt.strip()]
        if empty or not prompts:
            what = f"prompt {empty[0]} is empty" if prompts else "it is empty"
            raise UserError(
                f"--prompts={prompts_file}: {what}; a prompt in each line or row is "
                "expected; add a text, or remove the line"
            )
        return prompts
    if column:
        raise UserError(
            f"--column={column}, but --prompts is not given; a table is expected; drop "
            "--column, or name a table with --prompts"
        )
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
