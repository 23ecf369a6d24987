#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds the image and proves that it works: health check inside, a map from outside, a folder of
# tasks in Python, no root, SIGTERM ends it with exit code 0, the data survive a second start.
#
#     docker/test-image.sh
#
# Uses docker or podman if an engine answers. Otherwise buildah: it needs root but no daemon, and
# takes a Debian tree made by debootstrap as base image, so it works inside a container as well.
# Everything lives in a temporary folder and is gone afterwards.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/poold-image.XXXXXX")
tag=localhost/poold-test-$$
engine=
runner=     # pid of `buildah run`
container=  # name or id of the running container
url=

say() { printf '== %s\n' "$*"; }
die() {
    echo "docker/test-image.sh: FAILED: $*" >&2
    if [ -f "$work/log" ]; then
        tail -20 "$work/log" >&2
    fi
    exit 1
}

# shellcheck disable=SC2317 # called by trap
cleanup() {
    local pid
    case $engine in
    docker | podman)
        if [ -n "$container" ]; then
            "$engine" rm -f "$container" >/dev/null 2>&1 || true
        fi
        "$engine" volume rm -f "poold-test-$$" >/dev/null 2>&1 || true
        "$engine" rmi -f "$tag" >/dev/null 2>&1 || true
        ;;
    buildah)
        pid=$(server_pid)
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
        if [ -n "$runner" ]; then
            wait "$runner" 2>/dev/null || true
        fi
        build_ah rm --all >/dev/null 2>&1 || true
        ;;
    esac
    rm -rf "$work"
}
trap cleanup EXIT

# ---- docker and podman -------------------------------------------------------------------------

engine_build() {
    "$engine" build -q -f "$root/docker/Dockerfile" -t "$tag" "$root" >/dev/null
}

engine_start() {
    container=poold-test-$$
    "$engine" run -d --name "$container" --read-only --tmpfs /tmp:size=64m --cap-drop ALL \
        --security-opt no-new-privileges -v "poold-test-$$:/data" -v "$work/tasks:/tasks:ro" \
        -p 127.0.0.1::8080 "$tag" --processes 2 --tasks /tasks >/dev/null
    url=http://$("$engine" port "$container" 8080/tcp | sed -n 1p)
}

engine_inside() { "$engine" exec "$container" "$@"; }
engine_uid() { "$engine" exec "$container" id -u; }

# Prints the exit code.
engine_stop() {
    "$engine" stop --time 20 "$container" >/dev/null
    "$engine" inspect -f '{{.State.ExitCode}}' "$container"
}

engine_config() {
    "$engine" image inspect "$tag" | jq '.[0].Config'
}

# ---- buildah -----------------------------------------------------------------------------------

build_ah() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

# The packages come from where this machine has its own: its mirror, proxy and certificates.
# They go into the throw-away base image, never into the Dockerfile.
base_tree() {
    local tree=$1 codename mirror
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt's own notation
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null |
        grep -m1 -E '/debian/?$' || true)
    debootstrap --variant=minbase bookworm "$tree" \
        "${mirror:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || die "debootstrap"
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Retries)' \
        >"$tree/etc/apt/apt.conf.d/90host" || true
    if [ "$codename" = bookworm ]; then
        rm -f "$tree/etc/apt/sources.list"
        cp -a /etc/apt/sources.list "$tree/etc/apt/" 2>/dev/null || true
        cp -a /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \
            "$tree/etc/apt/sources.list.d/" 2>/dev/null || true
    fi
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        install -D -m 0644 /etc/ssl/certs/ca-certificates.crt \
            "$tree/etc/ssl/certs/ca-certificates.crt"
    fi
    rm -rf "$tree"/var/cache/apt/archives/*.deb
}

buildah_build() {
    local base
    mkdir -p "$work/tree"
    base_tree "$work/tree"
    base=$(build_ah from scratch)
    build_ah add -q "$base" "$work/tree" / >/dev/null
    build_ah commit -q --rm "$base" localhost/bookworm >/dev/null
    rm -rf "$work/tree"
    build_ah build --isolation chroot --format docker --pull-never \
        --build-arg BASE=localhost/bookworm -f "$root/docker/Dockerfile" -t "$tag" "$root" \
        >"$work/log" 2>&1 || die "the build of the image"
    container=$(build_ah from --pull-never "$tag")
}

# Without namespaces the server is an ordinary process of this machine.
server_pid() {
    sed -n 's/.*server ready.* pid=\([0-9]*\).*/\1/p' "$work/log" 2>/dev/null | tail -1
}

