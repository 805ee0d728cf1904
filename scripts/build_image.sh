#!/bin/sh
# Build the CPU image without a daemon, run it as `trtkit deploy compose` renders it (uid 10001, read-only root), stream a
# completion from it, freeze and kill its model process, and time how long until its health check fails.
#   scripts/build_image.sh [FOLDER]     by default build/image: images, bundle and log.txt
# Exit codes: 0 all of it worked, 1 something failed, 3 skipped: the tools or the permissions are not here.
set -eu
cd "$(dirname "$0")/.."
work=$(mkdir -p "${1:-build/image}" && cd "${1:-build/image}" && pwd)
python=${PYTHON:-.venv/bin/python}
base=docker.io/library/python:3.12-slim-bookworm
name=trtkit-image-check

say() { printf '[%s] %s\n' "$(date -u +%H:%M:%S)" "$*"; }
skip() {
    echo "skipped: $1" >&2
    exit 3
}
fail() {
    say "FAILED: $1"
    exit 1
}

# A mount namespace of its own: whatever is mounted below goes with it.
if [ -z "${TRTKIT_IMAGE_CHECK:-}" ]; then
    [ "$(id -u)" = 0 ] || skip "building in a chroot takes root"
    for tool in buildah podman crun unshare; do
        command -v "$tool" >/dev/null || skip "$tool is not here; type: apt-get install buildah podman crun debootstrap"
    done
    unshare --mount true 2>/dev/null || skip "this machine grants no mount namespace"
    [ -x "$python" ] || skip "there is no $python; type: make setup, or set PYTHON"
    status=0
    TRTKIT_IMAGE_CHECK=1 unshare --mount sh "$0" "$work" >"$work/log.txt" 2>&1 || status=$?
    cat "$work/log.txt"
    exit "$status"
