"""Zero-shot heuristics with made-up log-probabilities, and their job."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from gpt1_jax.data import cached
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.evaluation import zeroshot
from gpt1_jax.jobs import zeroshot as job
from tests.event_files import texts_in


def encode(text: str) -> np.ndarray:
    """Returns a token per word: its length, plus 1 if it contains a p."""
    return np.array([len(word) + ("p" in word) for word in text.split()], np.uint32)


def by_letters(texts):
    """Returns as log-probabilities the negative tokens, without the first."""
    return [-text[1:].astype(np.float64) for text in texts]


def score(task, *examples, context_length=99):
    heuristic = zeroshot.named(task)
    candidates = [heuristic.candidates(example, encode) for example in examples]
    return zeroshot.scores(heuristic, candidates, by_letters, context_length)


def test_sentiment_is_the_likelier_word_after_very():
    example = Example(("a film",), 1)
    heuristic = zeroshot.named("sst2")
    negative, positive = heuristic.candidates(example, encode)
    np.testing.assert_array_equal(negative.given, encode("a film very"))
    np.testing.assert_array_equal(positive.given, negative.given)
    assert (negative.scored.tolist(), positive.scored.tolist()) == ([8], [9])
    (sums,) = zeroshot.scores(heuristic, [[negative, positive]], by_letters, 99)
    assert zeroshot.answers(heuristic, sums[None], 0.0) == [0]
    assert TASKS["sst2"].classes == ("negative", "positive")
    # A word of several tokens has the product of their probabilities.
    pieces = lambda text: np.array([2] * len(text), np.uint32)  # noqa: E731
    candidates = [heuristic.candidates(example, pieces)]
    (sums,) = zeroshot.scores(heuristic, candidates, by_letters, 99)
    np.testing.assert_array_equal(sums, [-2 * 8, -2 * 8])


def test_acceptability_is_the_mean_over_tokens_but_the_first():
    found = score("cola", Example(("aaaa b cc ddd",), 1), Example(("one",), 0))
    np.testing.assert_allclose(found, [[-2.0], [-np.inf]])


def test_answers_are_scored_by_their_mean_after_document_and_question():
    example = Example(("a bb", "ccc", "dddd e"), 0, context="the text", question="what")
    candidates = zeroshot.named("race").candidates(example, encode)
    np.testing.assert_array_equal(candidates[0].given, encode("the text what"))
    np.testing.assert_allclose(score("race", example), [[-1.5, -3.0, -2.5]])


def test_referents_replace_the_pronoun_and_the_rest_is_scored():
    example = Example(
        ("the city", "Ann"), 0, context="theit told us that it fell .", question="it"
    )
    first, second = zeroshot.named("dpr").candidates(example, lambda text: text)
    assert first == ("theit told us that the city", " fell .")
    assert second == ("theit told us that Ann", " fell .")
    wrong = Example(("a", "b"), 0, context="nothing", question="it")
    with pytest.raises(
        ValueError, match=r"'nothing' does not contain 'it'; the pronoun"
    ):
        score("dpr", wrong)


@pytest.mark.parametrize(("context_length", "kept"), [(99, 6), (5, 5), (3, 3), (1, 2)])
def test_the_given_text_is_cut_on_the_left(context_length, kept):
    seen = []

    def spy(texts):
        seen.extend(texts)
        return by_letters(texts)

    example = Example(("ee ff",), 0, context="a b", question="cc ddd")
    heuristic = zeroshot.named("race")
    candidates = [heuristic.candidates(example, encode)]
    zeroshot.scores(heuristic, candidates, spy, context_length)
    whole = encode("a b cc ddd ee ff")
    np.testing.assert_array_equal(seen[0], whole[-kept:])


def test_cut_texts_and_texts_with_nothing_to_score_are_counted():
    heuristic = zeroshot.named("cola")
    texts = [Example((text,), 1) for text in ("one", "a b c", "a b c d")]
    candidates = [heuristic.candidates(example, encode) for example in texts]
    assert zeroshot.describe(candidates, 3) == (
        "1 of 3 texts cut on the left, 1 with nothing to score"
    )
    assert zeroshot.describe(candidates[1:2], 3) == ""


def test_the_threshold_is_the_best_possible():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 2, 30)
        scores = np.round(rng.normal(size=30) + labels, 1)  # with ties
        threshold = zeroshot.best_threshold(scores, labels)
        assert not (scores == threshold).any()
        cuts = (np.unique(scores)[1:] + np.unique(scores)[:-1]) / 2
        best = max(matthews_corrcoef(labels, scores > cut) for cut in cuts)
        found = matthews_corrcoef(labels, scores > threshold)
        assert found == pytest.approx(best, abs=1e-12)
        assert best > 0
    assert zeroshot.best_threshold(np.array([2.0, 2.0]), [0, 1]) == 2.0


def test_the_scale_runs_from_chance_to_the_reference():
    for heuristic in zeroshot.HEURISTICS:
        assert heuristic.normalised(heuristic.chance) == 0
        assert heuristic.normalised(heuristic.reference) == pytest.approx(1)
    with pytest.raises(
        ValueError, match=r"'rte' has no zero-shot heuristic; sst2, dpr"
    ):
        zeroshot.named("rte")


def test_every_checkpoint_has_a_row_and_none_is_scored_twice(
    pretrained_workdir, make_config, tmp_path, capsys, monkeypatch
):
    config = make_config(job="zeroshot", init__path=str(pretrained_workdir))
    tables, row = [], job._Scorer.row

    def spy(self, params):
        tables.append(np.asarray(params["embed"]["token"]))
        return row(self, params)

    monkeypatch.setattr(job._Scorer, "row", spy)
    result = job.run(config, tmp_path / "run")
    path = tmp_path / "run/metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    names = {
        f"eval/{h.task}/{name}"
        for h in zeroshot.HEURISTICS
        for name in (h.metric, "normalised")
    }
    assert set(rows[0]) == {"step", *names}
    assert result["metrics"] == {n: x for n, x in rows[1].items() if n != "step"}
    assert len(tables) == 2
    assert np.any(tables[0] != tables[1])
    assert "dpr test: 160 examples" in capsys.readouterr().out
    before = path.read_bytes()
    written = json.loads((tmp_path / "run/config.json").read_text())
    assert written["model"]["num_layers"] == 1  # the size of the model, not the default
    assert written["data"]["task_dir"] == "storyworld"

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(job.zeroshot, "scores", fail)
    assert job.run(config, tmp_path / "run")["metrics"] == result["metrics"]
    assert path.read_bytes() == before
    ((_, shown),) = texts_in(tmp_path / "run", "config")
    assert '| job | `"zeroshot"` |' in shown

    # Other weights at the same steps need new scores.
    monkeypatch.undo()
    monkeypatch.setattr(job.model_store, "identity", lambda path: f"another {path}")
    job.run(config, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert "has scores of other checkpoints: all are scored again" in said
    assert path.read_bytes() == before


def test_a_model_of_step_0_keeps_one_row_when_it_is_scored_anew(
    pretrained_workdir, make_config, tmp_path, monkeypatch
):
    checkpoints = {0: pretrained_workdir / "checkpoints/3"}
    monkeypatch.setattr(job.model_store, "steps", lambda path: checkpoints)
    config = make_config(
        job="zeroshot", task__name="sst2", init__path=str(pretrained_workdir)
    )
    for weights in ("some", "other", "third"):
        monkeypatch.setattr(job.model_store, "identity", lambda _, name=weights: name)
        job.run(config, tmp_path / "run")
        rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == [0]


def test_tasks_without_files_are_left_out_and_scored_once_they_are_there(
    pretrained_workdir, make_config, tmp_path, capsys
):
    whole = cached.storyworld_tasks(make_config().data)
    task_dir = tmp_path / "data"
    (task_dir / "CoLA").mkdir(parents=True)
    shutil.copy(whole / "CoLA/dev.tsv", task_dir / "CoLA")
    config = make_config(
        job="zeroshot",
        init__path=str(pretrained_workdir / "checkpoints/6"),
        data__task_dir=str(task_dir),
    )
    # CoLA's threshold needs its training data.
    with pytest.raises(FileNotFoundError, match=r"has no files of sst2, dpr, co"):
        job.run(config, tmp_path / "run")
    shutil.copytree(whole / "SST-2", task_dir / "SST-2")
    result = job.run(config, tmp_path / "run")
    assert set(result["metrics"]) == {"eval/sst2/accuracy", "eval/sst2/normalised"}
    assert "no files of dpr, cola, race: left out" in said(capsys)
    shutil.copytree(whole / "DPR", task_dir / "DPR")
    again = job.run(config, tmp_path / "run")
    assert "has scores of other tasks: all are scored again" in said(capsys)
    assert again["metrics"].items() > result["metrics"].items()
    assert "eval/dpr/accuracy" in again["metrics"]


def said(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_inputs_that_cannot_be_scored_are_refused(
    pretrained_workdir, make_config, tmp_path
):
    with pytest.raises(ValueError, match=r"init.path=none; a pre-trained workdir"):
        job.run(make_config(job="zeroshot"), tmp_path / "run")
    config = make_config(
        job="zeroshot", task__name="rte", init__path=str(pretrained_workdir)
    )
    with pytest.raises(ValueError, match=r"task 'rte' has no zero-shot heuristic"):
        job.run(config, tmp_path / "run")
