#!/bin/bash
# Packs what a machine without network lacks to run Berry: the repository, wheels, models; in pieces small enough to carry.
#
#   deploy/airgapped/pack.sh FOLDER [--have FREEZE.txt] [--extras gpu,train] [--model DIR]… [--piece-mb 60]
#
# Run it with network, on a machine with the same Python and platform as the other one (PYTHON names another Python).
# --have: what `pip freeze` prints there. Those packages are not carried, and what is carried is chosen to fit them: torch
# and its CUDA libraries, most of all. Then copy FOLDER, in as many turns as it takes, and run `bash install.sh` in it.
set -euo pipefail
die() { echo "pack: $1" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}; have=; extras=gpu,train; piece_mb=60; models=(); wheels=
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || die "give the folder to write to, for example: deploy/airgapped/pack.sh build/pack"
out=$1; shift
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 wants a value"
    case $1 in
        --have) have=$2 ;; --extras) extras=$2 ;; --piece-mb) piece_mb=$2 ;; --model) models+=("$2") ;;
        --wheels) wheels=$2 ;;  # these, instead of fetching any
        *) die "there is no option $1 (there are --have, --extras, --model, --piece-mb, --wheels)" ;;
    esac
    shift 2
done
[ -z "$have" ] || [ -f "$have" ] || die "--have $have: no such file; make it there with: pip freeze > $(basename "$have")"
for model in ${models[@]+"${models[@]}"}; do [ -d "$model" ] || die "--model $model: no such folder"; done
git -C "$root" rev-parse -q --verify HEAD >/dev/null || die "$root is no git checkout: what is packed is its last commit"
[ -z "$(git -C "$root" status --porcelain)" ] || echo "pack: note: changes that are not committed are not packed" >&2

mkdir -p "$out"; rm -f "$out"/piece-* "$out"/SHA256SUMS
inside=$(mktemp -d "$out/.inside.XXXX"); trap 'rm -rf "$inside"' EXIT
mkdir "$inside/wheels" "$inside/models"
git -C "$root" archive --format=tar -o "$inside/berry.tar" HEAD
if [ -n "$wheels" ]; then
    cp "$wheels"/*.whl "$inside/wheels"
else
    echo "pack: fetching wheels; minutes" >&2
    grep -E '^[A-Za-z0-9._-]+==' "${have:-/dev/null}" >"$inside/have.txt" || true
    "$python" -m pip wheel -q --disable-pip-version-check -w "$inside/wheels" -c "$inside/have.txt" "$root[$extras]"
    while IFS== read -r name _; do  # there already
        wheel=$(printf %s "$name" | tr '[:upper:].-' '[:lower:]__')
        find "$inside/wheels" -iname "$wheel-*.whl" -delete
    done <"$inside/have.txt"
    rm "$inside/have.txt"
    rm -f "$inside"/wheels/berry_pipeline-*.whl  # the repository goes along whole
fi
for model in ${models[@]+"${models[@]}"}; do cp -rL "$model" "$inside/models/"; done
"$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' >"$inside/python"
tar -C "$inside" --sort=name --mtime=@0 --owner=0 --group=0 -cf - . | split -b "$((piece_mb * 1000000))" -d -a 3 - "$out/piece-"
cp "$here/install.sh" "$out"
(cd "$out" && sha256sum piece-* install.sh >SHA256SUMS)
cp "$inside/python" "$out/PYTHON"
echo "pack: $(ls "$out"/piece-* | wc -l) pieces, $(du -cm "$out"/piece-* | tail -1 | cut -f1) MB in $out"
