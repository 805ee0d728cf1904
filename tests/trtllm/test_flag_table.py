from __future__ import annotations

import pytest

from toolkit.trtllm.flag_table import Command, load_flags


def test_every_tool_is_there_and_every_group_has_a_source() -> None:
    tools = load_flags().tools
    assert list(tools) == ["trtllm-serve", "trtllm-bench", "trtllm-build"]
    assert all(flag.source for tool in tools.values() for flag in tool.flags())


def test_one_option_under_two_names_is_one_flag() -> None:
    (flag,) = [
        flag for flag in load_flags().tools["trtllm-serve"].commands["serve"].flags() if "--tp_size" in flag.names
    ]
    assert (flag.names, flag.default, flag.takes) == (("--tp_size", "--tensor_parallel_size"), 1, "value")


@pytest.mark.parametrize(
    "command",
    [
        {"default": "nowhere"},
        {"values": {"--a": {"source": "s", "allowed": ("x",)}}},
        {"deprecated": {"--a": {"since": "1.2.0", "text": "t"}}},
        {"groups": ({"source": "s", "flags": {"--a": None}},), "means": {"--a": "--b"}},
        {"groups": ({"source": "s", "flags": {"--a": None, "--b --a": None}},)},
    ],
)
def test_a_table_that_contradicts_itself_is_refused(command: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="1 validation error for Command"):
        Command.model_validate(command)
