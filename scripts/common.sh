# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: where things are, which Python, how to fail.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RELEASE=$ROOT/build/release
VENV=$ROOT/build/venv

# The Python that has torch: the caller's, or the project's own environment, which scripts/setup makes.
PYTHON=${COPPICE_PYTHON:-$VENV/bin/python}

# Lets ccache find in one clone what was compiled in another, headers compiled beforehand (cmake/Headers.cmake) included.
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros

note() { echo "$*" >&2; }

die() {
  note "error: $*"
  exit 1
}

# Configures the release preset where that has not been done, or where the torch it was done with has gone.
configure() {
  local cache=$RELEASE/CMakeCache.txt torch=
  [[ -f $cache ]] && torch=$(sed -n 's/^Torch_DIR:PATH=//p' "$cache")
  [[ -n $torch && ! -d $torch ]] && rm -f "$cache"
  if [[ ! -f $RELEASE/build.ninja || ! -f $cache ]]; then
    (cd "$ROOT" && cmake --preset release)
  fi
}
