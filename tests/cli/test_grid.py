"""The cells of a sweep, and the table of their results."""

import pytest

from gpt1_jax.cli import grid
from gpt1_jax.cli.grid import Cell, Outcome
from gpt1_jax.config import FIELDS, RunConfig

AXES = {
    "seed": {"0": {"seed": 0}, "1": {"seed": 1}},
    "variant": {"full": {}, "no text": {"task.lm_coef": 0.0, "init.num_layers": -2}},
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=0,1", {"0": {"seed": 0}, "1": {"seed": 1}}),
        ("config.train.remat=true", {"true": {"train.remat": True}}),
        ("task.name=rte, cola", {n: {"task.name": n} for n in ("rte", "cola")}),
        ("optim.peak_learning_rate=1e-3", {"1e-3": {"optim.peak_learning_rate": 1e-3}}),
        ("train.keep_at_steps=5+7", {"5+7": {"train.keep_at_steps": (5, 7)}}),
    ],
)
def test_an_axis_has_a_field_and_its_values(text, values):
    name, found = grid.parse_axis(text)
    assert name == text.partition("=")[0].removeprefix("config.")
    assert found == values
    for fields in found.values():
        for path, value in fields.items():
            assert type(value) is type(FIELDS[path].default)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "--axis=seed; a field and its values are expected"),
        ("seed=", "--axis=seed=; a field and its values are expected"),
        ("seed=1,1", "a value is given twice"),
        ("seed=1,x", "config.seed='x'; an integer is expected"),
        ("train.remat=maybe", "config.train.remat='maybe'; a boolean is expected"),
        ("model.widht=3", "unknown config field model.widht; did you mean model.wi"),
        ("nothing_like=3", "unknown config field nothing_like; "),
    ],
)
def test_an_invalid_axis_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        grid.parse_axis(text)


def test_a_second_axis_for_a_field_is_refused():
    axes = grid.parse_axes(["seed=0", "train.remat=true"])
    assert list(axes) == ["seed", "train.remat"]
    with pytest.raises(
        ValueError, match=r"--axis=config.seed=1, but seed has an axis alr"
    ):
        grid.parse_axes(["seed=0", "config.seed=1"])


def test_cells_are_all_combinations_and_the_last_axis_varies_fastest():
    cells = grid.cells(AXES)
    assert [cell.directory for cell in cells] == [
        "seed=0,variant=full",
        "seed=0,variant=no_20text",
        "seed=1,variant=full",
        "seed=1,variant=no_20text",
    ]
    config = grid.config_of(RunConfig(), cells[3])
    assert (config.seed, config.task.lm_coef, config.init.num_layers) == (1, 0.0, -2)
    assert grid.config_of(RunConfig(), cells[0]) == RunConfig()
    assert grid.cells({"seed": {}}) == []
    for path in ("model.widht", "modle.width", "sead"):
        with pytest.raises(ValueError, match=r"unknown config field "):
            grid.config_of(RunConfig(), Cell({}, {path: 1}))


def test_an_experiments_axes_may_be_lists():
    assert grid.of_experiment({"seed": [0, 1], "variant": AXES["variant"]}) == AXES


def test_shares_are_disjoint_and_cover_all():
    shares = [list(grid.share(7, f"{n}/3")) for n in (1, 2, 3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(grid.share(3, "")) == [0, 1, 2]
    for only in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(ValueError, match=f"--only={only}; I/N"):
            grid.share(7, only)


def outcomes():
    done = [
        Outcome("done", {"eval/accuracy": value, "best_step": 7}, 2.5)
        for value in (0.5, 0.25, 0.75)
    ]
    return [done[0], Outcome("failed: too, much", {}), done[1], done[2]]


def test_the_table_has_medians_over_seeds_and_counts_missing_runs():
    axes = {"task.name": {"rte": {}, "cola": {}}, "seed": AXES["seed"]}
    table = grid.to_table(grid.cells(axes), outcomes(), ["eval/accuracy", "eval/f1"])
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows == [
        "task.name runs accuracy f1",
        "rte 1 of 2 0.5000 -",
        "cola 2 of 2 0.5000 (0.2500 to 0.7500) -",
    ]
    nothing = [Outcome("not run", {})] * 4
    table = grid.to_table(grid.cells(axes), nothing, ["eval/accuracy"])
    assert table.splitlines()[1].split() == ["rte", "0", "of", "2", "not", "run"]


def test_the_csv_has_a_row_for_each_cell():
    text = grid.to_csv(grid.cells(AXES), outcomes())
    assert text.splitlines() == [
        "seed,variant,status,seconds,best_step,eval/accuracy",
        "0,full,done,2.5,7,0.5",
        '0,no text,"failed: too, much",0.0,,',
        "1,full,done,2.5,7,0.25",
        "1,no text,done,2.5,7,0.75",
    ]
