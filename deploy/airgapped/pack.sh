#!/bin/bash
# Packs what a machine without network lacks to run Berry: the repository, wheels, models; in pieces small enough to carry.
#
#   deploy/airgapped/pack.sh FOLDER [--have FREEZE.txt] [--extras gpu,train] [--left-out FILE] [--pin NAME==VERSION]…
#       [--model DIR]… [--piece-mb 60]
#
# Run it with network, on a machine with the same Python and platform as the other one (PYTHON names another Python).
# --have: what `pip freeze` prints there. What is carried is chosen to fit its torch, Triton and CUDA; of the rest, what
# is there in a version that fits is not carried. --left-out: packages that are not carried though they are declared;
# default: left_out.txt beside this file, `none` carries all. --pin: a version that you want, such as of vLLM.
# Then copy FOLDER, in as many turns as it takes, and run `bash install.sh` in it.
set -euo pipefail
die() { echo "pack: $1" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}; have=; extras=gpu,train; piece_mb=60; models=(); wheels=; pins=(); left_out=$here/left_out.txt
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || die "give the folder to write to, for example: deploy/airgapped/pack.sh build/pack"
out=$1; shift
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 wants a value"
    case $1 in
        --have) have=$2 ;; --extras) extras=$2 ;; --piece-mb) piece_mb=$2 ;; --model) models+=("$2") ;;
        --left-out) left_out=$2 ;; --pin) pins+=("$2") ;;
        --wheels) wheels=$2 ;;  # these, instead of fetching any
        *) die "there is no option $1 (there are --have, --extras, --left-out, --model, --piece-mb, --pin, --wheels)" ;;
    esac
    shift 2
done
[ -z "$have" ] || [ -f "$have" ] || die "--have $have: no such file; make it there with: pip freeze > $(basename "$have")"
[ "$left_out" = none ] || [ -f "$left_out" ] || die "--left-out $left_out: no such file; none carries all"
for model in ${models[@]+"${models[@]}"}; do [ -d "$model" ] || die "--model $model: no such folder"; done
command -v xz >/dev/null || die "there is no xz here: install xz-utils"
git -C "$root" rev-parse -q --verify HEAD >/dev/null || die "$root is no git checkout: what is packed is its last commit"
[ -z "$(git -C "$root" status --porcelain)" ] || echo "pack: note: changes that are not committed are not packed" >&2

mkdir -p "$out"; rm -f "$out"/piece-* "$out"/SHA256SUMS
inside=$(mktemp -d "$out/.inside.XXXX"); trap 'rm -rf "$inside"' EXIT
mkdir "$inside/wheels" "$inside/models"
git -C "$root" archive --format=tar -o "$inside/berry.tar" HEAD
if [ -n "$wheels" ]; then
    cp "$wheels"/*.whl "$inside/wheels"
else
    echo "pack: asking which versions fit together" >&2
    grep -E '^[A-Za-z0-9._-]+==' "${have:-/dev/null}" >"$inside/have.txt" || true
    # uv finds them in seconds, and heeds what is there already as a wish: pip knows only demands.
    "$python" -m venv "$inside/uv" && "$inside/uv/bin/python" -m pip install -q --disable-pip-version-check uv
    { grep -iE '^(torch|triton|nvidia-[a-z0-9-]*)==' "$inside/have.txt" || true  # what all else is built for
      printf '%s\n' ${pins[@]+"${pins[@]}"}; } >"$inside/fixed.txt"
    cp "$inside/have.txt" "$inside/whole.txt"
    if [ "$left_out" = none ]; then : >"$inside/left_out.txt"; else cp "$left_out" "$inside/left_out.txt"; fi
    wanted=(); for extra in ${extras//,/ }; do wanted+=(--extra "$extra"); done
    "$inside/uv/bin/uv" pip compile -q "$root/pyproject.toml" "${wanted[@]}" -c "$inside/fixed.txt" \
        --override "$inside/left_out.txt" --python "$python" --no-header --no-annotate -o "$inside/whole.txt" >/dev/null ||
        die "no versions fit; see above"
    "$python" "$here/closure.py" choose "$inside/whole.txt" "$inside/have.txt" >"$out/CARRIED"
    echo "pack: fetching $(wc -l <"$out/CARRIED") wheels; minutes" >&2
    "$python" -m pip wheel -q --disable-pip-version-check --no-deps -w "$inside/wheels" -r "$out/CARRIED" >"$out/pip.txt" \
        2>&1 || die "pip can't fetch what is to be carried; what it says is in $out/pip.txt"
    rm -rf "$inside/uv" "$inside"/{have,fixed,whole,left_out}.txt "$out/pip.txt"
fi
for model in ${models[@]+"${models[@]}"}; do cp -rL "$model" "$inside/models/"; done
"$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' >"$inside/python"
"$python" "$here/closure.py" loosen "$inside/wheels"
tar -C "$inside" --sort=name --mtime=@0 --owner=0 --group=0 -cf - . | xz -T0 -6 | split -b "$((piece_mb * 1000000))" -d -a 3 - "$out/piece-"
cp "$here/install.sh" "$out"
(cd "$out" && sha256sum piece-* install.sh >SHA256SUMS)
cp "$inside/python" "$out/PYTHON"; echo "$extras" >"$out/EXTRAS"
{ sed -nE 's/^torch==([0-9.]+).*/\1/p' "${have:-/dev/null}"; } >"$out/TORCH"
echo "pack: $(ls "$out"/piece-* | wc -l) pieces, $(du -cm "$out"/piece-* | tail -1 | cut -f1) MB in $out"
