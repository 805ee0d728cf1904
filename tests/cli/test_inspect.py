from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.checkpoint.hub_stand_in import serve
from tests.helpers import write_checkpoint
from toolkit.cli.inspect import command
from toolkit.errors import CheckpointError

CONFIG = {"architectures": ["MadeUpForCausalLM"]}
SAMPLE = """\
samples/tiny-gpt-oss/nvfp4: GptOssForCausalLM, 6,357,048 parameters
  weights       213 tensors, 4,765,584 bytes, 3 shards
  quantisation  NVFP4, group size 16, by modelopt 0.37.0
  excluded      lm_head
  KV cache      not quantised
  tokenizer     tokenizer.json

  module                                   format      shape  count  parameters      bytes
  model.layers.*.mlp.experts.down_proj     nvfp4   8×160×192      6   1,483,776    847,920
  model.layers.*.mlp.experts.gate_up_proj  nvfp4   8×192×320      6   2,964,480  1,689,648
  model.layers.*.self_attn.k_proj          nvfp4      96×192      6     111,168     63,408
  model.layers.*.self_attn.o_proj          nvfp4     192×384      6     443,520    251,184
  model.layers.*.self_attn.q_proj          nvfp4     384×192      6     444,672    253,488
  model.layers.*.self_attn.v_proj          nvfp4      96×192      6     111,168     63,408
  model.embed_tokens                       bf16     2048×192      1     393,216    786,432
  model.layers.*.input_layernorm           bf16          192      6       1,152      2,304
  model.layers.*.mlp.router                bf16        8×192      6       9,264     18,528
  model.layers.*.post_attention_layernorm  bf16          192      6       1,152      2,304
  model.layers.*.self_attn.sinks           bf16           12      6          72        144
  lm_head                                  bf16     2048×192      1     393,216    786,432
  model.norm                               bf16          192      1         192        384

  dtype    tensors   elements      bytes
  U8            36  2,764,800  2,764,800
  BF16          69    827,448  1,654,896
  F8_E4M3       36    345,600    345,600
  F32           72         72        288

"""
DEEP = """
  module                                   format   blocks   at ±6  zero blocks  NaN scales  zero scales
  model.layers.*.mlp.experts.down_proj     nvfp4    92,160  11.17%            0           0            0
  model.layers.*.mlp.experts.gate_up_proj  nvfp4   184,320  11.29%            0           0            0
  model.layers.*.self_attn.k_proj          nvfp4     6,912  11.28%            0           0            0
  model.layers.*.self_attn.o_proj          nvfp4    27,648  11.28%            0           0            0
  model.layers.*.self_attn.q_proj          nvfp4    27,648  11.35%            0           0            0
  model.layers.*.self_attn.v_proj          nvfp4     6,912  10.74%            0           0            0
  total                                            345,600  11.25%            0           0            0

  E4M3 block scales    count   share
  2^4 to 2^5               2   0.00%
  2^5 to 2^6             320   0.09%
  2^6 to 2^7          46,473  13.45%
  2^7 to 2^8         270,405  78.24%
  2^8 to 2^9          28,400   8.22%

"""
FINDINGS = """\
info    packed-attention: model-00001-of-00003.safetensors, tensor 'model.layers.0.self_attn.k_proj.weight'
        24 attention projections stored as NVFP4; TensorRT-LLM's gpt-oss NVFP4 loader builds attention as BF16 \
whatever the exclude list says
        repair: None for the file as such; trtkit engine decodes them to BF16 for targets that need it
info    unlisted-unquantised: model-00001-of-00003.safetensors, tensor 'model.embed_tokens.weight'
        7 modules stored unquantised and not on the exclude list, as ModelOpt up to 0.44 has it: model.embed_tokens, \
model.layers.*.mlp.router
        repair: None needed: the dtype of a tensor, not the list, tells whether it is quantised
"""
NOT_READ = (
    "not checked, needs --deep: nan-block-scales, negative-block-scales, underflowed-blocks, "
    "four-over-six, cast-from-mxfp4\n"
)


@pytest.fixture(autouse=True)
def _in_the_checkout(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def inspect(*argv: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in argv], prog_name="trtkit inspect")


def test_the_sample() -> None:
    result = inspect("samples/tiny-gpt-oss/nvfp4")
    assert (result.exit_code, result.output) == (0, SAMPLE + FINDINGS + NOT_READ)


def test_deep() -> None:
    result = inspect("--deep", "samples/tiny-gpt-oss/nvfp4")
    assert (result.exit_code, result.stdout) == (0, SAMPLE.removesuffix("\n") + DEEP + FINDINGS)


def test_an_unquantised_one_says_little() -> None:
    lines = inspect("samples/tiny-gpt-oss/bf16").output.splitlines()
    assert lines[:4] == [
        "samples/tiny-gpt-oss/bf16: GptOssForCausalLM, 6,357,048 parameters",
        "  weights       105 tensors, 12,714,096 bytes, 1 shard",
        "  quantisation  none",
        "  tokenizer     tokenizer.json",
    ]
    assert lines[-1] == "no findings"


