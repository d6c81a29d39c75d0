#!/bin/bash
# Installs Berry from the pieces beside this file, without network.
#
#   bash install.sh [TARGET]          default: ./berry-airgapped; then TARGET/venv/bin/berry
#
# Everything is checked before anything is written: the pieces, that this Python and its torch are those they are for
# (PYTHON names another), and that there is a GPU with its driver (ANY_GPU=1 installs without, as on a cluster's head).
# What this Python already has, such as torch with CUDA, is used from there.
set -euo pipefail
die() { echo "install: $1" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); python=${PYTHON:-python3}; target=${1:-berry-airgapped}; least_mib=8000
for name in SHA256SUMS PYTHON EXTRAS TORCH; do [ -f "$here/$name" ] || die "$here has no $name: copy it with the pieces"; done
command -v "$python" >/dev/null || die "there is no $python here: name another, as in PYTHON=python3.12 bash install.sh"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = "$(cat "$here/PYTHON")" ] || die "the pack is for Python $(cat "$here/PYTHON"), $python is $version: run \
PYTHON=python$(cat "$here/PYTHON") bash install.sh, or pack again with that Python"
if [ -s "$here/TORCH" ]; then
    torch=$("$python" -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0])' 2>/dev/null || echo none)
    [ "$torch" = "$(cat "$here/TORCH")" ] || die "the pack is for torch $(cat "$here/TORCH"), $python has $torch: install \
that one, or pack again with what \`pip freeze\` prints here"
fi
if grep -q gpu "$here/EXTRAS" && [ -z "${ANY_GPU:-}" ]; then
    memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null | sort -n | head -1 || true)
    [ -n "$memory" ] || die "nvidia-smi finds no GPU: install NVIDIA's driver, or say ANY_GPU=1 where none is wanted"
    [ "$memory" -ge "$least_mib" ] || die "a GPU here has $memory MiB of memory, an engine wants $least_mib: say ANY_GPU=1 for \
models that fit all the same"
fi
bad=$(cd "$here" && sha256sum -c SHA256SUMS 2>/dev/null | sed -n 's/: FAILED.*//p' | tr '\n' ' ' || true)
[ -z "$bad" ] || die "missing or damaged, copy again: $bad"

mkdir -p "$target"; target=$(cd "$target" && pwd)
unpack='import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer, 1 << 20)'
cat "$here"/piece-* | "$python" -c "$unpack" | tar -C "$target" -xf -
mkdir -p "$target/berry" && tar -C "$target/berry" -xf "$target/berry.tar" && rm "$target/berry.tar"
"$python" -m venv --system-site-packages "$target/venv"
pip=("$target/venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install -q --no-index --no-deps "$target"/wheels/*.whl || die "pip can't install what was packed; see above"
"${pip[@]}" check >"$target/pip-check.txt" 2>&1 ||
    echo "install: note: $target/pip-check.txt lists what is declared and was left out" >&2
echo "$target/berry" >"$("$target/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/berry.pth"
printf '#!/bin/sh\nexec "%s/venv/bin/python" -m berry "$@"\n' "$target" >"$target/venv/bin/berry"
chmod +x "$target/venv/bin/berry"
"$target/venv/bin/berry" --help >/dev/null || die "berry does not start; see above"
echo "install: done. Now: BERRY_CACHE=$target $target/venv/bin/berry run $target/berry/configs/tiny.yaml"
