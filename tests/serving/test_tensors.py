from __future__ import annotations

from dataclasses import fields
from string import Template

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from toolkit.engine.runtime.protocol import PerfMetrics, SamplingParams
from toolkit.resources import triton_repo_dir
from toolkit.serving.tensors import INPUTS, OUTPUTS, PERF_OUTPUTS, SAMPLING_INPUTS
from toolkit.serving.unsupported import UNSUPPORTED


def template() -> model_config_pb2.ModelConfig:
    text = (triton_repo_dir() / "tensorrt_llm" / "config.pbtxt").read_text()
    keys = ("model_name", "bundle", "identity", "engine_factory", "max_queue_size", "coalesce", "toolkit_path")
    return text_format.Parse(Template(text).substitute(dict.fromkeys(keys, "x")), model_config_pb2.ModelConfig())


def declared(tensors: object) -> dict[str, tuple[str, list[int]]]:
    names = {"STRING": "BYTES"}
    return {
        tensor.name: (
            names.get(kind := model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_"), kind),
            list(tensor.dims),
        )
        for tensor in tensors  # type: ignore[attr-defined]
    }


def test_template_declares_the_contract() -> None:
    config = template()
    served = {name: (spec.datatype, [-1 if spec.many else 1]) for spec in INPUTS for name in spec.names}
    refused = {spec.name: (spec.datatype, list(spec.dims)) for spec in UNSUPPORTED}
    assert declared(config.input) == served | refused
    assert not served.keys() & refused.keys()
    assert all(tensor.optional for tensor in config.input)
    assert declared(config.output) == {output.name: (output.datatype, [-1] * output.rank) for output in OUTPUTS}


def test_what_the_server_must_not_have_to_guess_is_literal() -> None:
    config = template()
    assert (config.backend, config.max_batch_size, config.model_transaction_policy.decoupled) == ("python", 0, True)
    [group] = config.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, 1)


def test_every_sampling_parameter_has_an_input() -> None:
    assert [spec.key for spec in SAMPLING_INPUTS] == [field.name for field in fields(SamplingParams)]


def test_every_performance_figure_has_an_output() -> None:
    assert sorted(PERF_OUTPUTS.values()) == sorted(field.name for field in fields(PerfMetrics))
    assert PERF_OUTPUTS.keys() <= {output.name for output in OUTPUTS}


def test_names_are_unique() -> None:
    names = [name for spec in INPUTS for name in spec.names]
    assert len(names) == len(set(names))


LLMAPI = {
    "text_output": "BYTES",
    "finish_reason": "BYTES",
    "stop_reason": "BYTES",
    "cumulative_logprob": "FP32",
    "kv_cache_reused_block": "INT32",
    "kv_cache_missed_block": "INT32",
    "kv_cache_alloc_new_blocks": "INT32",
    "kv_cache_alloc_total_blocks": "INT32",
    "kv_cache_hit_rate": "FP32",
    "arrival_time_ns": "INT64",
    "first_scheduled_time_ns": "INT64",
    "first_token_time_ns": "INT64",
    "last_token_time_ns": "INT64",
    "acceptance_rate": "FP32",
    "total_accepted_draft_tokens": "INT32",
    "total_draft_tokens": "INT32",
}
"""Outputs of NVIDIA's llmapi model as its config.pbtxt declares them."""

LLMAPI_INPUTS = """
text_input BYTES, image_url BYTES, streaming BOOL, sampling_param_best_of INT32, sampling_param_temperature FP32,
sampling_param_top_k INT32, sampling_param_top_p FP32, sampling_param_frequency_penalty FP32,
sampling_param_presence_penalty FP32, sampling_param_max_tokens INT32, sampling_param_stop BYTES,
sampling_param_seed UINT64, sampling_param_exclude_input_from_output BOOL, sampling_param_return_perf_metrics BOOL,
sampling_param_logits_post_processor_name BYTES, return_finish_reason BOOL, return_stop_reason BOOL,
return_cumulative_logprob BOOL, stop BOOL, lora_id UINT64, lora_name BYTES, lora_path BYTES, lora_ckpt_source BYTES
"""

ENSEMBLE_INPUTS = """
text_input BYTES, max_tokens INT32, decoder_text_input BYTES, num_return_sequences INT32, bad_words BYTES,
stop_words BYTES, exclude_input_in_output BOOL, end_id INT32, pad_id INT32, top_k INT32, top_p FP32, temperature FP32,
length_penalty FP32, repetition_penalty FP32, presence_penalty FP32, frequency_penalty FP32, min_tokens INT32,
seed UINT64, return_log_probs BOOL, return_context_logits BOOL, return_generation_logits BOOL,
return_perf_metrics BOOL, return_num_input_tokens BOOL, return_num_output_tokens BOOL, beam_width INT32, stream BOOL,
prompt_embedding_table FP16, prompt_table_extra_id UINT64, prompt_vocab_size INT32, embedding_bias_words BYTES,
embedding_bias_weights FP32, lora_task_id UINT64, lora_weights FP16, lora_config INT32,
guided_decoding_guide_type BYTES, guided_decoding_guide BYTES, image_input FP16, image_bytes_input UINT8,
video_bytes_input UINT8, image_url_input BYTES, num_draft_tokens INT32, use_draft_logits BOOL
"""
"""Of the ensemble and, from image_input on, the BLS model."""


def test_nvidias_names_and_datatypes() -> None:
    config = template()
    given = {name: datatype for name, (datatype, _) in declared(config.input).items()}
    expected = dict(entry.split() for text in (LLMAPI_INPUTS, ENSEMBLE_INPUTS) for entry in text.split(","))
    assert expected.items() <= given.items()
    assert LLMAPI.items() <= {name: datatype for name, (datatype, _) in declared(config.output).items()}.items()
