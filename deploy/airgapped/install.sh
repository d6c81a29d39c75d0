#!/bin/bash
# Installs Berry from the pieces beside this file, without network.
#
#   bash install.sh [TARGET]          default: ./berry-airgapped; then TARGET/venv/bin/berry
#
# Everything is checked before anything is written: the pieces, and that this Python is the one they are for (PYTHON names
# another). What this Python already has, such as torch with CUDA, is used from there.
set -euo pipefail
die() { echo "install: $1" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); python=${PYTHON:-python3}; target=${1:-berry-airgapped}
[ -f "$here/SHA256SUMS" ] && [ -f "$here/PYTHON" ] || die "$here has no SHA256SUMS or PYTHON: copy them with the pieces"
command -v "$python" >/dev/null || die "there is no $python here: name another, as in PYTHON=python3.12 bash install.sh"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = "$(cat "$here/PYTHON")" ] || die "the pack is for Python $(cat "$here/PYTHON"), $python is $version: run \
PYTHON=python$(cat "$here/PYTHON") bash install.sh, or pack again with that Python"
bad=$(cd "$here" && sha256sum -c SHA256SUMS 2>/dev/null | sed -n 's/: FAILED.*//p' | tr '\n' ' ' || true)
[ -z "$bad" ] || die "missing or damaged, copy again: $bad"

mkdir -p "$target"; target=$(cd "$target" && pwd)
unpack='import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer, 1 << 20)'
cat "$here"/piece-* | "$python" -c "$unpack" | tar -C "$target" -xf -
mkdir -p "$target/berry" && tar -C "$target/berry" -xf "$target/berry.tar" && rm "$target/berry.tar"
"$python" -m venv --system-site-packages "$target/venv"
pip=("$target/venv/bin/python" -m pip --disable-pip-version-check -q)
"${pip[@]}" install --no-index --no-deps "$target"/wheels/*.whl || die "pip can't install what was packed; see above"
"${pip[@]}" check >"$target/pip-check.txt" || echo "install: note: see $target/pip-check.txt for what does not fit" >&2
echo "$target/berry" >"$("$target/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/berry.pth"
printf '#!/bin/sh\nexec "%s/venv/bin/python" -m berry "$@"\n' "$target" >"$target/venv/bin/berry"
chmod +x "$target/venv/bin/berry"
"$target/venv/bin/berry" --help >/dev/null || die "berry does not start; see above"
echo "install: done. Now: BERRY_CACHE=$target $target/venv/bin/berry run $target/berry/configs/tiny.yaml"
