"""The content of the figures: points, colours and labels."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from gpt1_jax.data.tasks.task import PaperScore
from gpt1_jax.reporting import (
    ablations,
    curves,
    figures,
    paper,
    pretraining,
    results,
    runs,
    transfer,
    zero_shot,
)
from gpt1_jax.reporting.ablations import Gain
from gpt1_jax.reporting.groups import Cell
from gpt1_jax.reporting.transfer import Transfer
from gpt1_jax.reporting.zero_shot import ZeroShot
from tests.reporting.workdirs import put


def drawn(draw, *args, **kwargs):
    """The axes that `draw` makes."""
    figure = Figure()
    draw(figure, *args, **kwargs)
    figure.canvas.draw()
    return figure.axes


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each labelled line."""
    handles, labels = axes.get_legend_handles_labels()
    found = {}
    for handle, label in zip(handles, labels, strict=True):
        line = handle[0] if isinstance(handle, tuple) else handle
        found[label] = [tuple(map(float, point)) for point in line.get_xydata()]
    return found


def test_layers_are_drawn_in_percent_with_none_apart_at_the_left():
    dev = {-2: Cell((0.25,)), 0: Cell((0.5, 0.7)), 2: Cell((0.75,)), 1: Cell((), 1)}
    study = Transfer("mnli", "matched/accuracy", 2, dev, {0: Cell((0.875,))})
    (axes,) = drawn(transfer.draw, [study])
    assert lines(axes) == {
        "the paper, MNLI-m, dev, of 12 layers": [(0, 72), (2, 82)],
        "MNLI matched, accuracy, dev": [(0, pytest.approx(60)), (2, 75)],
        "MNLI matched, accuracy, train": [(0, 87.5)],
    }
    assert axes.get_xticks().tolist() == [-1, 0, 1, 2]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", *"012"]
    points = [tuple(xy) for line in axes.lines for xy in line.get_xydata()]
    assert (-1, 25) in points


def test_zero_shot_has_a_colour_a_task_and_dashes_for_the_lstm(tmp_path):
    rows = [
        {"step": 1, "eval/sst2/normalised": 0.125, "eval/cola/normalised": 0.0},
        {"step": 100, "eval/sst2/normalised": 0.5, "eval/cola/normalised": -0.25},
    ]
    for backbone in ("transformer", "lstm"):
        fields = {"job": "zeroshot", "model.backbone": backbone}
        put(tmp_path, backbone, {}, rows, fields=fields)
    lstm, transformer = runs.read([tmp_path])[0]
    found = [ZeroShot(transformer), ZeroShot(lstm)]
    (axes,) = drawn(zero_shot.draw, found)
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [1, 100]
    by_label = {line.get_label(): line for line in axes.lines}
    solid = by_label["sentiment (SST-2), Transformer"]
    dashed = by_label["sentiment (SST-2), LSTM"]
    other = by_label["acceptability (CoLA), Transformer"]
    assert solid.get_xydata().tolist() == [[1, 0.125], [100, 0.5]]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_color() == dashed.get_color() != other.get_color()
    edge = {
        line.get_color(): line.get_ydata()[0]
        for line in axes.lines
        if list(line.get_xdata()) == [1.0] and line.get_marker() == "<"
    }
    assert edge == {solid.get_color(): 0.68, other.get_color(): 0.43}


def test_labels_of_steps_keep_apart_from_the_last_on():
    assert zero_shot._separate({0, 1, 2, 10, 11, 12, 100}) == [1, 2, 12, 100]


def test_gains_are_over_the_size_of_the_training_set():
    found = [
        Gain("rte", 2490, 1.6, {"4 epochs": 7.0}),
        Gain("mnli", 392702, 0.7, {"8 epochs": -2.0}),
    ]
    (axes,) = drawn(ablations.draw_gains, found)
    assert axes.get_xscale() == "log"
    assert lines(axes) == {
        "the paper, test": [(2490, 1.6), (392702, 0.7)],
        "ours, 4 epochs, dev": [(2490, 7.0)],
        "ours, 8 epochs, dev": [(392702, -2.0)],
    }


