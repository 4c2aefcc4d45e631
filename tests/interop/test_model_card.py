"""The model card: what it tells of a head and of the tokenizer."""

import numpy as np
import pytest

from gpt1_jax.config import ModelConfig
from gpt1_jax.data.text import tokenizer_training
from gpt1_jax.interop import model_card
from gpt1_jax.interop.weights import Weights

PANGRAM = "the quick brown fox jumps over the lazy dog "


@pytest.fixture(scope="module")
def bpe():
    return tokenizer_training.train([PANGRAM * 50], 315, "bpe")


def card(directory, tokenizer, head="", **options) -> str:
    """Returns the text of a card."""
    params = {"embed/token": np.zeros((5, 2), np.float32)}
    found = Weights(params, ModelConfig(), head)
    model_card.write(
        found, directory, tokenizer=tokenizer, result={}, step=7, **options
    )
    return (directory / "README.md").read_text()


def test_both_heads_name_the_layout_of_their_input(bpe, tmp_path):
    for head in ("choice", "classes"):
        told = card(tmp_path, bpe, head, has_specials=True)
        assert "one text as `_start_ A _classify_`" in told
        assert "two as `_start_ A _delimiter_ B _classify_`" in told
        told = card(tmp_path, bpe, head)
        assert "No special tokens are added by themselves; the input must" in told
    assert "_start_" not in card(tmp_path, bpe)


def test_only_multiple_choice_names_the_position_that_it_reads(bpe, tmp_path):
    calls = {
        head: "mc_token_ids=last" in card(tmp_path, bpe, head, has_specials=True)
        for head in ("", "choice", "classes")
    }
    assert calls == {"": False, "choice": True, "classes": False}


def test_a_folder_without_a_tokenizer_loads_none(bpe, tmp_path):
    assert "import AutoTokenizer, AutoModelForCausalLM" in card(tmp_path, bpe)
    assert "AutoTokenizer" not in card(tmp_path, None)
    assert "batch = tokenizer(" not in card(tmp_path, None, "choice")
    assert "reads the tokens at `mc_token_ids`" in card(tmp_path, None, "choice")


def test_the_share_of_equal_lines_is_that_of_the_tokenizer(bpe, tmp_path):
    told = card(tmp_path, bpe)
    assert "On at least 99.9 % of the lines of novels the ids are those of" in told
    assert "omits these cleaning rules of gpt1_jax:" in told
    assert "`skip_special_tokens=True` transformers omits line breaks" in told
