"""Checks of the driver and the GPUs against a recipe's target: pure functions over ``GpuNeeds`` and ``Machine``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from toolkit.bench.environment.devices import Device, visible
from toolkit.bench.environment.nvidia_smi import NOT_ON_PATH
from toolkit.bench.environment.version import numbers
from toolkit.preflight.finding import Finding, size
from toolkit.preflight.machine import Machine
from toolkit.preflight.needs import GpuNeeds

# Words in a device's name, where they are not those of the recipe's GPU.
DEVICE_WORDS = {"dgx-spark": {"gb10"}}
IN_USE = 0.05  # share of the memory that no idle GPU has taken
SMALLER = 0.98  # of the memory that the plan reckons with
UPDATE = "Update the driver on the host"
FIXES = {
    NOT_ON_PATH: "Start the container with --gpus all (NVIDIA Container Toolkit), or install the driver",
    "not a valid field": UPDATE,
    "communicate with the NVIDIA driver": "Install the driver on the host, or load it: modprobe nvidia",
    "version mismatch": "The driver was updated under a running kernel module: reboot the host",
    "No devices were found": "Start the container with --gpus all",
}
END = "End what runs there (nvidia-smi lists it)"
END_ON_HOST = "End what else runs on this host (top lists it)"
NO_ANSWER = "Type: nvidia-smi; when that works, trtkit doctor does"


def driver(needs: GpuNeeds, machine: Machine) -> Finding:
    found, least = machine.nvidia.driver, needs.driver
    if found is None:
        return Finding("driver", "skip", "nvidia-smi gives no version")
    if least is not None and numbers(found) < numbers(least):
        detail = f"{found}, and TensorRT-LLM {needs.release} on {needs.gpu} needs {least} or newer"
        return Finding("driver", "fail", detail, UPDATE)
    if needs.shipped is not None and numbers(found) < numbers(needs.shipped) and not _runs_what_is_installed(machine):
        detail = f"{found}, and the images with TensorRT-LLM {needs.release} were built for {needs.shipped}"
        return Finding("driver", "warn", detail, f"{UPDATE}, or rely on CUDA forward compatibility (data-centre GPUs)")
    return Finding("driver", "ok", f"{found}, {least} or newer needed" if least else found)


def cuda(needs: GpuNeeds, machine: Machine) -> Finding:
    """Libraries of one CUDA major version run on each driver of it; what is compiled at run time may not."""
    runs, installed = machine.nvidia.cuda, machine.cuda_installed
    if runs is None:
        return Finding("cuda", "skip", "nvidia-smi gives no CUDA version")
    if installed is None or not numbers(installed):
        return Finding(
            "cuda", "skip", f"the driver runs up to CUDA {runs}; CUDA_VERSION does not say what is installed"
        )
    has, can = numbers(installed)[:2], numbers(runs)
    if has[:1] > can[:1]:
        detail = f"CUDA {installed} is installed, and the driver runs up to {runs}"
        return Finding("cuda", "fail", detail, f"{UPDATE}, or use an image with CUDA {can[0]}")
    if has > can:
        detail = f"CUDA {installed} on a driver for {runs}: kernels that are compiled at run time may fail"
        return Finding("cuda", "warn", detail, UPDATE)
    return Finding("cuda", "ok", f"{installed} installed, the driver runs up to {runs}")


def _runs_what_is_installed(machine: Machine) -> bool:
    """Under forward compatibility nvidia-smi gives the CUDA of the compatibility libraries."""
    runs, installed = machine.nvidia.cuda, machine.cuda_installed
    return runs is not None and installed is not None and numbers(runs) >= numbers(installed)[:2] > ()


def gpu(needs: GpuNeeds, machine: Machine) -> Finding:
    """The GPUs that the ranks will take: right SM, enough of them, first in line, not sliced, of the recipe's name."""
    if machine.nvidia.problem is not None:
        return Finding("gpu", "fail", machine.nvidia.problem, _fix(machine.nvidia.problem))
    shown = visible(machine.nvidia.devices, machine.visible)
    if not shown:
        detail = f"CUDA_VISIBLE_DEVICES={machine.visible} shows none of {len(machine.nvidia.devices)} GPU(s)"
        return Finding("gpu", "fail", detail, "Type: unset CUDA_VISIBLE_DEVICES")
    right = [device for device in shown if _fits(device, needs)]
    if not right:
        detail = f"{described(shown[0])}, and the recipe is for {needs.gpu} (SM {needs.sm})"
        return Finding("gpu", "fail", detail, _other_target(shown[0], needs.known))
    if len(right) < needs.count:
        only = f" by CUDA_VISIBLE_DEVICES={machine.visible}" if machine.visible is not None else ""
        detail = f"{len(right)} × {described(right[0])} visible{only}, and the parallel layout takes {needs.count}"
        smaller = f"make target.parallel smaller (trtkit plan {needs.named} lists layouts)"
        fix = f"Show all of them (docker run --gpus all), or {smaller}"
        return Finding("gpu", "fail", detail, fix)
    return _first_in_line(needs, shown, right[: needs.count])


