#!/usr/bin/env bash
# Measures on the GPU that JAX finds, and writes results/benchmarks/gpu-*.json: bash benchmarks/gpu.sh [PYTHON]
# MNIST=FILE.npz, of arrays x (70,000, 28, 28) and y, takes the place of what TFDS has prepared.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python}"
out="${OUT:-results/benchmarks}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -c 'import jax; jax.devices("gpu")' || { echo "error: JAX finds no GPU" >&2; exit 2; }
mkdir -p "$out"

mnist=(--data mnist)
contest=mnist
if [ -n "${MNIST:-}" ]; then
    mnist=(--data "$MNIST" --n-clusters 10)
    contest="$MNIST,k=10,shape=28x28"
fi

"$python" -m benchmarks.throughput --device gpu --out "$out/gpu-throughput.json"
"$python" -m benchmarks.peers --device gpu --out "$out/gpu-peers.json"
"$python" -m benchmarks.frontier --data digits "$contest" --methods auto --seeds 3 \
    --folder "$work/frontier" --out "$out/gpu-frontier.json"

# The paper's whole schedule: its result has the seconds and the steps a second of each phase, and the device.
"$python" -m experiments.run "${mnist[@]}" --preset paper --no-report --baselines none --out "$work/paper"
cp "$work/paper/result.json" "$out/gpu-paper.json"

# Ten seeds as one program beside one seed, each with its compilation.
for seeds in 1 10; do
    began=$(date +%s.%N)
    "$python" -m experiments.sweep "${mnist[@]}" --preset auto --seeds "$seeds" --held-out 0 --no-report \
        --cache "$work/cache-$seeds" --out "$work/seeds-$seeds" >&2
    echo "$seeds $began $(date +%s.%N)"
done >"$work/seconds"
"$python" - "$work/seconds" "$out/gpu-sweep.json" <<'PY'
import sys
from pathlib import Path

from benchmarks import command

rows = [line.split() for line in Path(sys.argv[1]).read_text().splitlines()]
records = [{"seeds": int(seeds), "seconds": float(ended) - float(began)} for seeds, began, ended in rows]
command.write(Path(sys.argv[2]), records)
PY
