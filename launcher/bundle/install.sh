#!/bin/sh
# Install dtrain from this folder into an environment of its own. No network is used.
#
#   sh install.sh [ENVIRONMENT]         a folder to make (default: ./dtrain-environment)
#   PYTHON=python3.12 sh install.sh     with this interpreter
#   DRY=1 sh install.sh                 only look whether everything arrived
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
environment=${1:-dtrain-environment}
fail() { echo "install.sh: $*" >&2; exit 1; }

[ -f "$here/bundle.json" ] || fail "expected bundle.json beside this script, got none; unpack the whole folder"
# Facts of bundle.json that a shell can read without an interpreter: one line each.
wanted=$(sed -n 's/^ "python": "\(.*\)",$/\1/p' "$here/bundle.json")
machine=$(sed -n 's/^ "machine": "\(.*\)",$/\1/p' "$here/bundle.json")
[ -n "$wanted" ] || fail "expected a bundle.json that names a Python, got none there; copy the folder again"
[ "$(uname -m)" = "$machine" ] || fail "expected a machine of type $machine, got $(uname -m); make a bundle for it"

python=${PYTHON:-}
for candidate in "python$wanted" python3 python; do
    [ -z "$python" ] && command -v "$candidate" > /dev/null 2>&1 && python=$candidate
done
[ -n "$python" ] || fail "expected Python $wanted on PATH, got none; give one: PYTHON=/path/to/python sh install.sh"
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$found" = "$wanted" ] || fail "expected Python $wanted, got $found ($python); give one: PYTHON=/path/to/python$wanted"

"$python" "$here/verify.py" "$here"
[ -z "${DRY:-}" ] || exit 0

"$python" -m venv --without-pip "$environment"
installed="$environment/bin/python"
# Packages that this interpreter has and the bundle leaves out are seen from the new environment too.
if ! grep -q '^ "present": \[\]' "$here/bundle.json"; then
    "$python" -c 'import sys; print("\n".join(p for p in sys.path if p.endswith("-packages")))' > "$environment/present.pth"
    mv "$environment/present.pth" "$("$installed" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/"
fi
# The environment has no pip: the wheel of pip in this folder runs as it lies there, so no ensurepip is needed.
for pip in "$here"/wheels/pip-*.whl; do :; done
"$installed" "$pip/pip" --isolated install --no-index --find-links "$here/wheels" \
    --disable-pip-version-check --no-cache-dir --quiet @REQUIREMENTS@
"$environment/bin/dtrain" --version
echo "installed into $environment; try: $environment/bin/dtrain doctor"
