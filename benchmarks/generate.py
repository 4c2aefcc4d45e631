"""Compares greedy generation with transformers' OpenAIGPT and its GPT-2.

    python -m benchmarks.generate

All have the paper's size and random weights. Transformers' OpenAIGPT has no cache of
keys and values; its GPT-2 has one. Before that, the start of `gpt1_jax.generate` to its
first token is timed. Needs the extra: pip install -e '.[benchmarks]'
"""

import itertools
import json
import os
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks import side_by_side
from gpt1_jax import terminal
from gpt1_jax.cli import app

_FLAGS = flags.FlagValues()
_SIDES = ("gpt1_jax", "transformers OpenAIGPT", "transformers GPT-2")
_COMPARISON = side_by_side.define("generate", _FLAGS, _SIDES)
_NEW_TOKENS = flags.DEFINE_integer(
    "new_tokens", 256, "New tokens.", 1, flag_values=_FLAGS
)
_PROMPT_LENGTH = flags.DEFINE_integer(
    "prompt_length", 16, "Tokens.", 1, flag_values=_FLAGS
)
_LAYERS = flags.DEFINE_integer("num_layers", 12, "Layers.", 1, flag_values=_FLAGS)

_VOCAB = 40478


def main() -> None:
    """Runs the command."""
    if side := _COMPARISON.side.value:
        print(json.dumps({"seconds": _seconds(side)}))
        return
    first_token = _first_token()
    for name, seconds in first_token.items():
        terminal.say(f"start to first token, {name}: {seconds:.1f} s")
    rounds = side_by_side.run_rounds(
        _COMPARISON,
        side_by_side.in_processes(_COMPARISON, side_by_side.CPU_ONLY),
        lambda run: f"{run['seconds']:.1f} s",
    )
    side_by_side.publish(
        _COMPARISON,
        side_by_side.summary(rounds),
        {
            "s": lambda row: f"{row['median_seconds']:.2f}",
            "tokens/s": lambda row: f"{_NEW_TOKENS.value / row['median_seconds']:.1f}",
            "over ours": side_by_side.ratio,
        },
        start_to_first_token_seconds=first_token,
        new_tokens=_NEW_TOKENS.value,
        prompt_length=_PROMPT_LENGTH.value,
        num_layers=_LAYERS.value,
    )


def _seconds(side: str) -> float:
    """Times one generation after another that compiles or warms up."""
    if side == _SIDES[0]:
        generate = _ours()
        generate(_NEW_TOKENS.value)
    else:
        generate = _theirs(side)
        generate(2)
    began = time.perf_counter()
    generate(_NEW_TOKENS.value)
    return time.perf_counter() - began


def _ours():
    import jax
    import numpy as np

    from gpt1_jax.config import ModelConfig
    from gpt1_jax.inference import decode
    from gpt1_jax.models.transformer import Transformer

    cfg = ModelConfig(num_layers=_LAYERS.value, compute_dtype="float32")
    model = Transformer(cfg, _VOCAB)
    tokens = np.ones((1, 1), np.int32)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    decoder = decode.Decoder(model, cfg.context_length)
    prompts = [np.arange(_PROMPT_LENGTH.value)]
    greedy = decode.Sampling(temperature=0.0)
    return lambda count: decoder.generate(params, prompts, count, greedy)


def _theirs(side: str):
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": _VOCAB, "n_layer": _LAYERS.value, "n_positions": 512}
    if "GPT-2" in side:
        config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
        model = transformers.GPT2LMHeadModel(config).eval()
    else:
        model = transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(**sizes)
        ).eval()
    prompt = torch.arange(_PROMPT_LENGTH.value)[None]

    def generate(count: int) -> None:
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        assert out.shape[1] == _PROMPT_LENGTH.value + count

    return generate


def _first_token() -> dict[str, float]:
    """Returns the seconds that the command takes to generate one token.

    The model has random weights and a tokenizer as large as the released one.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _make_workdir(directory / "run")
        environment = os.environ | {"HOME": name}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        found = {}
        for state in ("nothing compiled before", "compiled before"):
            began = time.perf_counter()
            subprocess.run(
                [
                    *(sys.executable, "-m", "gpt1_jax.generate", "--prompt", "the"),
                    *(f"--checkpoint={directory / 'run'}", "--max_new_tokens=1"),
                ],
                env=environment,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            found[state] = time.perf_counter() - began
    return found


def _make_workdir(workdir: Path) -> None:
    import numpy as np

    from gpt1_jax.config import ModelConfig, RunConfig
    from gpt1_jax.data.text.openai_bpe import OpenAITokenizer
    from gpt1_jax.interop import weights
    from gpt1_jax.workdirs import model_store

    model = ModelConfig(num_layers=_LAYERS.value)
    rng = np.random.default_rng(0)
    params = {
        path: 0.02 * rng.standard_normal(shape, dtype=np.float32)
        for path, shape in weights.expected_shapes(model, _VOCAB).items()
    }
    # 238 letters; their pairs make a vocabulary as large as the released one.
    characters = [*string.ascii_lowercase, *map(chr, range(0x100, 0x100 + 212))]
    merges = list(itertools.product(characters[:200], repeat=2))
    pieces = ["<unk>", *characters, *(f"{c}</w>" for c in characters)]
    pieces += [*map("".join, merges), "\n</w>"]
    id_of = {piece: number for number, piece in enumerate(pieces)}
    lines = ["#version: 0.2", *map(" ".join, merges), ""]
    tokenizer = OpenAITokenizer(json.dumps(id_of).encode(), "\n".join(lines).encode())
    tree = weights.Weights(params, model).tree
    model_store.create(workdir, RunConfig(model=model), tree, tokenizer, {})


if __name__ == "__main__":
    app.run(main, _FLAGS)
