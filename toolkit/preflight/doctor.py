"""Whether this machine can run one recipe's target."""

from __future__ import annotations

from toolkit.preflight import checks_gpu, checks_host, checks_software
from toolkit.preflight.demand import needs_of
from toolkit.preflight.finding import Finding
from toolkit.preflight.gather import gather
from toolkit.preflight.machine import Machine
from toolkit.preflight.needs import GpuNeeds, Needs
from toolkit.recipe import Recipe


def preflight(recipe: Recipe, named: str = "RECIPE") -> list[Finding]:
    """Whether this machine can run ``recipe``'s target: one finding a check, of which none may be ``fail``.

    ``named`` is how commands that a finding gives name the recipe. Raises
    ``PlanError`` for a release or a GPU that trtkit does not know.
    """
    needs = needs_of(recipe, named)
    return judge(needs, gather(recipe, needs))


def judge(needs: Needs, machine: Machine) -> list[Finding]:
    """Every check that matters to the target, in the order in which its failure would be met."""
    findings = [needs.plan]
    if needs.gpu is not None:
        findings += _of_gpu(needs, needs.gpu, machine)
    findings.append(checks_host.shm(needs, machine))
    if needs.gpu is not None:
        findings += [checks_host.memlock(machine), checks_host.stack(machine), checks_host.nofile(machine)]
    if needs.repo is not None:
        findings += [checks_host.checkpoint(needs, machine), checks_host.cache(needs, machine)]
    findings.append(checks_host.disk(needs, machine))
    findings.append(checks_software.tokenizer(machine, checks_host.to_fetch(needs, machine)))
    if machine.vocabulary is not None:
        findings.append(checks_software.harmony(machine.vocabulary))
    return [*findings, checks_software.triton(needs.gpu, machine), checks_host.ports(machine)]


def _of_gpu(needs: Needs, gpu: GpuNeeds, machine: Machine) -> list[Finding]:
    return [
        checks_software.release(gpu, machine),
        checks_software.packages(machine),
        checks_gpu.driver(gpu, machine),
        checks_gpu.cuda(gpu, machine),
        checks_gpu.gpu(gpu, machine),
        checks_gpu.memory(gpu, machine),
        *(checks_software.loader(feature, machine) for feature in needs.features),
    ]