buildah_start() {
    local port entry tries=0
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    url=http://127.0.0.1:$port
    mkdir -p "$work/data"
    chown 10001:10001 "$work/data"
    mapfile -t entry < <(buildah_config | jq -r '.Entrypoint[]')
    : >"$work/log"
    build_ah run --isolation chroot -v "$work/data:/data" -v "$work/tasks:/tasks:ro" \
        --env "POOLD_LISTEN=0.0.0.0:$port" "$container" -- "${entry[@]}" --processes 2 \
        --tasks /tasks </dev/null >>"$work/log" 2>&1 &
    runner=$!
    until [ -n "$(server_pid)" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 200 ] || ! kill -0 "$runner" 2>/dev/null; then
            die "the server did not start"
        fi
        sleep 0.1
    done
}

buildah_inside() {
    build_ah run --isolation chroot --env "POOLD_LISTEN=0.0.0.0:${url##*:}" "$container" -- "$@"
}

buildah_uid() { awk '/^Uid:/ { print $2 }' "/proc/$(server_pid)/status"; }

buildah_config() {
    build_ah inspect --type image "$tag" | jq .Docker.config
}

# ---- what is the same for all ------------------------------------------------------------------

for candidate in docker podman; do
    if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then
        engine=$candidate
        break
    fi
done
build=engine_build start=engine_start inside=engine_inside uid=engine_uid config=engine_config
if [ -z "$engine" ]; then
    engine=buildah
    build=buildah_build start=buildah_start inside=buildah_inside uid=buildah_uid
    config=buildah_config
    [ "$(id -u)" = 0 ] || die "no docker or podman answers, and buildah needs root here"
    missing=()
    for tool in buildah debootstrap; do
        command -v $tool >/dev/null || missing+=("$tool")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${missing[*]}"
        { apt-get install -y --no-install-recommends "${missing[@]}" || {
            apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"
        }; } >"$work/log" 2>&1 || die "apt-get install ${missing[*]}"
    fi
fi

wait_ready() {
    curl -sf -o /dev/null --retry 60 --retry-delay 1 --retry-all-errors --max-time 60 "$url/readyz" ||
        die "not ready"
}

# Ends the server the way `docker stop` does and sets exit_code.
stop() {
    if [ "$engine" = buildah ]; then
        exit_code=0
        kill -TERM "$(server_pid)"
        wait "$runner" || exit_code=$?
        runner=
    else
        exit_code=$(engine_stop)
    fi
}

say "building with $engine"
$build

say "the image's configuration"
$config >"$work/config.json"
jq -e '.User == "10001:10001" and .StopSignal == "SIGTERM"
       and .Entrypoint == ["poold", "serve"]
       and (.Volumes | has("/data")) and (.ExposedPorts | has("8080/tcp"))
       and .Healthcheck.Test == ["CMD", "poold", "health"]' "$work/config.json" >/dev/null ||
    die "unexpected configuration: $(cat "$work/config.json")"

mkdir -m 0755 "$work/tasks"
echo 'def shout(text): return text.upper() + "!"' >"$work/tasks/words.py"
chmod 0644 "$work/tasks/words.py"

say "first start"
$start
wait_ready
$inside poold health || die "poold health inside"
[ "$($uid)" = 10001 ] || die "runs as uid $($uid)"
answer=$(curl -sS --max-time 30 "$url/v1/map" -H 'content-type: application/json' \
    -d '{"task":"square","items":[1,2,3]}')
[ "$(jq -c .result <<<"$answer")" = '[1,4,9]' ] || die "map answered $answer"
answer=$(curl -sS --max-time 30 "$url/v1/map" -H 'content-type: application/json' \
    -d '{"task":"words:shout","items":["a","b"]}')
[ "$(jq -c .result <<<"$answer")" = '["A!","B!"]' ] || die "the task in Python answered $answer"
job=$(curl -sS --max-time 30 "$url/v1/apply_async" -H 'content-type: application/json' \
    -d '{"task":"cpu_bound","args":[1000]}' | jq -r .id)
before=$(curl -sS --max-time 60 "$url/v1/jobs/$job/result?timeout=30")
[ "$(jq .result <<<"$before")" = 332833500 ] || die "apply_async answered $before"

say "SIGTERM"
stop
[ "$exit_code" = 0 ] || die "exit code $exit_code after SIGTERM"
if [ "$engine" = buildah ] && [ -n "$(pgrep -u 10001 -x poold || true)" ]; then
    die "processes are left behind: $(pgrep -u 10001 -a -x poold)"
fi

say "second start, same data"
if [ "$engine" = buildah ]; then
    buildah_start
else
    "$engine" start "$container" >/dev/null
    url=http://$("$engine" port "$container" 8080/tcp | sed -n 1p)
fi
wait_ready
after=$(curl -sS --max-time 30 "$url/v1/jobs/$job/result")
[ "$after" = "$before" ] || die "the result was $before and is $after"
stop
[ "$exit_code" = 0 ] || die "exit code $exit_code after the second SIGTERM"

say "the image works"