def test_the_overview_is_in_percent_the_first_result_on_top():
    rows = [
        ("first", PaperScore("accuracy", 56.0, "", 61.7, "x"), Cell((0.25, 0.5))),
        ("second", PaperScore("f1", 82.3, "", 86.0, "y"), Cell()),
    ]
    (axes,) = drawn(results.draw_overview, rows)
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert points["the paper"] == [[56.0, 1], [82.3, 0]]
    assert points["best earlier system"] == [[61.7, 1], [86.0, 0]]
    assert [37.5, 1] in [xy for line in axes.lines for xy in line.get_xydata().tolist()]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


def test_pretraining_is_over_tokens_and_held_out_loss_is_points(tmp_path):
    rows = [
        {"step": 1000, "train/loss": 7.0},
        {"step": 2000, "train/loss": 5.0, "eval/loss": 6.0},
    ]
    fields = {"train.batch_size": 10, "model.context_length": 100}
    put(tmp_path, "run", {}, rows, fields=fields)
    (axes,) = drawn(pretraining.draw, runs.read([tmp_path])[0])
    assert lines(axes) == {"run": [(1, 7), (2, 5)], "held-out": [(2, 6)]}


def test_each_task_has_a_panel_and_each_variant_one_colour():
    full, lstm = (paper.FULL, ""), (paper.LSTM, "")
    panels = {
        "RTE": {full: [([1, 2], [3.0, 5.0])], lstm: [([1, 2], [7.0, 11.0])]},
        "CoLA": {lstm: [([1, 2], [13.0, 17.0]), ([1, 2], [19.0, 23.0])]},
    }
    first, second = drawn(curves.draw, panels, "loss", is_smooth=True)
    assert [
        axes.get_title(loc="center") or axes.get_title(loc="left")
        for axes in (first, second)
    ] == ["RTE", "CoLA"]
    assert [line.get_ydata().tolist() for line in second.lines] == [[13, 17], [19, 23]]
    assert second.lines[0].get_color() == first.lines[1].get_color()
    assert first.lines[0].get_color() != first.lines[1].get_color()
    # A figure without the full model gives the LSTM the same colour.
    (alone,) = drawn(curves.draw, {"CoLA": panels["CoLA"]}, "", is_smooth=True)
    assert alone.lines[0].get_color() == first.lines[1].get_color()
    assert len(set(figures.COLORS.values())) == len(paper.ABLATIONS)


def test_pretraining_has_the_colours_of_the_variants(tmp_path):
    rows = [{"step": step, "train/loss": 7.0 / step} for step in (1, 2)]
    for name in ("first", "lstm", "second"):
        fields = {"model.backbone": "lstm" if name == "lstm" else "transformer"}
        put(tmp_path, name, {}, rows, fields=fields)
    (axes,) = drawn(pretraining.draw, runs.read([tmp_path])[0])
    by_label = {line.get_label(): line for line in axes.lines}
    first, lstm, second = (by_label[name] for name in ("first", "lstm", "second"))
    assert first.get_color() == second.get_color() == figures.COLORS[paper.FULL]
    assert first.get_linestyle() != second.get_linestyle()
    assert lstm.get_color() == figures.COLORS[paper.LSTM]


def test_smoothing_pads_nothing():
    steps, values = figures.smoothed(range(40), np.arange(40.0) ** 2)
    assert list(steps) == list(range(1, 39))
    # The mean of (n - 1)^2, n^2, (n + 1)^2.
    np.testing.assert_allclose(values, np.arange(1, 39.0) ** 2 + 2 / 3)


def test_a_synthetic_figure_has_its_mark_and_a_figure_is_a_function_of_its_data():
    def draw(figure):
        figure.subplots().plot([1, 2], [3, 5])

    plain = figures.Picture("name", "title", "caption", draw)
    marked = dataclasses.replace(plain, is_synthetic=True)
    assert plain.png.startswith(b"\x89PNG\r\n")
    assert plain.png != marked.png
    assert dataclasses.replace(plain).png == plain.png


def test_a_long_label_of_a_legend_is_wrapped():
    figure = Figure()
    label = "peak learning rate 1e-4, " * 4
    figure.subplots().plot([1], [2], label=label)
    figures.legend_below(figure)
    (text,) = figure.legends[0].get_texts()
    assert " ".join(text.get_text().split()) == label.strip()
    assert max(map(len, text.get_text().split("\n"))) <= 48
