#!/bin/sh
# Installs what a build of einloom needs and lacks: Debian packages, Rust's presence, ptxas and nvdisasm. Run again, it finds everything
# in place and does nothing. With `build`, ptxas and nvdisasm are left out.
#
# EINLOOM_NO_INSTALL=1  never installs packages, only says which are missing
# EINLOOM_PTXAS=FILE    uses this ptxas instead of fetching one
# EINLOOM_NVDISASM=FILE uses this nvdisasm instead of fetching one
# CI=true               makes a missing ptxas or nvdisasm an error; elsewhere it is a printed note
set -eu
cd "$(dirname "$0")/.."

packages="llvm-22-dev libzstd-dev zlib1g-dev build-essential"
ptxas_version=13.0.88
ptxas_wheel_sha256=56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
ptxas_sha256=daba837a68265cae38c832d13399b61dab811891de9b8914defddef143b849f2
nvdisasm_version=13.2.51
nvdisasm_wheel_sha256=5a7acf77c55d6d2911ed6155d4d5bc156ffadf9df7a68a89b0c1155f4b13688c
nvdisasm_sha256=723fccdd8a77936df862bf65e3ee4e2925331b396d11978a8c6c301f3e9b979d

say() { echo "setup: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and sudo is not installed: $*"
    fi
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

has_candidate() {
    apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

apt_update() {
    [ -n "${apt_updated:-}" ] || as_root apt-get update -q
    apt_updated=1
}

apt_install() {
    missing=""
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ -z "${EINLOOM_NO_INSTALL:-}" ] || fail "missing Debian packages:$missing"
    say "installing$missing"
    apt_update
    for package in $missing; do
        has_candidate "$package" || no_candidate "$package"
    done
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

no_candidate() {
    case $1 in
    *-22-dev)
        codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
        say "this system's package lists have no $1; LLVM's own archive has it:"
        say "  wget -qO- https://apt.llvm.org/llvm-snapshot.gpg.key | sudo tee /etc/apt/trusted.gpg.d/apt.llvm.org.asc"
        say "  echo 'deb http://apt.llvm.org/$codename/ llvm-toolchain-$codename-22 main' | sudo tee /etc/apt/sources.list.d/llvm-22.list"
        fail "then run this again, or name an LLVM 22 installation in LLVM_SYS_221_PREFIX"
        ;;
    *) fail "this system's package lists have no $1" ;;
    esac
}

set_up_system() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "einloom is built on x86-64 Linux; this is $(uname -sm)"
    if [ -n "${LLVM_SYS_221_PREFIX:-}" ]; then
        [ -x "$LLVM_SYS_221_PREFIX/bin/llvm-config" ] || fail "LLVM_SYS_221_PREFIX has no bin/llvm-config"
    elif command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086 # a list of words
        apt_install $packages
    elif ! command -v llvm-config-22 >/dev/null; then
        fail "no apt-get here: install LLVM 22, zlib and zstd with their static libraries, and a C++ compiler by hand"
    fi
}

set_up_rust() {
    PATH="$PATH:$HOME/.cargo/bin"
    command -v cargo >/dev/null || fail "Rust 1.95 or newer is needed, from https://rustup.rs: \
curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    minor=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    [ "${minor:-95}" -ge 95 ] || fail "Rust 1.95 or newer is needed, this is $(cargo --version): rustup update"
}

has_sha256() {
    [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status -
}

find_pip() {
    for candidate in "python3 -m pip" pip3 pip; do
        # shellcheck disable=SC2086 # a command and its arguments
        if $candidate --version >/dev/null 2>&1; then
            pip=$candidate
            return 0
        fi
    done
    return 1
}

# One program out of a wheel: name, Python package, version, hashes of the wheel and of the program. NVIDIA's licence lets nobody else hand them
# on, so they are fetched and never committed.
fetch() {
    if ! find_pip && command -v apt-get >/dev/null; then
        apt_install python3-pip
        find_pip || return 1
    fi
    say "fetching $1 $3"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    echo "$2==$3 --hash=sha256:$4" >"$folder/requirements.txt"
    $pip download --quiet --no-deps --only-binary=:all: --require-hashes -r "$folder/requirements.txt" -d "$folder" || return 1
    mkdir -p .tools
    python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("nvidia/cu13/bin/" + sys.argv[2]))' \
        "$folder"/*.whl "$1" >"$folder/$1" || return 1
    chmod +x "$folder/$1"
    mv "$folder/$1" ".tools/$1"
    has_sha256 ".tools/$1" "$5"
}

# The variable that names a program and its value, what is missing without it, then the arguments of `fetch`.
set_up_tool() {
    variable=$1 named=$2 without=$3
    shift 3
    if [ -n "$named" ]; then
        [ -x "$named" ] || fail "$variable names no program: $named"
    elif has_sha256 ".tools/$1" "$5"; then
        :
    elif [ -n "${EINLOOM_NO_INSTALL:-}" ] || ! (fetch "$@"); then
        [ "${CI:-}" != true ] || fail "$1 $3 could not be fetched"
        say "no $1: $without"
    fi
}

set_up_tools() {
    set_up_tool EINLOOM_PTXAS "${EINLOOM_PTXAS:-}" "generated PTX will not be assembled, the tests of it are skipped" \
        ptxas nvidia-cuda-nvcc "$ptxas_version" "$ptxas_wheel_sha256" "$ptxas_sha256"
    set_up_tool EINLOOM_NVDISASM "${EINLOOM_NVDISASM:-}" "machine code will not be read, the tests of it are skipped" \
        nvdisasm nvidia-cuda-nvdisasm "$nvdisasm_version" "$nvdisasm_wheel_sha256" "$nvdisasm_sha256"
}

set_up_system
set_up_rust
[ "${1:-}" = build ] || set_up_tools