def test_a_repository(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(monkeypatch) as hub:
        hub.add("owner/name", sample)
        result = inspect("hub:owner/name")
    needs_files = (
        "not checked, needs the files here: bad-tensor-scale, bad-input-scale, bad-kv-scale, "
        "uncalibrated-input-scale, copied-input-scale, unequal-fused-scales, kv-scales-one, shared-input-scale\n"
    )
    expected = SAMPLE.replace("samples/tiny-gpt-oss/nvfp4", "hub:owner/name") + FINDINGS + needs_files + NOT_READ
    assert (result.exit_code, result.output) == (0, expected)


def test_json() -> None:
    document = json.loads(inspect("--json", "samples/tiny-gpt-oss/nvfp4").stdout)
    assert document.keys() == {
        *("where", "architecture", "parameters", "bytes", "tensors", "dtypes", "shards", "quantisation", "tokenizer"),
        *("formats", "modules", "findings", "checks", "values"),
    }
    assert document["values"] is None
    assert document["dtypes"]["F32"] == {"tensors": 72, "elements": 72, "bytes": 288}
    assert document["shards"] == {
        "model-00001-of-00003.safetensors": 1968712,
        "model-00002-of-00003.safetensors": 1984376,
        "model-00003-of-00003.safetensors": 834760,
    }
    assert document["quantisation"] == {
        "algo": "NVFP4",
        "group_size": 16,
        "exclude_modules": ["lm_head"],
        "kv_cache_algo": None,
        "producer": "modelopt",
        "version": "0.37.0",
    }
    assert document["formats"][0] == {
        "name": "model.layers.*.mlp.experts.down_proj",
        "format": "nvfp4",
        "shape": [8, 160, 192],
        "parameters": 1483776,
        "bytes": 847920,
        "count": 6,
    }
    assert len(document["modules"]) == 63
    assert sum(module["parameters"] for module in document["modules"]) == document["parameters"] == 6357048
    assert sum(module["bytes"] for module in document["modules"]) == document["bytes"] == 4765584
    assert [set(finding) for finding in document["findings"]] == [{"id", "severity", "where", "detail", "repair"}] * 2


def test_json_of_deep() -> None:
    values = json.loads(inspect("--json", "--deep", "samples/tiny-gpt-oss/nvfp4").stdout)["values"]
    assert values.keys() == {"total", "modules", "skipped"}
    total = values["total"]
    histogram = total.pop("histogram")
    assert total == {
        "weights": 5529600,
        "saturated": 622248,
        "blocks": 345600,
        "zero_blocks": 0,
        "nan_scales": 0,
        "zero_scales": 0,
        "negative_scales": 0,
    }
    assert sum(histogram.values()) == 345600
    assert all(re.fullmatch(r"0x[0-7][0-9a-f]", byte) for byte in histogram)
    assert len(values["modules"]) == 36


def test_errors_are_found_and_exit_with_0(sample: Path, tmp_path: Path) -> None:
    for path in sample.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "hf_quant_config.json").unlink()
    quant = json.loads((sample / "hf_quant_config.json").read_text())
    quant["quantization"]["group_size"] = 128
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(quant))
    result = inspect(tmp_path)
    assert result.exit_code == 0
    found = [line for line in result.output.splitlines() if line.startswith(("error", "warning", "info"))]
    assert found[:2] == [
        "error   group-size: hf_quant_config.json",
        "warning quant-configs-disagree: config.json",
    ]


def test_what_cannot_be_read_is_raised_for_the_group() -> None:
    result = inspect("tiny-gpt-oss/cpu")
    assert isinstance(result.exception, CheckpointError)
    assert str(result.exception).endswith("Type: trtkit plan tiny-gpt-oss/cpu")


def test_help_has_an_example() -> None:
    assert "Example:\n  trtkit inspect samples/tiny-gpt-oss/nvfp4\n" in re.sub(
        r"\n    ", "\n  ", inspect("--help").output
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_reading_ends_the_progress_bar(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """A bar that is not ended leaves the cursor hidden."""
    ended: list[str] = []

    @contextmanager
    def bar(label: str) -> Iterator[Callable[[int, int], None]]:
        try:
            yield lambda done, total: signal.raise_signal(number)
        finally:
            ended.append(label)

    monkeypatch.setattr("toolkit.cli.inspect.byte_progress", bar)
    before = signal.getsignal(number)
    result = inspect("--deep", "samples/tiny-gpt-oss/nvfp4")
    assert (result.exit_code, ended, signal.getsignal(number)) == (1, ["Reading"], before)


def test_one_of_everything(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"model.safetensors": {"a.weight": ("F32", np.zeros(1, "<f4"))}}, config=CONFIG)
    assert "  weights       1 tensor, 4 bytes, 1 shard\n" in inspect(tmp_path).output
    write_checkpoint(tmp_path / "none", {"model.safetensors": {}}, config=CONFIG)
    assert "  weights       0 tensors, 0 bytes, 0 shards\n" in inspect(tmp_path / "none").output
