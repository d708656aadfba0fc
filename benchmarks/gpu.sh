#!/usr/bin/env bash
# Throughput on a GPU, of networks with random weights on made-up images, in one call of ten minutes at
# most. It needs torch, timm and what sweep.train imports; neither Ray nor MLflow, no data and no weights.
#
#   bash benchmarks/gpu.sh                                      on a machine with a GPU
#   bash benchmarks/gpu.sh --models vit_tiny_patch16_224 --size 64 --images 64 --seconds 0.2    a trial, anywhere
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=. exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
