"""The command generate."""

import pytest

import gpt1_jax
from gpt1_jax import generate
from tests import command_lines


def run(workdir, capsys, dtype="float32", **given) -> list[str]:
    """Returns what the command prints after its first line, which names the devices."""
    flags = {"checkpoint": workdir, "prompt": "the boat", "seed": 3} | given
    capsys.readouterr()
    command_lines.run(generate, **flags)
    devices, *rest = capsys.readouterr().out.split("\n", 1)
    assert f"; {dtype}; {workdir}: step 6" in devices
    return rest


def test_one_text_is_shown_while_it_is_generated(pretrained_workdir, capsys):
    (shown,) = run(pretrained_workdir, capsys, max_new_tokens=37)
    model = gpt1_jax.load(pretrained_workdir)
    text = model.generate("the boat", 37, temperature=0.8, seed=3)
    assert shown == f"the boat{text}\n"


def test_several_samples_differ(pretrained_workdir, capsys):
    (shown,) = run(pretrained_workdir, capsys, num_samples=3, max_new_tokens=5)
    texts = [text for text in shown.split("\n\n") if text]
    assert len(texts) == len(set(texts)) == 3
    assert all(text.startswith("the boat") for text in texts)


def test_sampling_flags_have_an_effect(pretrained_workdir, capsys):
    greedy, again, cold, other = (
        run(pretrained_workdir, capsys, max_new_tokens=9, **given)
        for given in (
            {"temperature": 0, "seed": 1},
            {"temperature": 0, "seed": 2},
            {"top_k": 1},
            {"seed": 4},
        )
    )
    assert greedy == again == cold != other
    assert run(pretrained_workdir, capsys, max_new_tokens=9, top_p=1e-6) == greedy


def test_compute_dtype_can_be_set(pretrained_workdir, capsys):
    for dtype in ("float32", "bfloat16"):
        run(pretrained_workdir, capsys, dtype, compute_dtype=dtype, max_new_tokens=3)


def test_a_full_context_gives_a_warning(pretrained_workdir, capsys):
    model = gpt1_jax.load(pretrained_workdir)
    most = 128 - len(model.tokenizer.encode("the boat"))
    (shown,) = run(pretrained_workdir, capsys, max_new_tokens=500)
    assert f"context of 128 tokens is full after {most} of 500 new tokens" in shown
    (shown,) = run(pretrained_workdir, capsys, max_new_tokens=most)
    assert "is full" not in shown


def test_a_prompt_that_fills_the_context_is_refused_before_it_is_shown(
    pretrained_workdir, capsys
):
    with pytest.raises(ValueError, match=r"prompt 0 has \d+ tokens; from 1 to 127"):
        run(pretrained_workdir, capsys, prompt="the boat " * 200)
    assert "the boat the boat" not in capsys.readouterr().out
