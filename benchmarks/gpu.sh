#!/usr/bin/env bash
# Everything that needs a GPU, in under ten minutes: the CUDA tests, the benchmarks of the similarities and of
# the kernels that could serve them, and one real conversion. Results go to $OUT (default: benchmarks/results/gpu).
#
#   OUT=results bash benchmarks/gpu.sh
#
# Besides the package's own dependencies it needs pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${OUT:-benchmarks/results/gpu}"
mkdir -p "$OUT"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" THESEUS_FX_CACHE="$OUT/.cache" PYTHONUNBUFFERED=1
failed=0

timed() {  # timed SECONDS NAME COMMAND...
  local limit="$1" name="$2"
  shift 2
  echo "== $name"
  if timeout "$limit" "$@" 2>&1 | tee "$OUT/$name.log"; then
    echo "== $name: done"
  else
    echo "== $name: FAILED"
    failed=1
  fi
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$OUT/gpu.csv"
timed 150 cuda_tests python -m pytest -o addopts= -m cuda -p no:cacheprovider tests/run/test_cuda.py \
  tests/similarity/test_similarity_cuda.py
timed 180 similarity python benchmarks/similarity.py --device cuda --no-peers --out "$OUT/similarity_cuda.json"
timed 100 similarity_kernels python benchmarks/similarity_kernels.py --out "$OUT/similarity_kernels.json"
timed 140 demo python benchmarks/demo.py --seeds 0 --device cuda --out "$OUT/demo_cuda.json"
rm -rf "$OUT/.cache"
exit "$failed"
