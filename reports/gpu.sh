#!/usr/bin/env bash
# Certify what a GPU computes, on a machine without a network and without tox, within CTS_MINUTES (default: 8).
#
#   reports/gpu.sh --wheels DIR [PIP OPTIONS]   where there is a network: collect what the suite itself needs in DIR
#   reports/gpu.sh DIR [OUT]                    where the GPU is: certificates and their page go to OUT (default: reports/out/gpu)
#
# torch, cupy and jax are certified as they are installed for PYTHON (default: python3); nothing is installed there: the
# suite has a virtual environment of its own, made of the wheels in DIR and removed at the end. The wheels must be for
# that Python; another one than the one that collects them is named to pip: --python-version 3.12.
# CTS_DEVICE (default: gpu) is the device; cpu shows that everything is in place where no GPU is.
#
# Each backend gets an equal share of the time that is left; what its share cuts short is in a partial certificate. The
# arithmetic, which a cut would lose, is found first: OUT/arithmetic. Exit code: 0 with certificates, 2 for a mistake in
# the command, 3 where nothing could be certified, with the reasons.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "no interpreter ${PYTHON:-python3}" >&2; exit 2; }
device=${CTS_DEVICE:-gpu}
end=$((SECONDS + ${CTS_MINUTES:-8} * 60 - 45)) # the report takes the rest

usage() {
    sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2
    exit 2
}

collect() { # DIR, options of pip
    local wheels=$1 && shift
    mkdir -p "$wheels"
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" "$root"
    "$python" -m pip download --quiet --only-binary=:all: --dest "$wheels" "$@" pip "$wheels"/conv1d_cts-*.whl
    echo "$wheels: $(find "$wheels" -name '*.whl' | wc -l) wheels"
}

install() { # OPTIONS: pip's own wheel runs it, in the interpreter of the suite
    "$work/suite/bin/python" "$(echo "$wheels"/pip-*.whl)/pip" --quiet --disable-pip-version-check \
        install --no-index --find-links "$wheels" "$@"
}

has() { # MODULE, for the backend's interpreter
    "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"
}

prepare() {
    "$python" -m venv --without-pip "$work/suite"
    install conv1d-cts ||
        { echo "$wheels lacks a wheel for $("$python" -V): collect them anew with --wheels" >&2; exit 3; }
    for light in numpy ml_dtypes array_api_compat; do # what adapters need beside the framework
        has "$light" || install --no-deps --target "$work/beside" "$light"
    done
    export PYTHONPATH=$work/beside
    export JAX_COMPILATION_CACHE_DIR=$work/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
}

within() { # SECONDS SIGNAL COMMAND ...
    timeout --signal="$2" --kill-after=15 "$(($1 > 1 ? $1 : 1))" "${@:3}"
}

certify() { # BACKEND SECONDS
    local chosen=(--device "$device" --profile quick --python "$python") started=$SECONDS
    [ "$device" = cpu ] || [ "$1" = cupy ] || chosen+=(--surface functional --surface tf32-off)
    echo "== $1 on $device, at most $2 s"
    within $(($2 / 3)) INT "$work/suite/bin/python" -m pytest --quiet --no-header --tb=no -p no:cacheprovider \
        -p conv1d_cts.conformance.plugin --pyargs conv1d_cts.conformance -k arith \
        --backend "$1" "${chosen[@]}" --certificate "$out/arithmetic" || [ $? != 4 ] || return 0 # no such device: said
    within $(($2 - SECONDS + started)) TERM "$work/suite/bin/conv1d-cts" certify "$1" "${chosen[@]}" \
        --jobs "$(($(nproc) > 15 ? 8 : ($(nproc) + 1) / 2))" --out "$out" || true
}

certify_all() {
    local found=() left
    for name in torch cupy jax; do # jax compiles each geometry: it gets what the others leave
        if has "$name"; then found+=("$name"); else echo "$name is not installed for $python"; fi
    done
    left=${#found[@]}
    for name in "${found[@]}"; do
        certify "$name" $(((end - SECONDS) / left))
        left=$((left - 1))
    done
}

main() {
    wheels=$(cd "$1" 2>/dev/null && pwd) || { echo "no folder $1 with wheels" >&2; exit 2; }
    compgen -G "$wheels/conv1d_cts-*.whl" >/dev/null ||
        { echo "no wheel of conv1d-cts in $wheels: see --wheels" >&2; exit 2; }
    out=${2:-$root/reports/out/gpu}
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    prepare
    cd "$work" # nothing of the user's folder is in the run
    certify_all
    compgen -G "$out/*.json" >/dev/null || { echo "nothing was certified, for the reasons above" >&2; exit 3; }
    for folder in "$out/arithmetic" "$out"; do
        if compgen -G "$folder/*.json" >/dev/null; then "$work/suite/bin/conv1d-cts" report "$folder" || true; fi
    done
}

case ${1:-} in
"" | -h | --help) usage ;;
--wheels) [ $# -ge 2 ] || usage; collect "${@:2}" ;;
*) main "$@" ;;
esac
