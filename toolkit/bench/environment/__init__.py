"""What the measurements were made on: GPUs or a CPU, the host and the software."""

from toolkit.bench.environment.fingerprint import fingerprint, utc_now
from toolkit.bench.environment.types import Context, Environment, Gpu, GpuState, Host, Identity

__all__ = ["Context", "Environment", "Gpu", "GpuState", "Host", "Identity", "fingerprint", "utc_now"]
