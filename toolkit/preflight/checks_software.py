"""Checks of the installed software against a recipe: release, loader features, Triton, tokenizer. Pure functions."""

from __future__ import annotations

from toolkit.chat.vocabulary import BASE_VARIABLE, GET, O200K
from toolkit.preflight.finding import Finding
from toolkit.preflight.known import Feature, load_known
from toolkit.preflight.machine import Machine, Vocabulary
from toolkit.preflight.needs import GpuNeeds

TRTLLM = "tensorrt-llm"


def release(needs: GpuNeeds, machine: Machine) -> Finding:
    """What pip says is installed; a build tag after ``+`` is none of the release's."""
    found = machine.packages.get(TRTLLM)
    if found is None:
        detail = f"TensorRT-LLM is not installed for {machine.python}, and the recipe is for {needs.release}"
        return Finding("release", "fail", detail, f"Run trtkit inside {needs.image}")
    number = found.partition("+")[0]
    if number != needs.release:
        detail = f"TensorRT-LLM {found} is installed, and the recipe is for {needs.release}"
        other = f"--set target.release={number}, or run" if number in needs.releases else "Run"
        return Finding("release", "fail", detail, f"{other} trtkit inside {needs.image}")
    return Finding("release", "ok", f"TensorRT-LLM {found}")


def packages(machine: Machine) -> Finding:
    """Packages that are known to break TensorRT-LLM in one version."""
    for bad in load_known().packages:
        if (found := machine.packages.get(bad.package)) in bad.versions:
            return Finding("packages", "fail", f"{bad.package} {found} breaks TensorRT-LLM: {bad.breaks}", bad.fix)
    names = [bad.package for bad in load_known().packages]
    listed = ", ".join(f"{name} {machine.packages[name]}" for name in names if machine.packages.get(name))
    return Finding("packages", "ok" if listed else "skip", listed or f"{', '.join(names)} not installed")


def loader(feature: Feature, machine: Machine) -> Finding:
    """What the release's number cannot tell."""
    what = f"{feature.object}.{feature.attribute}"
    found = machine.probes.get(feature.id)
    if found is None:
        return Finding("loader", "skip", f"{what}: TensorRT-LLM is not installed")
    if found.problem is not None:
        return Finding("loader", "fail", found.problem, f'Type: python3 -c "import {feature.module}"')
    if not found.found:
        return Finding("loader", "fail", f"no {what}: {feature.without}", feature.fix)
    return Finding("loader", "ok", f"{what} is there")


def triton(needs: GpuNeeds | None, machine: Machine) -> Finding:
    """The CPU runtime serves through Triton alone; TensorRT-LLM has a server of its own, too."""
    found = machine.triton
    if found.problem is None:
        return Finding("triton", "ok", found.detail)
    if needs is None:
        return Finding("triton", "fail", found.problem, found.fix)
    image = f"Use the image {needs.triton_image}" if needs.triton_image else "No Triton image is known for this release"
    return Finding("triton", "warn", found.problem, f"{image}; trtllm-serve needs no Triton")


def tokenizer(machine: Machine, to_fetch: bool) -> Finding:
    if machine.tokenizer is not None:
        return Finding("tokenizer", "ok", f"tokenizer.json in {machine.tokenizer}")
    if to_fetch:
        return Finding("tokenizer", "skip", "comes with the download, or not")
    fix = "--set checkpoint.tokenizer=DIR, a folder with tokenizer.json"
    return Finding("tokenizer", "fail", "neither the checkpoint nor a built bundle has tokenizer.json", fix)


def harmony(found: Vocabulary) -> Finding:
    """gpt-oss speaks Harmony. openai-harmony downloads its vocabulary when it is first used; trtkit has other ways."""
    if found.state == "good":
        return Finding("harmony", "ok", f"the vocabulary is at {found.path}")
    if found.base:
        wrong = found.problem or "is not there"
        return Finding("harmony", "fail", f"{BASE_VARIABLE} is set, and {found.path} {wrong}", GET)
    if found.kept is not None:
        fix = f"Set {BASE_VARIABLE} to that folder, for trtllm-serve"
        return Finding("harmony", "ok", f"trtkit chat has the vocabulary in {found.kept}", fix)
    if found.tokenizer is not None:
        detail = f"trtkit chat makes the vocabulary from {found.tokenizer}/tokenizer.json; trtllm-serve downloads it"
        return Finding("harmony", "warn", detail, GET)
    return Finding("harmony", "warn", f"{O200K.name} is downloaded at first use, which fails offline", GET)
