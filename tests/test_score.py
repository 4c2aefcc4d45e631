"""The command score."""

import functools
import json
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
    with pytest.raises(ValueError, match=r"given: line 1: byte 0xff is not UTF-8"):
        run(pretrained_workdir, b"the \xff")
    with pytest.raises(FileNotFoundError, match="no file nowhere; a file is exp"):
        run_command(score, checkpoint="a", input="nowhere", output="b")


def test_a_column_of_a_table_is_scored(pretrained_workdir, run_command, tmp_path):
    given, output = tmp_path / "given.csv", tmp_path / "out.jsonl"
    given.write_text('id,Text,other\n1,"the boat, too",a\n2,it sank,b\n')

    def score_column(**flags):
        flags |= {"checkpoint": pretrained_workdir, "input": given, "output": output}
        run_command(score, **flags)
        rows = map(json.loads, output.read_text().splitlines())
        return [row["text"] for row in rows]

    assert score_column() == ["the boat, too", "it sank"]
    assert score_column(column="other", overwrite=True) == ["a", "b"]
    with pytest.raises(ValueError, match=r"no column 'txt'; its .* choose one of them"):
        score_column(column="txt", overwrite=True)
    given = tmp_path / "given.txt"
    given.write_text("a text\n")
    with pytest.raises(ValueError, match=r"--column=text, but .* is plain text"):
        score_column(column="text", overwrite=True)
