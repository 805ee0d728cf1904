"""Processes that mpirun started: rank 0 serves, the others work for it.

Tensor and expert parallelism come from the LLM arguments alone: ``LLM`` spawns its workers itself. Only where mpirun
has started this process once a GPU must the ranks be joined, as NVIDIA's Triton model does it (model.py @044a90d2):
rank 0 hands ``LLM`` a session over all ranks, the others lend themselves to it until it ends.
"""

from __future__ import annotations

import importlib
from typing import Any

from toolkit.errors import EngineError


def join() -> dict[str, Any]:
    """Further keywords of ``LLM``, on rank 0. Any other rank works until rank 0 ends, then raises EngineError."""
    utils = importlib.import_module("tensorrt_llm._utils")
    rank, size = int(utils.global_mpi_rank()), int(utils.global_mpi_size())
    if size == 1:
        return {}
    world: Any = importlib.import_module("mpi4py.MPI").COMM_WORLD
    if rank == 0:
        session = importlib.import_module("tensorrt_llm.llmapi").MpiCommSession
        return {"_mpi_session": session(comm=world, n_workers=world.Get_size())}
    with importlib.import_module("mpi4py.futures").MPICommExecutor(world):
        pass
    raise EngineError(f"rank {rank} of {size} has worked for rank 0, which has ended")