def _first_in_line(needs: GpuNeeds, shown: tuple[Device, ...], right: list[Device]) -> Finding:
    if list(shown[: needs.count]) != right:
        detail = f"{described(shown[0])} comes first, and the recipe is for {needs.gpu}"
        order = ",".join(str(device.index) for device in right)
        return Finding("gpu", "fail", detail, f"Set CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={order}")
    if any(device.mig for device in right):
        detail = f"{described(right[0])} is in MIG mode: sizes are those of the whole GPU, not of the slice"
        return Finding("gpu", "fail" if needs.count > 1 else "warn", detail, "Type on the host: nvidia-smi -mig 0")
    count = f"{needs.count} × " if needs.count > 1 else ""
    more = f", {len(shown)} visible" if len(shown) > needs.count else ""
    if not named(right[0], needs.gpu):
        detail = f"{count}{described(right[0])}{more}: kernels as for {needs.gpu}, but other memory and speed"
        return Finding("gpu", "warn", detail, _other_target(right[0], needs.known))
    return Finding("gpu", "ok", f"{count}{described(right[0])}{more}")


def memory(needs: GpuNeeds, machine: Machine) -> Finding:
    """Free memory of the GPU that has least, against what one rank's weights take and what the plan reckons with."""
    shown = visible(machine.nvidia.devices, machine.visible)[: needs.count]
    if not shown:
        return Finding("memory", "skip", "no GPU")
    if any(device.mig for device in shown):
        return Finding("memory", "skip", "nvidia-smi does not say how large a MIG slice is")
    least = min(shown, key=lambda device: device.memory_free or 0)
    total, free = least.memory_total, least.memory_free
    if total is not None and free is not None:
        return _of_size(needs, least, f"{size(free)} of {size(total)} free on GPU {least.index}", (total, free), END)
    shared = machine.host_memory
    if not needs.unified or shared is None:
        return Finding("memory", "skip", f"nvidia-smi gives none for {least.name}", "Type: free -h")
    said = f"{size(shared.available)} of {size(shared.total)} available, which CPU and GPU share"
    return _of_size(needs, least, said, (shared.total, shared.available), END_ON_HOST)


def _of_size(needs: GpuNeeds, device: Device, said: str, sizes: tuple[int, int], end: str) -> Finding:
    """``sizes`` are total and free bytes, ``end`` says how to free some."""
    total, free = sizes
    if needs.weights is not None and free < needs.weights:
        detail = f"{said}, and the weights of one rank take {size(needs.weights)}"
        return Finding("memory", "fail", detail, end if total > needs.weights else "Raise target.parallel.tp")
    if total - free > IN_USE * total:
        return Finding("memory", "warn", f"{said}: the KV cache gets a share of what is free", end)
    if needs.memory is not None and total < SMALLER * needs.memory and _fits(device, needs):
        detail = f"{said}, and the plan reckons with {size(needs.memory)}"
        return Finding("memory", "warn", detail, "Lower engine.max_batch_size or engine.max_seq_len")
    return Finding("memory", "ok", said)


def described(device: Device) -> str:
    return f"{device.name} (SM {device.sm if device.sm is not None else 'unknown'})"


def named(device: Device, gpu_name: str) -> bool:
    """Whether the device's name has every word of the recipe's name for it."""
    words = set(re.findall(r"[a-z0-9]+", device.name.lower()))
    return DEVICE_WORDS.get(gpu_name, set(gpu_name.split("-"))) <= words


def _fits(device: Device, needs: GpuNeeds) -> bool:
    return device.sm == needs.sm if device.sm is not None else named(device, needs.gpu)


def _other_target(device: Device, known: Mapping[str, int]) -> str:
    same_sm = [name for name, sm in known.items() if sm == device.sm]
    names = [name for name in known if named(device, name)] or same_sm
    if not names:
        return "trtkit knows no target with this SM. Type: trtkit targets"
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    return f"--set target.gpu={names[0]}{others}, or another machine"


def _fix(problem: str) -> str:
    return next((fix for words, fix in FIXES.items() if words in problem), NO_ANSWER)
