"""The order in which results are dispatched and read."""

import pytest

from gpt1_jax.distributed.pipeline import pipelined


@pytest.mark.parametrize("num_results", [0, 1, 2, 5])
def test_each_result_is_read_after_the_next_is_dispatched(num_results):
    events = []

    def dispatch():
        for number in range(num_results):
            events.append(("dispatched", number))
            yield number

    for number in pipelined(dispatch()):
        events.append(("read", number))
    assert [number for kind, number in events if kind == "read"] == list(
        range(num_results)
    )
    for number in range(num_results - 1):
        read = events.index(("read", number))
        assert events[read - 1] == ("dispatched", number + 1)
