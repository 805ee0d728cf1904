"""Made-up console texts of each generation, in its words, whose numbers agree: 10 requests in 2 s, 100 in and 50 out.

Nobody measured them. 5 req/s · 50 = 250 tok/s out, 5 · 150 = 750 in all, 5 · 0.8 s = 4 in flight, 250 / 2 GPUs = 125.
"""

from __future__ import annotations

RULE = "=" * 59
LOGGER = "[11/24/2026-12:00:00] [TRT-LLM] [I] "

V1 = f"""\
{LOGGER}
{RULE}
= ENGINE DETAILS
{RULE}
Model:                  made/up
Engine Directory:       /engines/made up: tp_2
TensorRT-LLM Version:   0.17.0
Dtype:                  bfloat16
KV Cache Dtype:         FP8
Quantization:           None
Max Input Length:       256
Max Sequence Length:    512

{RULE}
= WORLD + RUNTIME INFORMATION
{RULE}
TP Size:                2
PP Size:                1
Max Runtime Batch Size: 64
Max Runtime Tokens:     2048
Scheduling Policy:      Max Utilization
KV Memory Percentage:   85.50%
Issue Rate (req/sec):   5.0689E+14

{RULE}
= PERFORMANCE OVERVIEW
{RULE}
Number of requests:             10
Average Input Length (tokens):  100.0000
Average Output Length (tokens): 50.0000
Token Throughput (tokens/sec):  250.0000
Request Throughput (req/sec):   5.0000
Total Latency (ms):             2000.0000

{RULE}
"""

REQUESTS = f"""\
{RULE}
= REQUEST DETAILS
{RULE}
Number of requests:             10
Number of concurrent requests:  4.0000
Average Input Length (tokens):  100.0000
Average Output Length (tokens): 50.0000
{RULE}
= WORLD + RUNTIME INFORMATION
{RULE}
TP Size:                2
PP Size:                1
EP Size:                2
Max Runtime Batch Size: 64
Max Runtime Tokens:     2048
Scheduling Policy:      GUARANTEED_NO_EVICT
KV Memory Percentage:   90.00%
Issue Rate (req/sec):   1.0000E+15

"""

LATENCY = """\
-- Request Latency Breakdown (ms) -----------------------

[Latency] P50    : 800.0000
[Latency] P90    : 900.0000
[Latency] P95    : 950.0000
[Latency] P99    : 1000.0000
[Latency] MINIMUM: 600.0000
[Latency] MAXIMUM: 1000.0000
[Latency] AVERAGE: 800.0000

"""

DATASET = f"""\
{RULE}
= DATASET DETAILS
{RULE}
Dataset Path:         /data/100_50_10.jsonl
Number of Sequences:  10

-- Percentiles statistics ---------------------------------

        Input              Output           Seq. Length
-----------------------------------------------------------
MIN:    90.0000            50.0000           140.0000
MAX:  1.10e+05            50.0000           160.0000
AVG:   100.0000            50.0000           150.0000
P50:   100.0000            50.0000           150.0000
P90:   109.0000            50.0000           159.0000
P95:   110.0000            50.0000           160.0000
P99:   110.0000            50.0000           160.0000
{RULE}
"""

V2_OLD = f"""\
{REQUESTS}{RULE}
= PERFORMANCE OVERVIEW
{RULE}
Request Throughput (req/sec):                     5.0000
Total Output Throughput (tokens/sec):             250.0000
Per User Output Throughput (tokens/sec/user):     62.5000
Per GPU Output Throughput (tokens/sec/gpu):       125.0000
Total Token Throughput (tokens/sec):              750.0000
Total Latency (ms):                               2000.0000
Average request latency (ms):                     800.0000
Per User Output Speed [1/TPOT] (tokens/sec/user): 70.0000
Average time-to-first-token [TTFT] (ms):          100.0000
Average time-per-output-token [TPOT] (ms):        14.2857

-- Per-Request Time-per-Output-Token [TPOT] Breakdown (ms)

[TPOT] MINIMUM: 14.0000
[TPOT] MAXIMUM: 15.0000
[TPOT] AVERAGE: 14.2857
[TPOT] P50    : 14.2000
[TPOT] P90    : 14.9000
[TPOT] P95    : 15.0000
[TPOT] P99    : 15.0000

{LATENCY}{DATASET}"""

OVERVIEW = f"""\
{RULE}
= PERFORMANCE OVERVIEW
{RULE}
Request Throughput (req/sec):                     5.0000
Total Output Throughput (tokens/sec):             250.0000
Total Token Throughput (tokens/sec):              750.0000
Total Latency (ms):                               2000.0000
Average request latency (ms):                     800.0000
Per User Output Throughput [w/ ctx] (tps/user):   62.5000
Per GPU Output Throughput (tps/gpu):              125.0000

{LATENCY}"""

BACKEND = f"""\
{RULE}
= PYTORCH BACKEND
{RULE}
Model:\t\t\tmade/up
Model Path:\t\t/models/made up
TensorRT LLM Version:\t1.3.0rc5
Dtype:\t\t\tbfloat16
KV Cache Dtype:\t\tFP8
Quantization:\t\tNVFP4

"""

MACHINE = f"""\
{RULE}
= MACHINE DETAILS
{RULE}
Made-up GPU, 80GB, memory 79.65 GB, 2.62 GHz

"""

V2 = f"{LOGGER}\n{BACKEND}{REQUESTS}{OVERVIEW}{DATASET}"

SPECULATIVE = f"""\
{RULE}
= DECODING STATISTICS (MTP)
{RULE}

-- Number of Draft Tokens Details --------------------------------

[DT] MINIMUM: 150.00
[DT] AVERAGE: 151.50
-- Acceptance Length Details --------------------------------

[AL] AVERAGE: 2.25
[AL] P99    : 3.00
{RULE}
"""

V2_MACHINE = f"{LOGGER}\n{BACKEND}{MACHINE}{REQUESTS}{OVERVIEW}{SPECULATIVE}{DATASET}"
