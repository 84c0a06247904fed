#!/bin/sh
# The demonstration: one spec on its whole road, from its text to verified kernels. Arguments: einloom, spec, output folder.
set -eu
einloom=$1
spec=$2
out=$3
if [ -z "${EINLOOM_PTXAS:-}" ] && [ -x .tools/ptxas ]; then
    export EINLOOM_PTXAS="$PWD/.tools/ptxas"
fi

step() {
    printf '\n$ einloom'
    printf ' %s' "$@"
    printf '\n'
    "$einloom" "$@"
}

printf '$ cat %s\n' "$spec"
cat "$spec"
step check "$spec"
step explain "$spec"
for target in sm_80 sm_90a; do
    step compile "$spec" --target $target -o "$out/$target" --emit plan,tile,llvm-ir,ptx,manifest
    ls -l "$out/$target"
done
step run "$spec" --device cpu
step verify "$spec" --device cpu

echo
gpu=$(nvidia-smi --id=0 --query-gpu=name,compute_cap --format=csv,noheader 2>/dev/null) || gpu=
case "${gpu##*, }" in
[89].[0-9] | [1-9][0-9].[0-9])
    echo "on $gpu:"
    step verify "$spec" --device cuda:0
    step bench "$spec" --device cuda:0
    ;;
"") echo "skipped the run on a GPU: nvidia-smi finds none here" ;;
*) echo "skipped the run on a GPU: $gpu, and kernels need compute capability 8.0" ;;
esac
