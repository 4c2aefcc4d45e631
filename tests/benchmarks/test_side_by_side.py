"""The shared parts of the benchmarks: rounds, medians, ratios, tables, JSON."""

import json
import types

import pytest
from absl import flags

from benchmarks import side_by_side, steps
from gpt1_jax.config import ModelConfig
from gpt1_jax.errors import RunFailed, UserError


def define(tmp_path, *arguments, **settings) -> side_by_side.Comparison:
    values = flags.FlagValues()
    found = side_by_side.define("demo", values, ("ours", "theirs", "rare"), **settings)
    values(["demo", f"--output={tmp_path / 'demo.json'}", *arguments])
    return found


@pytest.fixture
def started(monkeypatch):
    """The sides whose processes were started; these print 1, 2, 3, ... seconds."""
    sides = []

    def run(command, env, **_):
        side = command[-1].removeprefix("--side=")
        sides.append((command[1:3], side, env["ONLY_FOR_SIDES"]))
        line = json.dumps({"seconds": float(len(sides))})
        code = 9 if side == "rare" else 0
        return types.SimpleNamespace(returncode=code, stdout=f"a note\n{line}\n")

    monkeypatch.setattr(side_by_side.subprocess, "run", run)
    return sides


def measure(comparison) -> side_by_side.Rounds:
    measures = side_by_side.in_processes(comparison, {"ONLY_FOR_SIDES": "x"})
    return side_by_side.run_rounds(comparison, measures, lambda run: "shown")


def test_sides_take_turns_in_separate_processes(started, tmp_path):
    comparison = define(tmp_path, "--rounds=2", "--sides=ours,theirs")
    rounds = measure(comparison)
    module = ["-m", "benchmarks.demo"]
    assert started == [(module, side, "x") for side in ("ours", "theirs") * 2]
    assert rounds == {
        "ours": [{"seconds": 1.0}, {"seconds": 3.0}],
        "theirs": [{"seconds": 2.0}, {"seconds": 4.0}],
    }


def test_the_default_is_five_rounds_of_the_default_sides(started, tmp_path):
    measure(define(tmp_path, default=("ours", "theirs")))
    assert [side for _, side, _ in started] == ["ours", "theirs"] * 5


@pytest.mark.parametrize("sides", ["theirs,ours", "ours,others"])
def test_sides_that_cannot_be_compared_are_refused(tmp_path, sides):
    comparison = define(tmp_path, f"--sides={sides}")
    message = f"--sides={sides}; ours, and any of theirs, rare; name these, ours first"
    with pytest.raises(UserError, match=message):
        measure(comparison)


def test_a_side_that_fails_ends_the_comparison(started, tmp_path):
    with pytest.raises(RunFailed, match="the side rare ended with exit code 9; 0 is"):
        measure(define(tmp_path))


def test_ratios_compare_medians_and_their_range_covers_the_rounds():
    rounds = {
        "ours": [{"seconds": s} for s in (2.0, 10.0, 4.0)],
        "theirs": [{"seconds": s} for s in (6.0, 5.0, 14.0)],
    }
    sides = side_by_side.summary(rounds)
    assert sides["ours"]["median_seconds"] == 4.0
    assert sides["theirs"]["min_seconds"] == 5.0
    assert sides["theirs"]["over_first"] == 1.5
    assert sides["theirs"]["over_first_rounds"] == [3.0, 0.5, 3.5]
    assert side_by_side.ratio(sides["theirs"]) == "1.50 (0.50 to 3.50)"


def test_the_table_is_aligned_markdown():
    rows = {"ours": {"seconds": 1.04}, "theirs": {"seconds": 9.51}}
    columns = {"s": lambda row: f"{row['seconds']:.1f}"}
    assert side_by_side.table(rows, columns).splitlines() == [
        "| side   |   s |",
        "|--------|----:|",
        "| ours   | 1.0 |",
        "| theirs | 9.5 |",
    ]


def test_the_json_file_has_command_machine_and_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(side_by_side.sys, "argv", ["demo", "--rounds=3"])
    comparison = define(tmp_path, "--rounds=3")
    sides = side_by_side.summary({"ours": [{"seconds": 7.0}]})
    side_by_side.publish(comparison, sides, {"over": side_by_side.ratio}, extra=13)
    found = json.loads((tmp_path / "demo.json").read_text())
    assert found["command"] == "python -m benchmarks.demo --rounds=3"
    assert (found["benchmark"], found["rounds"], found["extra"]) == ("demo", 3, 13)
    assert found["sides"]["ours"]["median_seconds"] == 7.0
    assert found["machine"]["cpu"]
    assert found["machine"]["cores"] >= 1
    assert {"jax", "jaxlib", "numpy"} <= found["versions"].keys()
    assert found["commit"]
    assert found["date"] >= "2026"
    printed = capsys.readouterr().out
    assert "| ours | 1.00 (1.00 to 1.00) |" in printed
    assert found["versions"]["jax"] in printed


def test_a_token_of_the_papers_model_takes_753_megaflop():
    blocks, output, attention = 84_934_656, 40_478 * 768, 12 * 12 * 512 * 768
    found = steps.flop_per_token(ModelConfig(), 40_478)
    assert found == 6 * (blocks + output) + attention
