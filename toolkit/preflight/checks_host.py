"""Checks of what the container or host grants: shared memory, limits, disk, ports. Pure functions."""

from __future__ import annotations

from toolkit.preflight.finding import Finding, size
from toolkit.preflight.machine import Machine
from toolkit.preflight.needs import Needs

STACK = 64 << 20
NOFILE = 1 << 16
OWN_CACHE = "Set HF_HOME to a folder of yours"
LEFT_OVER = "Type: ls -l /dev/shm, and remove what dead servers left there"


def shm(needs: Needs, machine: Machine) -> Finding:
    """Triton's model processes and NCCL pass their data through /dev/shm."""
    found, fix = machine.shm, "Start the container with --shm-size=8g, or with --ipc=host"
    if found is None:
        return Finding("shm", "fail", "there is no /dev/shm", fix)
    if not found.writable:
        return Finding("shm", "fail", "/dev/shm takes no file", "Mount it writable: --tmpfs /dev/shm:rw,size=8g")
    if found.total < needs.shm:
        return Finding("shm", "fail", f"/dev/shm has {size(found.total)}, and {size(needs.shm)} are needed", fix)
    detail = f"{size(found.free)} of {size(found.total)} free in /dev/shm"
    if found.free < needs.shm:
        return Finding("shm", "warn", f"{detail}, and {size(needs.shm)} are needed", LEFT_OVER)
    return Finding("shm", "ok", detail)


def memlock(machine: Machine) -> Finding:
    """NCCL and RDMA lock buffers in memory."""
    soft = machine.limits.memlock
    if soft is None:
        return Finding("memlock", "ok", "unlimited")
    return Finding("memlock", "warn", f"{size(soft)}, unlimited is the norm", "docker run --ulimit memlock=-1")


def stack(machine: Machine) -> Finding:
    soft = machine.limits.stack
    if soft is None or soft >= STACK:
        return Finding("stack", "ok", "unlimited" if soft is None else size(soft))
    return Finding("stack", "warn", f"{size(soft)}, {size(STACK)} is the norm", f"docker run --ulimit stack={STACK}")


def nofile(machine: Machine) -> Finding:
    """Each connection, shard and rank holds files open."""
    soft = machine.limits.nofile
    if soft is None or soft >= NOFILE:
        return Finding("nofile", "ok", "unlimited" if soft is None else f"{soft:,} open files")
    fix = f"docker run --ulimit nofile={NOFILE}, or: ulimit -n {NOFILE}"
    return Finding("nofile", "warn", f"{soft:,} open files, a server takes more under load", fix)


def disk(needs: Needs, machine: Machine) -> Finding:
    """Room for the bundle, and for the download where both go to one file system."""
    if machine.has_bundle:
        return Finding("disk", "ok", f"the bundle is at {needs.output}")
    place = machine.output
    fix = "--set engine.output=DIR, a folder with more room"
    if not place.writable:
        return Finding("disk", "fail", f"{place.path} takes no file", "--set engine.output=DIR, a folder of yours")
    if needs.output_bytes is None:
        return Finding("disk", "skip", f"{size(place.free)} free at {place.path}; without a plan the need is unknown")
    fetched = (needs.fetch_bytes or 0) if to_fetch(needs, machine) and _same_disk(machine) else 0
    need = needs.output_bytes + fetched
    what = f"{'bundle and download take' if fetched else 'the bundle takes'} {size(need)}"
    if place.free < need:
        return Finding("disk", "fail", f"{size(place.free)} free at {place.path}, and {what}", fix)
    return Finding("disk", "ok", f"{size(place.free)} free at {place.path}; {what}")


def checkpoint(needs: Needs, machine: Machine) -> Finding:
    """A checkpoint on the Hub: in the cache, or to be fetched into it."""
    name = f"hub:{needs.repo}"
    if machine.cached:
        return Finding("checkpoint", "ok", f"{name} is in the cache")
    if machine.has_bundle:
        return Finding("checkpoint", "ok", f"{name} is not in the cache, and the bundle needs it no more")
    if machine.unread is not None:
        return Finding("checkpoint", "skip", f"whether {name} is in the cache is not known")
    if machine.offline:
        fix = "Type: unset HF_HUB_OFFLINE, or copy the checkpoint here and add --set checkpoint.path=DIR"
        return Finding("checkpoint", "fail", f"{name} is not in the cache, and HF_HUB_OFFLINE is set", fix)
    fetch = f": {size(needs.fetch_bytes)} to download" if needs.fetch_bytes is not None else ""
    fix = f"trtkit engine {needs.named} --fetch does it first"
    return Finding("checkpoint", "warn", f"{name} is not in the cache{fetch}", fix)


def cache(needs: Needs, machine: Machine) -> Finding:
    """Where a download goes."""
    place, unread = machine.cache, machine.unread
    if unread is not None:
        return Finding("cache", "fail", unread.problem or "", unread.fix or OWN_CACHE)
    if place is None or not to_fetch(needs, machine):
        return Finding("cache", "skip", "nothing to download")
    if not place.writable:
        return Finding("cache", "fail", f"{place.path} takes no file", OWN_CACHE)
    detail = f"{size(place.free)} free at {place.path}"
    if needs.fetch_bytes is not None and place.free < needs.fetch_bytes:
        fix = "Set HF_HOME to a folder with more room"
        return Finding("cache", "fail", f"{detail}, and the download takes {size(needs.fetch_bytes)}", fix)
    return Finding("cache", "ok", detail)


def ports(machine: Machine) -> Finding:
    found = machine.ports
    return Finding("ports", "fail" if found.problem else "ok", found.problem or found.detail, found.fix)


def to_fetch(needs: Needs, machine: Machine) -> bool:
    return needs.repo is not None and not machine.cached and not machine.has_bundle


def _same_disk(machine: Machine) -> bool:
    return machine.cache is not None and machine.cache.device == machine.output.device
