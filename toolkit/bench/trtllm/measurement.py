"""What one ``trtllm-bench`` report says, whatever it was printed as: frozen, units in the names, None where missing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Literal[1] = 1

Source = Literal["console", "report-json"]
Generation = Literal["v1", "v2-old", "v2", "v2-machine", "json", "json-machine", "json-energy"]
"""Console: v1 (0.17), v2-old (documents up to 0.20), v2 (0.20 to 1.2), v2-machine (1.3 on). JSON: by its blocks."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stats(Part):
    """Nearest rank, ``sorted(values)[int(n * p)]``: below 100 values p99 is the maximum."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    average: float | None = None


class EngineInfo(Part):
    model: str | None = None
    model_path: str | None = None
    engine_dir: str | None = None
    version: str | None = None
    backend: str | None = None
    dtype: str | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    max_input_length_tok: int | None = None
    max_sequence_length_tok: int | None = None


class Machine(Part):
    """The first GPU only. The console says GB and means GiB."""

    name: str | None = None
    memory_total_gib: float | None = None
    memory_clock_ghz: float | None = None


class World(Part):
    """``world_size`` is printed by the JSON alone. ``issue_rate_req_s`` means nothing offline (1e14 and more)."""

    tp_size: int | None = None
    pp_size: int | None = None
    ep_size: int | None = None
    world_size: int | None = None
    max_batch_size: int | None = None
    max_num_tokens: int | None = None
    scheduling_policy: str | None = None
    kv_cache_fraction: float | None = None
    issue_rate_req_s: float | None = None

    @property
    def gpus(self) -> int | None:
        """``world_size``, or TP × PP."""
        if self.world_size is not None:
            return self.world_size
        return None if self.tp_size is None or self.pp_size is None else self.tp_size * self.pp_size


class RequestInfo(Part):
    num_requests: int | None = None
    avg_concurrent_requests: float | None = None
    avg_input_length_tok: float | None = None
    avg_output_length_tok: float | None = None


class Performance(Part):
    """``total_latency_ms`` is first start to last end. Output tokens include the first one of each request."""

    total_latency_ms: float | None = None
    avg_request_latency_ms: float | None = None
    request_throughput_req_s: float | None = None
    system_output_throughput_tok_s: float | None = None
    system_total_throughput_tok_s: float | None = None
    output_throughput_per_user_tok_s: float | None = None
    output_throughput_per_gpu_tok_s: float | None = None
    request_latency_ms: Stats = Stats()


class Streaming(Part):
    """Only of ``--streaming`` and ``latency`` runs. TPOT is (end − first) / (OSL − 1)."""

    token_output_speed_tok_s: float | None = None
    avg_ttft_ms: float | None = None
    avg_tpot_ms: float | None = None
    ttft_ms: Stats = Stats()
    tpot_ms: Stats = Stats()
    generation_throughput_tok_s: Stats = Stats()


class Decoding(Part):
    """Only of speculative decoding."""

    mode: str | None = None
    num_draft_tokens: Stats = Stats()
    num_accepted_draft_tokens: Stats = Stats()
    draft_acceptance_rate: Stats = Stats()
    acceptance_length: Stats = Stats()


class Energy(Part):
    """From 1.3.0rc12 on, JSON only: an NVML counter's difference scaled to the world size."""

    total_energy_j: float | None = None
    output_tok_s_per_w: float | None = None
    average_gpu_power_w: float | None = None


class Dataset(Part):
    """Of the dataset as it was read, that is what was asked for. The ``avg_`` fields are cut to integers."""

    path: str | None = None
    num_requests: int | None = None
    isl_tok: Stats = Stats()
    osl_tok: Stats = Stats()
    seq_len_tok: Stats = Stats()
    max_isl_tok: int | None = None
    max_osl_tok: int | None = None
    max_sequence_length_tok: int | None = None
    avg_isl_tok: int | None = None
    avg_osl_tok: int | None = None
    avg_sequence_length_tok: int | None = None


class Check(Part):
    """Something that must hold between the numbers; ``holds`` is None where a number is missing for it."""

    name: str
    holds: bool | None
    detail: str


class Measurement(Part):
    """``generation`` is None where what is there fits several. ``missing`` names what that generation prints and is
    not here; a whole section or group of statistics by its own name."""

    schema_version: Literal[1] = SCHEMA_VERSION
    source: Source
    generation: Generation | None
    engine: EngineInfo = EngineInfo()
    world: World = World()
    request_info: RequestInfo = RequestInfo()
    performance: Performance = Performance()
    dataset: Dataset = Dataset()
    machine: Machine | None = None
    streaming: Streaming | None = None
    decoding: Decoding | None = None
    energy: Energy | None = None
    checks: tuple[Check, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[Check, ...]:
        """What does not hold: any makes the report one whose numbers must not be used."""
        return tuple(check for check in self.checks if check.holds is False)
