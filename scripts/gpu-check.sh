#!/usr/bin/env bash
# Checks the CUDA library on this machine's GPU and times it, in one command and less than nine minutes.
#
#   scripts/gpu-check.sh [FOLDER]      results go to FOLDER (default out/gpu-check): a log for each stage, times, and one JSON file of everything
#
# Needs an NVIDIA GPU with driver 580 or newer, the CUDA 13 toolkit, a C++20 compiler, cmake and ninja; no Node. Times of rivals need Python with PyTorch;
# compute-sanitizer is used where it is installed. What is missing is said and skipped. Builds for this machine's own GPU alone.
#
# Stages: build; every PTX wrapper on random data against what the emulator computes; every op against the float32 reference; every golden model case;
# compute-sanitizer (memcheck, racecheck) on small cases. Then times of each op, beside device copy, cuBLAS and PyTorch's attention, and of whole models with random weights, beside Hugging Face
# transformers with the same decoder weights; all of this same run.
# Exits non-zero when a result is wrong, or a check could not be made. Sanitizers, times and rivals that are left out are only said.
#
# Variables:
#   GPU_CHECK_SECONDS=N       of the whole run, default 530; a stage that no longer fits is left out
#   GPU_CHECK_TREE=FOLDER     CMake's tree, default FOLDER/build
#   GPU_CHECK_EXPECTED=FILE   values of the PTX wrappers made before (cuda_ptx_test --write), in place of making them here
#   GPU_CHECK_EMULATOR=1      the emulator stands in for the GPU, with tiny shapes and a part of the cases: how test/gpu-check.test.ts tests this script.
#                             Programs that are in the tree already are not built.
set -uo pipefail
{  # read as a whole before anything runs, so that editing the file meanwhile does no harm

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/out/gpu-check}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tree=${GPU_CHECK_TREE:-$out/build}
emulated=${GPU_CHECK_EMULATOR:-}
deadline=$((SECONDS + ${GPU_CHECK_SECONDS:-530}))
stages=$out/stages.tsv
rm -f "$out"/*.log "$out"/{times,rivals,models}.json "$out"/hf-*.json
printf 'check\tstage\tstate\tseconds\tdetail\n' >"$stages"
failed=0

has() { command -v "$1" >/dev/null 2>&1; }
if [ -n "$emulated" ]; then nice=(nice -n 5); else nice=(); fi

# note CHECK STAGE STATE SECONDS DETAIL — CHECK is "must": a run without it is not good; "may": it may be left out, but not be wrong; "rival": of others.
note() {
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$stages"
  printf '%-10s %-8s %4s s  %s\n' "$2" "$3" "$4" "$5"
  if [ "$1$3" = mayWRONG ] || { [ "$1" = must ] && [ "$3" != ok ]; }; then failed=1; fi
}

# stage CHECK STAGE SECONDS COMMAND… — runs it within its seconds and what is left of the run; its words go to STAGE.log.
stage() {
  local check=$1 name=$2 seconds=$3 log=$out/$2.log
  shift 3
  local left=$((deadline - SECONDS)) started=$SECONDS status=0 state=ok detail
  [ "$left" -lt "$seconds" ] && seconds=$left
  if [ "$seconds" -lt 3 ]; then
    note "$check" "$name" skipped 0 'no time is left'
    return 1
  fi
  timeout --kill-after=5 "$seconds" "$@" >"$log" 2>&1 || status=$?
  detail=$(grep -E '[0-9]+ (passed|timed), ' "$log" | tail -n 1)
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    state=late detail="stopped after $seconds s"
  elif [ "$status" -ne 0 ]; then
    state=WRONG detail="exit code $status; $log"
  fi
  note "$check" "$name" "$state" $((SECONDS - started)) "$detail"
  if [ "$state" = WRONG ]; then grep -E 'FAILED|WRONG|[Ee]rror|ERROR' "$log" | head -n 12 | sed 's/^/    /'; fi
  [ "$state" = ok ]
}

# ---- The machine ----

if [ -n "$emulated" ]; then
  gpu='emulated' capability=80 driver=none
elif has nvidia-smi && has nvcc; then
  IFS=, read -r gpu capability driver < <(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader | head -n 1)
  capability=$(tr -d '. ' <<<"$capability") driver=${driver// /}
  [ "${driver%%.*}" -ge 580 ] 2>/dev/null || echo "gpu-check: driver $driver is older than 580, which CUDA 13 needs"
else
  echo 'gpu-check: an NVIDIA driver (nvidia-smi) and the CUDA toolkit (nvcc) are needed. Without a GPU: GPU_CHECK_EMULATOR=1.' >&2
  exit 2
fi
echo "gpu-check: $gpu, compute capability $capability, driver $driver"

# ---- Build ----

native=$tree/test/native
if [ -n "$emulated" ]; then
  targets=(cuda_ptx_test cuda_ops_test cuda_golden_test op_times_emulated model_times nvlm_emulator)
  options=(-DNVLM_CUDA=off)
else
  targets=(cuda_ptx_test cuda_ptx_gpu cuda_ops_gpu cuda_golden_gpu op_times model_times nvlm_cuda)
  options=(-DNVLM_CUDA=on "-DNVLM_CUDA_ARCHS=$capability" -DNVLM_GPU_CHECK=ON)
fi
build() {
  cmake -S "$root" -B "$tree" $(has ninja && echo -G Ninja) -DNVLM_BUILD_ADDON=OFF -DNVLM_BUILD_TESTS=ON "${options[@]}" &&
    cmake --build "$tree" --parallel "$(nproc)" --target "${targets[@]}"
}
built() {
  [ -n "$emulated" ] && [ -x "$native/cuda_ptx_test" ] && [ -x "$native/cuda_ops_test" ] && [ -x "$native/cuda_golden_test" ] && [ -x "$native/gpu/op_times_emulated" ] && [ -x "$native/gpu/model_times" ]
}
export -f build has
if built; then
  note must build ok 0 'was there'
else
  export root tree
  # Arrays can't be exported.
  if ! stage must build 240 bash -c "options=(${options[*]@Q}) targets=(${targets[*]@Q}); build"; then
    tail -n 25 "$out/build.log"
    exit 1
  fi
fi
library=$(find "$tree" -name "$([ -n "$emulated" ] && echo nvlm_emulator.so || echo nvlm_cuda.so)" | head -n 1)

# ---- Are results right? ----

expected=${GPU_CHECK_EXPECTED:-$out/ptx.txt}
[ -n "${GPU_CHECK_EXPECTED:-}" ] || stage must ptx-emulated 60 "$native/cuda_ptx_test" --write "$expected"
if [ -n "$emulated" ]; then
  stage must ptx 60 "${nice[@]}" "$native/cuda_ptx_test" --compare "$expected"
  stage must ops 120 "${nice[@]}" env NVLM_CUDA_LIBRARY="$library" "$native/cuda_ops_test" gather
  stage must golden 200 "${nice[@]}" env -u NVLM_CUDA_LIBRARY "$native/cuda_golden_test" d-llama-default-system
else
  stage must ptx 30 "$native/gpu/cuda_ptx_gpu" --compare "$expected"
  export NVLM_CUDA_LIBRARY=$library
  stage must ops 100 "$native/gpu/cuda_ops_gpu"
  stage must golden 60 "$native/gpu/cuda_golden_gpu"
  if has compute-sanitizer; then
    # An allocation from a pool is part of a larger one to memcheck, unless it is told to look at each.
    small=(bash -c 'for word in "$@"; do "$0" --error-exitcode 9 --tool "$tool" --print-limit 5 "$program" "$word" || exit 1; done' compute-sanitizer)
    export program=$native/gpu/cuda_ops_gpu
    tool=memcheck stage may memcheck-ptx 30 compute-sanitizer --tool memcheck --error-exitcode 9 "$native/gpu/cuda_ptx_gpu"
    tool=racecheck stage may racecheck-ptx 30 compute-sanitizer --tool racecheck --error-exitcode 9 "$native/gpu/cuda_ptx_gpu"
    tool=memcheck stage may memcheck 60 "${small[@]}" 1x64x896 5x16x64 48x64x16 'heads of 64' 'heads of 40' layer_norm qk_norm patch_embed pixel_shuffle gather
    tool=racecheck stage may racecheck 60 "${small[@]}" 1x64x896 5x16x64 48x64x16 'heads of 64' layer_norm
  else
    note may sanitizer skipped 0 'compute-sanitizer is not installed'
  fi
fi

# ---- How fast? ----

if [ -n "$emulated" ]; then
  stage must times 120 "${nice[@]}" "$native/gpu/op_times_emulated" --tiny --json "$out/times.json"
  note rival rivals skipped 0 'the emulator has none'
else
  # A wrong value at a real shape makes the run bad; having no time for them does not.
  check=must
  [ $((deadline - SECONDS)) -lt 60 ] && check=may
  stage $check times 110 "$native/gpu/op_times" --json "$out/times.json"
  if has python3 && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    stage rival rivals 90 python3 "$root/benchmarks/gpu/rivals.py" "$out/rivals.json"
  else
    note rival rivals skipped 0 'Python with PyTorch for CUDA is not installed'
  fi
fi

# Whole models with random weights, smaller ones first; each needs its checkpoint, of up to 15 GB, only while it is timed.
weights=$out/models
if [ -z "$emulated" ] && [ "$(df --output=avail -B 1000000000 /dev/shm | tail -n 1)" -ge 24 ]; then weights=/dev/shm/nvlm-gpu-check.$$; fi
trap 'rm -rf "$weights"' EXIT
# model CHECK SECONDS FAMILY DECODER VISION MODEL_TIMES-OPTIONS… — HF=1 beside it: the same decoder in Hugging Face transformers.
model() {
  local check=$1 seconds=$2 family=$3 decoder=$4 vision=$5 name=model-$3-$4
  shift 5
  if [ $((deadline - SECONDS)) -lt 15 ]; then
    note "$check" "$name" skipped 0 'no time is left'
    return
  fi
  if ! timeout 60 python3 "$root/benchmarks/gpu/random_model.py" "$weights" "$family" "$decoder" "$vision" >"$out/$name-weights.log" 2>&1; then
    note "$check" "$name" late 60 "no checkpoint; $out/$name-weights.log"
  else
    stage "$check" "$name" "$seconds" "$native/gpu/model_times" "$weights" "$family, $decoder, $vision" --json "$out/models.json" "$@"
    if [ -n "${HF:-}" ]; then stage rival "hf-$decoder" 60 python3 "$root/benchmarks/gpu/transformers_times.py" "$weights" "$out/hf-$decoder.json"; fi
  fi
  rm -rf "$weights"
}
if ! has python3; then
  note may models skipped 0 'Python is not installed'
elif [ -n "$emulated" ]; then
  export NVLM_CUDA_LIBRARY=$library
  for family in D X H; do model must 60 "$family" tiny tiny --device emulator --text 20 --tiles 3 --decode 2 --check; done
else
  if python3 -c 'import torch, transformers' 2>/dev/null; then hf=1; else
    hf=
    note rival hf skipped 0 'transformers is not installed'
  fi
  HF=$hf model may 90 D 0.5b 300m --check
  HF=$hf model may 90 D 7b 300m
  model may 60 X 7b 300m
  model may 60 H 7b 300m
  model may 45 X 0.5b 300m
  model may 45 H 0.5b 300m
  model may 45 D 72b-layer 6b-layer
fi

# ---- One table, one file ----

if has python3; then
  python3 "$root/benchmarks/gpu/report.py" "$out" "$gpu" "$capability" "$driver" || failed=1
else
  echo 'gpu-check: no Python: the table and the JSON file are left out; the stages stand above.'
fi
[ "$failed" -eq 0 ] && echo 'gpu-check: every result is right' || echo 'gpu-check: something is WRONG or was not checked, see above'
exit "$failed"
}
