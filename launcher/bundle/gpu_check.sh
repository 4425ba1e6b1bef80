#!/bin/sh
# Install dtrain from this folder, run its GPU tests and benchmarks, and leave gpu_check.txt and gpu_check.json.
#
#   sh gpu_check.sh [FOLDER]     where environment and reports go (default: ./dtrain-gpu-check)
#
# Ends with 0 if everything passed, 1 if a step failed; the reports are written either way.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-dtrain-gpu-check}
mkdir -p "$folder"
folder=$(CDPATH='' cd -- "$folder" && pwd)
sh "$here/install.sh" "$folder/environment"
exec "$folder/environment/bin/python" "$here/gpu_check.py" "$here" "$folder"
