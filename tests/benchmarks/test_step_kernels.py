"""Assigning kernels to parts of the model, and the whole benchmark on a CPU."""

import json

import pytest

from benchmarks import step_kernels
from tests.benchmarks.test_train_step import run

BLOCK = "jit(train_step)/jvp(Transformer.encode)/jit(_apply_block)/Block"
LAYER = f"{BLOCK}/mlp/in"
PROGRAM = f"""\
ENTRY %main (x: f32[4,8]) -> f32[4,8] {{
  %x = f32[4,8]{{1,0}} parameter(0), metadata={{op_name="batch.tokens_BL"}}
  %fusion.3 = f32[4,8]{{1,0}} fusion(%x), metadata={{op_name="{BLOCK}/mlp/mul"}}
  ROOT %dot.1 = f32[4,8]{{1,0}} dot(%x, %x), metadata={{op_name="{LAYER}/dot_general"}}
}}
"""


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (f"{BLOCK}/attention/qkv/dot_general", "attention's projections"),
        (f"{BLOCK}/attention/out/add", "attention's projections"),
        (f"{BLOCK}/attention/backward_kernel/call", "attention itself"),
        (f"{BLOCK}/attention/NLHK,NLHK->NHL/dot_general", "attention itself"),
        (f"{BLOCK}/mlp/out/dot_general", "MLP layers"),
        (f"{BLOCK}/mlp/mul", "GELU"),
        (f"{BLOCK}/norm_2/reduce_sum", "layer norms and residual sums"),
        (f"{BLOCK}/select_n", "residual dropout"),
        ("jit(train_step)/transpose(jvp(Transformer.encode))/embed/add", "embeddings"),
        ("jit(train_step)/jvp()/while/body/exp", "output layer and loss"),
        ("jit(train_step)/transpose(jvp())/mul", "output layer and loss"),
        ("jit(train_step)/sqrt", "gradient norm and Adam"),
        ("", "the rest"),
    ],
)
def test_the_name_of_an_operation_gives_its_part_of_the_model(source, part):
    assert step_kernels.part_of(step_kernels.Operation(source, "")) == part


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (
            '%c.1 = bf16[8] custom-call(%a), custom_call_target="__cublas$lt$matmul"',
            "",
            1,
        ),
        ("%gemm_fusion_dot.2 = bf16[8] fusion(%a), kind=kCustom", "", 1),
        ("%dot.4 = f32[8] dot(%a, %b), lhs_contracting_dims={1}", "", 1),
        ("%ynn_fusion.3 = f32[8] fusion(%a)", "Block/mlp/in/dot_general", 1),
        ("%ynn_fusion.3 = f32[8] fusion(%a)", "jvp()/reduce_sum", 0),
        ("%p.1 = bf16[8] custom-call(%a)", "attention/forward_kernel/pallas_call", 0),
        ("%input_reduce_fusion.1 = f32[8] fusion(%a)", "NLHK->NHL/dot_general", 0),
    ],
)
def test_matrix_products_are_recognised(text, source, expected):
    text = f'{text}, metadata={{op_name="{source}"}}'
    assert step_kernels.Operation(source, text).is_product == bool(expected)


def test_times_are_per_step_and_products_are_separate():
    known = step_kernels.operations(PROGRAM)
    assert list(known) == ["x", "fusion.3", "dot.1"]
    events = [("dot.1", "gemm", 0.5), ("dot.1", "gemm", 0.7), ("fusion.3", "f", 0.2)]
    found = step_kernels.by_part([*events, ("of another program", "g", 0.1)], known, 2)
    assert list(found) == ["MLP layers", "GELU", "the rest"]
    layers = found["MLP layers"]
    assert layers["seconds"] == layers["seconds_of_products"] == pytest.approx(0.6)
    assert layers["kernels"] == 1
    assert found["GELU"] == {"seconds": 0.1, "seconds_of_products": 0, "kernels": 0.5}
    assert found["the rest"]["seconds"] == 0.05


def test_the_benchmark_measures_and_writes_the_kernels_of_a_step(tmp_path):
    done = run("step_kernels", f"--output={tmp_path}/k.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "k.json").read_text())
    parts = {"attention's projections", "MLP layers", "output layer and loss"}
    assert parts <= set(found["sides"])
    total = sum(row["seconds"] for row in found["sides"].values())
    assert 0 < total < 5
    longest = found["longest"]
    assert longest[0]["seconds"] >= longest[-1]["seconds"] > 0
    assert "ms while it is traced" in done.stdout
