import dataclasses

from matplotlib.figure import Figure

from gpt1_jax.evaluation import zeroshot
from gpt1_jax.reporting import runs, zero_shot
from tests.reporting.workdirs import put

FIELDS = {
    "job": "zeroshot",
    "data.task_dir": "/data/glue",
    "init.path": "runs/pretrain",
}
# SST-2: guessing .5, the best earlier model .932; 1 is 0.432 above guessing.
ROWS = [
    {"step": 10, "eval/sst2/accuracy": 0.5, "eval/sst2/normalised": 0.0},
    {"step": 300, "eval/sst2/accuracy": 0.608, "eval/sst2/normalised": 0.25},
]
METRICS = {"eval/sst2/accuracy": 0.608, "eval/sst2/normalised": 0.25}


def found_in(root):
    found, _, _ = runs.read([root])
    return zero_shot.zero_shots(found)


def test_a_curve_has_a_point_for_each_checkpoint(tmp_path):
    put(tmp_path, "a", METRICS, ROWS, fields=FIELDS)
    lstm = FIELDS | {"model.backbone": "lstm", "init.path": "runs/pretrain-lstm"}
    put(tmp_path, "b", METRICS, ROWS[:1], fields=lstm)
    put(tmp_path, "c", {}, fields={"job": "pretrain"})
    transformer, other = found_in(tmp_path)
    assert transformer.tasks() == ["sst2"]
    assert transformer.curve("sst2") == ([10, 300], [0.0, 0.25])
    assert (transformer.is_lstm, other.is_lstm) == (False, True)
    assert (transformer.model, other.model) == ("Transformer", "LSTM")


def test_two_models_of_one_backbone_are_told_apart(tmp_path):
    for name in "ab":
        fields = FIELDS | {"init.path": f"runs/{name}"}
        put(tmp_path, name, METRICS, ROWS, fields=fields)
    first, second = found_in(tmp_path)
    assert (first.model, second.model) == ("Transformer, a", "Transformer, b")


def test_the_table_has_raw_scores_of_the_last_checkpoint(tmp_path):
    put(tmp_path, "a", METRICS, ROWS, fields=FIELDS)
    found = zero_shot.table(found_in(tmp_path))
    assert found.rows == [
        [
            *("sentiment (SST-2)", "Transformer", "300"),
            *("60.8", "50.0", "93.2", "0.25", "0.68"),
        ]
    ]


def test_without_runs_the_papers_ends_are_shown():
    found = zero_shot.table([])
    assert [row[-1] for row in found.missing] == ["0.68", "0.55", "0.43", "0.25"]
    assert {cell for row in found.missing for cell in row[1:-1]} == {"not run"}
    assert not found.was_run


def test_a_fifth_heuristic_is_one_row(tmp_path, monkeypatch):
    """The paper does not have it; the report shows it all the same."""
    sst2 = zeroshot.named("sst2")
    fifth = dataclasses.replace(sst2, task="rte", title="fifth", paper_last=None)
    monkeypatch.setattr(zeroshot, "HEURISTICS", (*zeroshot.HEURISTICS, fifth))
    rows = [{"step": 3, "eval/rte/accuracy": 0.608, "eval/rte/normalised": 0.25}]
    put(tmp_path, "a", {}, rows, fields=FIELDS)
    found = found_in(tmp_path)
    (row,) = zero_shot.table(found).rows
    assert (row[0], row[3], row[-1]) == ("fifth", "60.8", "–")
    figure = Figure()
    zero_shot.draw(figure, found)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert "fifth, Transformer" in labels
