"""The command score."""

import functools
import math
import re

import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import score


@pytest.fixture
def run(run_on_text):
    """(workdir, text) -> the rows that the command writes for a file with `text`."""
    return functools.partial(run_on_text, score)


def test_each_line_gives_a_row_and_the_perplexity_covers_all_lines(
    pretrained_workdir, run, capsys
):
    long = "the boat sank . " * 60  # longer than the context
    text = f"The boat.\n\nit\u2028was\n{long}\n"
    rows = run(pretrained_workdir, text.encode())
    assert [row["text"] for row in rows] == ["The boat.", "", "it\u2028was", long]
    model = gpt1_jax.load(pretrained_workdir)
    for row in rows:
        assert set(row) == {"text", "tokens", "logprobs"}
        assert row["tokens"] == model.tokenizer.encode(row["text"]).tolist()
        assert len(row["logprobs"]) == max(0, len(row["tokens"]) - 1)
    assert len(rows[-1]["tokens"]) > model.config.model.context_length
    logps = np.concatenate([row["logprobs"] for row in rows])
    said = capsys.readouterr().out
    perplexity = float(re.search(r"perplexity ([0-9.]+)", said)[1])
    assert perplexity == pytest.approx(math.exp(-logps.mean()), rel=1e-4)
    assert f"{len(logps):,} predicted tokens" in said


@pytest.mark.parametrize("text", ["", "\n"])
def test_empty_input_has_no_perplexity(text, pretrained_workdir, run, capsys):
    rows = run(pretrained_workdir, text.encode())
    assert len(rows) == len(text)
    assert "no line has two tokens" in capsys.readouterr().out


def test_input_that_is_not_text_is_refused(pretrained_workdir, run, run_command):
    with pytest.raises(ValueError, match=r"given: byte 4 \(0xff\) is not UTF-8"):
        run(pretrained_workdir, b"the \xff")
    with pytest.raises(FileNotFoundError, match="no file nowhere; a text file is exp"):
        run_command(score, checkpoint="a", input="nowhere", output="b")
