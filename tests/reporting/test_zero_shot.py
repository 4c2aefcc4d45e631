import dataclasses

from matplotlib.figure import Figure

from gpt1_jax.evaluation import zeroshot
from gpt1_jax.reporting import drawings, runs, zero_shot
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
    assert (transformer.backbone, other.backbone) == ("transformer", "lstm")
    assert (transformer.label, other.label) == ("", "")


def test_two_models_of_one_backbone_are_told_apart(tmp_path):
    for name in "ab":
        fields = FIELDS | {"init.path": f"runs/{name}"}
        put(tmp_path, name, METRICS, ROWS, fields=fields)
    first, second = found_in(tmp_path)
    assert (first.label, first.differs) == ("A", "run=a, init.path=runs/a")
    assert (second.label, second.differs) == ("B", "run=b, init.path=runs/b")


def test_the_table_has_raw_scores_of_the_last_checkpoint(tmp_path):
    put(tmp_path, "a", METRICS, ROWS, fields=FIELDS)
    found = zero_shot.table(found_in(tmp_path), is_synthetic=False)
    assert found.rows == [
        [
            *("sentiment (SST-2)", "Transformer", "300"),
            *("60.8", "50.0", "93.2", "0.25", "0.68"),
        ]
    ]


def test_without_runs_the_papers_ends_are_shown():
    found = zero_shot.table([], is_synthetic=False)
    assert [row[-1] for row in found.rows] == ["0.68", "0.55", "0.43", "0.25"]
    assert {cell for row in found.rows for cell in row[1:-1]} == {"not run"}


def test_a_fifth_heuristic_is_reported_without_an_end_in_the_paper(
    tmp_path, monkeypatch
):
    fifth = dataclasses.replace(zeroshot.named("cola"), task="tone", metric="accuracy")
    heuristics = (*zeroshot.HEURISTICS, fifth)
    monkeypatch.setattr(zeroshot, "HEURISTICS", heuristics)
    row = {"step": 10, "eval/tone/accuracy": 0.25, "eval/tone/normalised": 0.5}
    put(tmp_path, "a", {}, [ROWS[0] | row], fields=FIELDS)
    found = found_in(tmp_path)
    table = zero_shot.table(found, is_synthetic=False)
    assert [(cells[0], cells[3], cells[-1]) for cells in table.rows] == [
        ("sentiment (SST-2)", "50.0", "0.68"),
        ("tone", "25.0", "–"),
    ]
    figure = Figure()
    drawings.zero_shot(figure, found)
    colors = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert colors["tone, Transformer"] == "C4"
    assert zero_shot.table([], is_synthetic=False).rows[-1][-1] == "–"
