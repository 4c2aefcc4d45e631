import numpy as np
import pytest

from gpt1_jax.data.text import tokenizer_training
from gpt1_jax.inference.continuation import Continuation, common_prefix_length

TEXT = "The old boat. Café\n\n  naïve — x\nAnd the river.\n\U0001f600 rivers\n" * 30


@pytest.mark.parametrize("kind", ["sentencepiece", "bpe"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_text_that_grows_over_lines_is_the_text_of_all_ids(kind, lowercase):
    tokenizer = tokenizer_training.train([TEXT], 320, kind, lowercase=lowercase)
    random = np.random.default_rng(1)
    for _ in range(40):
        ids = random.integers(tokenizer.vocab_size, size=29)
        ids[random.random(29) < 0.2] = tokenizer.newline_id
        num_prompt = int(random.integers(1, 28))
        continuation = Continuation(tokenizer, ids[:num_prompt])
        shown, place = "", num_prompt
        while place < len(ids):
            count = int(random.integers(1, 6))
            shown += continuation.add(ids[place : place + count])
            place += count
        shown += continuation.rest()
        before, whole = tokenizer.decode(ids[:num_prompt]), tokenizer.decode(ids)
        assert continuation.text == whole[common_prefix_length(before, whole) :]
        assert shown == continuation.text


def test_a_finished_line_is_decoded_once(monkeypatch):
    tokenizer = tokenizer_training.train([TEXT], 320)
    ids = tokenizer.encode(TEXT)
    continuation, decoded = Continuation(tokenizer, ids[:3]), []
    decode = tokenizer.decode
    monkeypatch.setattr(
        tokenizer, "decode", lambda ids: decoded.append(len(ids)) or decode(ids)
    )
    for token in ids[3:]:
        continuation.add(np.array([token]))
    assert max(decoded) < 40 < len(ids)
