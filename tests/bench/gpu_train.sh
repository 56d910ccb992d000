#!/bin/sh
# Checks `--gpu` on a machine with an NVIDIA GPU: trains the same small campaign on one CPU worker and on one GPU worker and compares.
# Needs the development install (README). Usage, in the repository's root: tests/bench/gpu_train.sh [python]
set -eu
python=${1:-.venv/bin/python}
"$python" -c 'import torch, sys; sys.exit("no CUDA device is visible to torch on this machine" if not torch.cuda.is_available() else 0)'
exec env PYTHONPATH=. "$python" tests/bench/gpu_train.py
