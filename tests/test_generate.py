"""The command generate."""

import io
import json

import pytest

import gpt1_jax
from gpt1_jax import generate
from tests import command_lines


def run(workdir, capsys, dtype="float32", **given) -> tuple[str, str]:
    """Returns the text that the command prints, and its messages."""
    flags = {"checkpoint": workdir, "prompt": "the boat", "seed": 3} | given
    capsys.readouterr()
    command_lines.run(generate, **flags)
    shown, messages = capsys.readouterr()
    assert f"; {dtype}; {workdir}: step 6" in messages
    return shown, messages


def test_one_text_is_shown_while_it_is_generated(pretrained_workdir, capsys):
    shown, _ = run(pretrained_workdir, capsys, max_new_tokens=37)
    model = gpt1_jax.load(pretrained_workdir)
    text = model.generate("the boat", 37, temperature=0.8, seed=3)
    assert shown == f"the boat{text}\n"


def test_several_samples_differ(pretrained_workdir, capsys):
    shown, _ = run(pretrained_workdir, capsys, num_samples=3, max_new_tokens=5)
    texts = [text for text in shown.split("\n\n") if text]
    assert len(texts) == len(set(texts)) == 3
    assert all(text.startswith("the boat") for text in texts)


def test_sampling_flags_have_an_effect(pretrained_workdir, capsys):
    greedy, again, cold, other = (
        run(pretrained_workdir, capsys, max_new_tokens=9, **given)[0]
        for given in (
            {"temperature": 0, "seed": 1},
            {"temperature": 0, "seed": 2},
            {"top_k": 1},
            {"seed": 4},
        )
    )
    assert greedy == again == cold != other
    assert run(pretrained_workdir, capsys, max_new_tokens=9, top_p=1e-6)[0] == greedy


def test_compute_dtype_can_be_set(pretrained_workdir, capsys):
    for dtype in ("float32", "bfloat16"):
        run(pretrained_workdir, capsys, dtype, compute_dtype=dtype, max_new_tokens=3)


def test_a_full_context_gives_a_warning(pretrained_workdir, capsys):
    model = gpt1_jax.load(pretrained_workdir)
    most = 128 - len(model.tokenizer.encode("the boat"))
    _, messages = run(pretrained_workdir, capsys, max_new_tokens=500)
    assert f"context of 128 tokens is full after {most} of 500 new tokens" in messages
    _, messages = run(pretrained_workdir, capsys, max_new_tokens=most)
    assert "is full" not in messages


def test_of_a_prompt_that_fills_the_context_the_end_is_used(pretrained_workdir, capsys):
    prompt = "a cat saw the boat " * 60
    model = gpt1_jax.load(pretrained_workdir)
    ids = model.tokenizer.encode(prompt)
    for flags, most in (({}, 119), ({"window": 50}, 50), ({"max_new_tokens": 99}, 64)):
        flags = {"max_new_tokens": 9, "temperature": 0} | flags
        shown, messages = run(pretrained_workdir, capsys, prompt=prompt, **flags)
        (text,) = model.continue_ids(
            [ids[-most:]], flags["max_new_tokens"], temperature=0
        )
        assert shown == f"{prompt.rstrip()}{text}\n"
        expected = (
            "warning: 1 of 1 prompts fill the context of 128 tokens; the last "
            f"{most} tokens of each are used"
        )
        assert expected in messages


def test_generation_goes_on_beyond_the_context(pretrained_workdir, capsys):
    flags = {"max_new_tokens": 300, "temperature": 0}
    short, warned = run(pretrained_workdir, capsys, **flags)
    assert "--window=64 (window=64) goes on after the last 64 of them" in warned
    shown, messages = run(pretrained_workdir, capsys, window=64, **flags)
    assert "is full" not in messages
    assert shown.startswith(short.removesuffix("\n"))
    model = gpt1_jax.load(pretrained_workdir)
    text = shown.removeprefix("the boat").removesuffix("\n")
    assert text == model.generate("the boat", 300, temperature=0, window=64)
    assert len(text) > 1.5 * len(short)


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_prompts_of_a_file_are_continued_as_each_alone(
    pretrained_workdir, capsys, tmp_path, suffix
):
    prompts = ["the boat", "once, upon", "a cat", "the boat"]
    given, output = tmp_path / f"given.{suffix}", tmp_path / "texts.jsonl"
    lines = (
        prompts if suffix == "txt" else [f'{n},"{p}"' for n, p in enumerate(prompts)]
    )
    header = [] if suffix == "txt" else ["id,start"]
    given.write_text("\n".join([*header, *lines]) + "\n")
    column = {} if suffix == "txt" else {"column": "start"}
    files = {"prompts": given, "output": output} | column
    shared = {"checkpoint": pretrained_workdir, "max_new_tokens": 7, "seed": 5}
    command_lines.run(generate, **shared, **files)
    assert f"{output}: 4 texts" in capsys.readouterr().out
    rows = read_rows(output)
    assert [row["prompt"] for row in rows] == prompts
    model = gpt1_jax.load(pretrained_workdir)
    for row in rows[:3]:
        assert row["text"] == model.generate(row["prompt"], 7, temperature=0.8, seed=5)
    assert rows[3]["text"] != rows[0]["text"]  # the prompt is given twice
    with pytest.raises(ValueError, match=r"texts.jsonl exists; .* --overwrite"):
        command_lines.run(generate, **shared, **files)


def test_rows_can_go_to_standard_output(pretrained_workdir, capsys, monkeypatch):
    class Standard:
        buffer = io.BytesIO(b"the boat\na cat\n")

    monkeypatch.setattr("sys.stdin", Standard)
    shared = {"checkpoint": pretrained_workdir, "max_new_tokens": 3, "num_samples": 2}
    command_lines.run(generate, prompts="-", output="-", **shared)
    shown, _ = capsys.readouterr()
    rows = [json.loads(line) for line in shown.splitlines()]
    assert [row["prompt"] for row in rows] == ["the boat"] * 2 + ["a cat"] * 2


@pytest.mark.parametrize(
    ("flags", "text", "message"),
    [
        ({}, "", "none is given; one of them is expected; give texts with --prompt"),
        ({"prompt": "a", "prompts": "FILE"}, "b", "both are given; one of them is"),
        ({"prompt": "a", "column": "b"}, "", "--column=b, but --prompts is not given"),
        ({"prompts": "FILE"}, "", "it is empty; a prompt in each line or row"),
        ({"prompts": "FILE"}, "a\n \nb", "prompt 2 is empty; a prompt in each line"),
        ({"prompts": "FILE", "column": "x"}, "a", "is plain text; a table is expected"),
    ],
)
def test_prompts_that_are_missing_or_given_twice_are_refused(
    tmp_path, flags, text, message
):
    (file := tmp_path / "given.txt").write_text(text)
    flags = {name: file if x == "FILE" else x for name, x in flags.items()}
    with pytest.raises(ValueError, match=message):
        command_lines.run(generate, checkpoint=tmp_path, **flags)


def test_every_prompt_is_continued(pretrained_workdir, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    prompts = ["the boat", "-", "once"]
    shown, _ = run(
        pretrained_workdir, capsys, prompt=prompts, temperature=0, max_new_tokens=3
    )
    model = gpt1_jax.load(pretrained_workdir)
    expected = ""
    for prompt in ("the boat", "from a pipe", "once"):
        expected += f"{prompt}{model.generate(prompt, 3, temperature=0)}\n\n"
    assert shown == expected
    with pytest.raises(ValueError, match=r"--prompt - is given 2 times; .* drop the"):
        run(pretrained_workdir, capsys, prompt=["-", "-"])