fi
# crun takes one version of cgroups, not both at once
if [ -d /sys/fs/cgroup/unified ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi

trtkit() { PYTHONPATH=. "$python" -c 'from toolkit.cli import main; main(prog_name="trtkit")' "$@"; }
store="--root $work/storage --runroot $work/run"
podman() { command podman $store --cgroup-manager=cgroupfs "$@"; }
buildah() { command buildah $store "$@"; }
inside() { podman exec "$name" "$@"; }
seconds() { date +%s.%N; }
since() { "$python" -c "import sys; print(f'{float(sys.argv[2]) - float(sys.argv[1]):.1f}')" "$1" "$(seconds)"; }

# The model process: Triton's stub.
signal_model() {
    inside python3 -c 'import os, pathlib, signal, sys
for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
    if path.read_text().startswith("triton_python_b"):
        os.kill(int(path.parent.name), getattr(signal, sys.argv[1]))
        print("sent", sys.argv[1], "to model process", path.parent.name)' "$1"
}
healthy() { podman healthcheck run "$name" >/dev/null 2>&1; }
until_state() { # until_state healthy|unhealthy LIMIT_S: sets took
    start=$(seconds)
    while :; do
        if healthy; then state=healthy; else state=unhealthy; fi
        took=$(since "$start")
        [ "$state" = "$1" ] && return
        [ "${took%.*}" -lt "$2" ] || fail "not $1 within $2 s: $(podman logs --tail 5 "$name" 2>&1)"
        sleep 1
    done
}
start_container() {
    podman rm -f "$name" >/dev/null 2>&1 || true
    # without systemd podman says that it cannot time health checks; they are asked for here
    podman run -d --name "$name" "$@" >/dev/null 2>"$work/run.log" || skip "no container runs here: $(tail -1 "$work/run.log")"
    until_state healthy 120
    say "healthy $took s after the start"
}

say "1. base image"
if timeout 60 buildah pull -q "$base" >/dev/null 2>&1; then
    from=$base
else
    # a Debian with the same parts under a name of its own, so that nobody takes it for the real one
    from=localhost/trtkit-stand-in-base
    if ! buildah inspect --type image "$from" >/dev/null 2>&1; then
        command -v debootstrap >/dev/null || skip "no registry answers, and there is no debootstrap"
        say "no registry answers: debootstrap"
        debootstrap --variant=minbase --include=python3,python3-venv,libpython3.11,ca-certificates bookworm \
            "$work/rootfs" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 \
            || skip "debootstrap failed: $(tail -1 "$work/debootstrap.log")"
        tar -C "$work/rootfs" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -cf "$work/rootfs.tar" .
        rm -rf "$work/rootfs"
        printf 'FROM scratch\nADD rootfs.tar /\n' >"$work/base.Dockerfile"
        buildah bud -q --isolation=chroot --format=docker -t "$from" -f "$work/base.Dockerfile" "$work" >/dev/null
        rm "$work/rootfs.tar"
    fi
fi
say "base: $from"

say "2. docker/cpu.Dockerfile"
start=$(seconds)
image=trtkit:$(sed -n 's/^__version__ = "\(.*\)"/\1/p' toolkit/__init__.py)-cpu
# the certificates that this machine trusts, while it builds
certificates=/etc/ssl/certs/ca-certificates.crt
printf '[global]\ncert = %s\n' "$certificates" >"$work/pip.conf"
buildah bud -q --isolation=chroot --format=docker --network=host --pull-never \
    --volume "$certificates:$certificates:ro" --volume "$work/pip.conf:/etc/pip.conf:ro" \
    --build-arg PYTHON_IMAGE="$from" -t "localhost/$image" -f docker/cpu.Dockerfile . >"$work/build.log" 2>&1 \
    || fail "the image was not built: $(tail -3 "$work/build.log")"
say "built localhost/$image in $(since "$start") s, $(podman image inspect --format '{{.Size}}' "localhost/$image") bytes"
podman image inspect --format 'user {{.User}}, entry point {{.Config.Entrypoint}}, health check {{.HealthCheck.Test}}' \
    "localhost/$image"

say "3. bundle, compose file"
trtkit engine tiny-gpt-oss/cpu --set engine.output="$work/bundle"
trtkit deploy compose tiny-gpt-oss/cpu --set engine.output="$work/bundle" --json >"$work/compose.json" 2>/dev/null
chmod -R a+rX "$work/bundle"

# podman's words for the service that compose would start; without a network, since all is asked from inside
"$python" - "$work/compose.json" "localhost/$image" >"$work/arguments" <<'PYTHON'
import json, resource, sys
[service] = json.load(open(sys.argv[1]))["services"].values()
words = ["--init", f"--user={service['user']}", "--read-only", f"--shm-size={service['shm_size']}"]
words += [f"--tmpfs={mount}" for mount in service["tmpfs"]] + [f"--cap-drop={name}" for name in service["cap_drop"]]
words += [f"--security-opt={option.removesuffix(':true')}" for option in service["security_opt"]]
words += [f"--env={name}={value}" for name, value in service["environment"].items()]
for volume in service["volumes"]:
    words += [f"--volume={volume['source']}:{volume['target']}" + (":ro" if volume.get("read_only") else "")]
# no more than this process has: raising a limit takes a capability
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
words += [f"--ulimit=nofile={soft}:{hard}", "--ulimit=nproc=4096:4096", "--network=none", "--cgroups=disabled"]
print("\n".join([*words, sys.argv[2], *service["command"]]))
PYTHON

say "4. start"
set --
while IFS= read -r word; do set -- "$@" "$word"; done <"$work/arguments"
trap 'podman rm -f -t 5 "$name" >/dev/null 2>&1 || true' EXIT
start_container "$@"
podman logs "$name" 2>&1 | grep -E 'checked|ready:'

say "5. what it runs as"
inside sh -c 'id; head -c 40 /proc/1/cmdline | tr "\0" " "; echo; df -h /dev/shm | tail -1; ls -ld /bundle'
for place in / /opt/trtkit /bundle; do
    if inside sh -c "touch $place/x" 2>/dev/null; then fail "$place is writable"; fi
done
say "the root, the package and the bundle are read-only"

say "6. stream a completion"
inside trtkit generate "If the file does not exist, the function" --url 127.0.0.1:8001 --max-tokens 24 || fail "no completion"

say "7. admin calls"
inside python3 -c 'import urllib.error, urllib.request
for method, path in (("GET", "logging"), ("POST", "repository/index")):
    try:
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:8000/v2/{path}", method=method))
        raise SystemExit(f"{path} is open")
    except urllib.error.HTTPError as error:
        print(path, error.code)' || fail "an admin call is open"

say "8. kill the model process"
signal_model SIGKILL
until_state unhealthy 30
say "unhealthy $took s after SIGKILL"
code=$(timeout 60 podman $store wait "$name") || fail "the container lives on"
say "the container ended with code $code: $(podman logs --tail 1 "$name" 2>&1)"

say "9. freeze the model process of another one: Triton goes on saying that it is ready"
start_container "$@"
signal_model SIGSTOP
inside python3 -c 'import urllib.request
print("/v2/health/ready", urllib.request.urlopen("http://127.0.0.1:8000/v2/health/ready").status)' || true
until_state unhealthy 30
say "unhealthy $took s after SIGSTOP"
inside trtkit deploy health || true

say "10. start without a bundle"
mkdir -p "$work/nothing"
podman run --rm --network=none --cgroups=disabled --ulimit=nofile=1024:1024 --ulimit=nproc=4096:4096 --read-only \
    --tmpfs=/tmp:exec --volume="$work/nothing:/bundle:ro" "localhost/$image" 2>&1 | grep '^error' || fail "no error"
say "done"
