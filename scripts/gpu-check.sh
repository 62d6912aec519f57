#!/usr/bin/env bash
# Checks the CUDA library on this machine's GPU and times it, in one command and less than nine minutes.
#
#   scripts/gpu-check.sh [FOLDER]      results go to FOLDER (default out/gpu-check): a log for each stage, times, and one JSON file of everything
#
# Needs an NVIDIA GPU with driver 580 or newer, the CUDA 13 toolkit, a C++20 compiler, cmake and ninja; no Node. The check of logits against float32 and times of rivals
# need Python with PyTorch; Hugging Face transformers and compute-sanitizer are used where they are installed. What is missing is said and skipped. Builds for this
# machine's own GPU alone.
#
# In this order, so that what matters most is there when time runs out:
#   1. build
#   2. right: every PTX wrapper on random data against what the emulator computes; every op against the float32 reference; every golden model case
#   3. fast: each op beside device copy, cuBLAS and PyTorch's attention, all of this same run
#   4. whole models with random weights made on the device: 7B as D, one layer of the 72B and of InternViT-6B, 7B as X and H; behind 5., 0.5B as D, X and H. Logits of text and with an
#      image against PyTorch in float32, and with an image against the CPU backend where the CPU is quick enough; then times beside Hugging Face transformers
#   5. compute-sanitizer (memcheck, racecheck) on small cases; when something of 2. is wrong, before 3.
# Exits non-zero when a result is wrong, when one of our programs hangs, or when a check of 2. could not be made. What is left out of the rest for want of time, of Python or
# of a rival is only said.
#
# Of several GPUs it takes the first that CUDA_VISIBLE_DEVICES names, else number 0 of nvidia-smi.
#
# Variables:
#   GPU_CHECK_SECONDS=N       of the whole run, its report included, default 530; a stage that no longer fits is left out
#   GPU_CHECK_STAGE_SECONDS=N of each stage at most, whatever its own limit (for tests)
#   GPU_CHECK_TREE=FOLDER     CMake's tree, default FOLDER/build
#   GPU_CHECK_EXPECTED=FILE   values of the PTX wrappers made before (cuda_ptx_test --write), in place of making them here
#   GPU_CHECK_PYTHON=PROGRAM  Python, default python3
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
# Stages end before: one that does not heed the signal is killed 5 s later, and the report may take 10 s.
deadline=$((SECONDS + ${GPU_CHECK_SECONDS:-530} - 20))
stages=$out/stages.tsv
rm -rf "$out"/*.log "$out"/{times,rivals,models}.json "$out"/{rival,encoder,logits}-*
python=${GPU_CHECK_PYTHON:-python3}
printf 'check\tstage\tstate\tseconds\tdetail\n' >"$stages"
failed=0

has() { command -v "$1" >/dev/null 2>&1; }
if [ -n "$emulated" ]; then nice=(nice -n 5); else nice=(); fi

# note CHECK STAGE STATE SECONDS DETAIL — CHECK is "must": a run without it is not good; "may": it may be left out, but neither be wrong nor hang; "rival": of others.
note() {
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$stages"
  printf '%-10s %-8s %4s s  %s\n' "$2" "$3" "$4" "$5"
  case $1-$3 in
    must-ok) ;;
    must-* | may-WRONG | may-HUNG) failed=1 ;;
  esac
}

# stage CHECK STAGE SECONDS COMMAND… — runs it within its seconds and what is left of the run; its words go to STAGE.log. Stopped because the run's time is over, it is late;
# stopped at its own limit, it hangs: that is no want of time, but a fault (of a rival, only late).
stage() {
  local check=$1 name=$2 seconds=$3 log=$out/$2.log
  shift 3
  [ "$seconds" -gt "${GPU_CHECK_STAGE_SECONDS:-$seconds}" ] && seconds=$GPU_CHECK_STAGE_SECONDS
  local left=$((deadline - SECONDS)) started=$SECONDS status=0 state=ok detail cut=
  [ "$left" -lt "$seconds" ] && seconds=$left cut=1
  if [ "$seconds" -lt 3 ]; then
    note "$check" "$name" skipped 0 'no time is left'
    return 1
  fi
  timeout --kill-after=5 "$seconds" "$@" >"$log" 2>&1 || status=$?
  detail=$(grep -E '[0-9]+ (passed|timed), ' "$log" | tail -n 1)
  # These two come from `timeout` only when the seconds are over: something else may have killed the program before (want of memory).
  if { [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; } && [ $((SECONDS - started)) -ge $((seconds - 1)) ]; then
    if [ -n "$cut" ]; then
      state=late detail="stopped after $seconds s, when the run's time was over"
    elif [ "$check" = rival ]; then
      state=late detail="stopped at its own limit of $seconds s"
    else
      state=HUNG detail="stopped at its own limit of $seconds s; $log"
    fi
  elif [ "$status" -eq 77 ]; then  # the GPU is too small for it
    state=skipped detail=$(tail -n 1 "$log")
  elif [ "$status" -ne 0 ]; then
    state=WRONG detail="exit code $status; $log"
  fi
  note "$check" "$name" "$state" $((SECONDS - started)) "$detail"
  if [ "$state" = WRONG ]; then grep -E 'FAILED|WRONG|[Ee]rror|ERROR' "$log" | head -n 12 | sed 's/^/    /'; fi
  [ "$state" = ok ]
}

# briefly SECONDS COMMAND… — what is no stage, but must not hang either.
briefly() {
  local seconds=$1 left=$((deadline - SECONDS))
  shift
  [ "$left" -lt "$seconds" ] && seconds=$left
  [ "$seconds" -gt 0 ] || return 124
  timeout --kill-after=5 "$seconds" "$@"
}

# ---- The machine ----

[ -d /usr/local/cuda/bin ] && PATH=$PATH:/usr/local/cuda/bin
if [ -n "$emulated" ]; then
  gpu='emulated' capability=80 driver=none
elif has nvidia-smi && has nvcc; then
  # CUDA numbers the fastest GPU 0 unless told otherwise, nvidia-smi goes by the bus: the library is built for the one that the programs will take.
  export CUDA_DEVICE_ORDER=PCI_BUS_ID
  mapfile -t gpus < <(timeout --kill-after=5 30 nvidia-smi --query-gpu=name,compute_cap,driver_version,index,uuid --format=csv,noheader)
  first=${CUDA_VISIBLE_DEVICES:-0} chosen=${gpus[0]:-}
  first=${first%%,*}
  for line in "${gpus[@]}"; do
    [[ $line == *", $first, GPU-"* || $line == *", $first"* && $first = GPU-* ]] && chosen=$line
  done
  IFS=, read -r gpu capability driver _ <<<"$chosen"
  capability=$(tr -d '. ' <<<"$capability") driver=${driver// /}
  if ! [[ $capability =~ ^[0-9]+$ ]]; then
    echo "gpu-check: nvidia-smi names no GPU: ${chosen:-it said nothing}" >&2
    exit 2
  fi
  [ "${#gpus[@]}" -eq 1 ] || echo "gpu-check: one of ${#gpus[@]} GPUs is used; CUDA_VISIBLE_DEVICES chooses another"
  [ "${driver%%.*}" -ge 580 ] 2>/dev/null || echo "gpu-check: driver $driver is older than 580, which CUDA 13 needs"
else
  echo 'gpu-check: an NVIDIA driver (nvidia-smi) and the CUDA toolkit (nvcc) are needed. Without a GPU: GPU_CHECK_EMULATOR=1.' >&2
  exit 2
fi
echo "gpu-check: $gpu, compute capability $capability, driver $driver"

# ---- Build ----

native=$tree/test/native
if [ -n "$emulated" ]; then
  targets=(cuda_ptx_test cuda_ops_test cuda_golden_test op_times_emulated model_times nvlm_emulator nvlm_emulator_random)
  options=(-DNVLM_CUDA=off)
else
  targets=(cuda_ptx_test cuda_ptx_gpu cuda_ops_gpu cuda_golden_gpu op_times model_times nvlm_cuda nvlm_cuda_random)
  options=(-DNVLM_CUDA=on "-DNVLM_CUDA_ARCHS=$capability" -DNVLM_GPU_CHECK=ON)
fi
build() {
  cmake -S "$root" -B "$tree" $(has ninja && echo -G Ninja) -DNVLM_BUILD_ADDON=OFF -DNVLM_BUILD_TESTS=ON "${options[@]}" &&
    cmake --build "$tree" --parallel "$(nproc)" --target "${targets[@]}"
}
found() { find -L "$tree" -name "$1" 2>/dev/null | head -n 1; }
built() {
  [ -n "$emulated" ] || return
  for program in cuda_ptx_test cuda_ops_test cuda_golden_test gpu/op_times_emulated gpu/model_times; do [ -x "$native/$program" ] || return; done
  [ -n "$(found nvlm_emulator.so)" ] && [ -n "$(found nvlm_emulator_random.so)" ]
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
if [ -n "$emulated" ]; then kind=emulator; else kind=cuda; fi
library=$(found nvlm_$kind.so) random_library=$(found nvlm_${kind}_random.so)

# ---- Are results right? ----

expected=${GPU_CHECK_EXPECTED:-$out/ptx.txt}
[ -n "${GPU_CHECK_EXPECTED:-}" ] || stage must ptx-emulated 90 "$native/cuda_ptx_test" --write "$expected"
if [ -n "$emulated" ]; then
  stage must ptx 200 "${nice[@]}" "$native/cuda_ptx_test" --compare "$expected"
  stage must ops 300 "${nice[@]}" env NVLM_CUDA_LIBRARY="$library" "$native/cuda_ops_test" gather
  stage must golden 500 "${nice[@]}" env -u NVLM_CUDA_LIBRARY "$native/cuda_golden_test" d-llama-default-system
else
  stage must ptx 30 "$native/gpu/cuda_ptx_gpu" --compare "$expected"
  export NVLM_CUDA_LIBRARY=$library
  stage must ops 100 "$native/gpu/cuda_ops_gpu"
  stage must golden 60 "$native/gpu/cuda_golden_gpu"
fi
sanitize() {
  [ -n "$emulated" ] && return
  if ! has compute-sanitizer; then
    note may sanitizer skipped 0 'compute-sanitizer is not installed'
    return
  fi
  # It is not for every machine: on some it can't reach the GPU.
  if ! briefly 60 compute-sanitizer --tool memcheck "$native/gpu/cuda_ptx_gpu" >"$out/sanitizer.log" 2>&1; then
    note may sanitizer skipped 0 "compute-sanitizer does not run here: $(tail -n 1 "$out/sanitizer.log")"
    return
  fi
  # The programs take one word each time.
  local each='tool=$1 program=$2; shift 2; for word in "$@"; do compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 5 "$program" "$word" || exit 1; done'
  local ops=$native/gpu/cuda_ops_gpu
  stage may memcheck 60 bash -c "$each" _ memcheck "$ops" 1x64x896 5x16x64 48x64x16 'heads of 64' 'heads of 40' layer_norm qk_norm patch_embed pixel_shuffle gather
  stage may racecheck 60 bash -c "$each" _ racecheck "$ops" 1x64x896 5x16x64 48x64x16 'heads of 64' layer_norm
  stage may memcheck-ptx 30 compute-sanitizer --tool memcheck --error-exitcode 9 "$native/gpu/cuda_ptx_gpu"
  # Of a rival, since it may not know barriers that some warps only arrive at.
  stage rival racecheck-ptx 30 compute-sanitizer --tool racecheck --error-exitcode 9 "$native/gpu/cuda_ptx_gpu"
}
wrong_before=$failed
[ "$wrong_before" -eq 1 ] && sanitize

# ---- How fast? ----

# What Python has: "torch transformers", "torch", "python", or nothing.
if [ -n "$emulated" ]; then on=cpu there=True; else on=cuda there='torch.cuda.is_available()'; fi
started=$SECONDS
packages=$(briefly 60 "$python" -c "
try:
    import torch
    assert $there
    print('torch', end=' ')
    import transformers
    print('transformers')
except Exception:
    print('python')" 2>/dev/null)
status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
  note rival python late $((SECONDS - started)) 'PyTorch did not load in time: what needs it is left out'
  packages=python
fi
if [ -n "$emulated" ]; then
  stage must times 300 "${nice[@]}" "$native/gpu/op_times_emulated" --tiny --json "$out/times.json"
else
  # A wrong value at a real shape makes the run bad; having no time for them does not.
  stage may times 110 "$native/gpu/op_times" --json "$out/times.json"
fi
small=()
[ -n "$emulated" ] && small=(--device cpu --tiny)
case $packages in
  torch*) stage rival rivals 90 "$python" "$root/benchmarks/gpu/rivals.py" "$out/rivals.json" "${small[@]}" ;;
  *) note rival rivals skipped 0 "PyTorch for $on is not installed" ;;
esac

# model SECONDS FAMILY DECODER VISION MODEL_TIMES-OPTIONS… — a checkpoint of random_model.py (a header and a hole) through the whole engine. Logits are checked in
# PyTorch; with D, the same decoder is timed there, and each encoder once.
weights=$out/models
trap 'rm -rf "$weights"' EXIT
model() {
  local seconds=$1 family=$2 decoder=$3 vision=$4 benchmarks=$root/benchmarks/gpu logits=() expected=()
  shift 4
  local name=$family-$decoder made=$out/logits-$family-$decoder
  if [ $((deadline - SECONDS)) -lt 10 ]; then
    note may "model-$name" skipped 0 'no time is left'
    return
  fi
  stage may "header-$name" 20 "$python" "$benchmarks/random_model.py" "$weights" "$family" "$decoder" "$vision" || return
  [[ $packages = torch* ]] && logits=(--logits "$made")
  stage may "model-$name" "$seconds" "${nice[@]}" env NVLM_CUDA_LIBRARY="$random_library" "$native/gpu/model_times" "$weights" "$family, $decoder, $vision" \
    --json "$out/models.json" "${logits[@]}" "$@"
  if [[ $packages = torch* ]]; then
    [ -e "$made/image.json" ] && stage may "logits-$name" 60 "$python" "$benchmarks/check_logits.py" "$weights" "$made" "$made.json" --device "$on"
    [ -e "$made.expected" ] && expected=(--expected "$made.expected")
  fi
  if [ "$family" = D ] && [[ $packages = torch* ]]; then
    stage rival "rival-$decoder" 60 "$python" "$benchmarks/decoder_rival.py" "$weights" "$out/rival-$decoder.json" "${small[@]}" "${expected[@]}"
    [ -e "$out/encoder-$vision.json" ] || stage rival "encoder-$vision" 45 "$python" "$benchmarks/encoder_rival.py" "$weights" "$out/encoder-$vision.json" "${small[@]}"
  fi
  rm -rf "$weights" "$made" "$made.expected"
}
if [ -z "$packages" ]; then
  note may models skipped 0 'Python is not installed'
elif [ -n "$emulated" ]; then
  for family in D X H; do model 300 "$family" tiny tiny --device emulator --text 20 --tiles 3 --decode 2 --check; done
else
  [[ $packages = *transformers* ]] || note rival transformers skipped 0 'Hugging Face transformers is not installed'
  model 60 D 7b 300m
  model 60 D 72b-layer 6b-layer --check
  model 45 X 7b 300m
  model 45 H 7b 300m
fi
[ "$wrong_before" -eq 0 ] && sanitize
if [ -n "$packages" ] && [ -z "$emulated" ]; then
  for family in D X H; do model 60 "$family" 0.5b 300m --check; done
fi

# ---- One table, one file ----

if [ -n "$packages" ]; then
  timeout --kill-after=2 8 "$python" "$root/benchmarks/gpu/report.py" "$out" "$gpu" "$capability" "$driver" || failed=1
else
  echo 'gpu-check: no Python: the table and the JSON file are left out; the stages stand above.'
fi
[ "$failed" -eq 0 ] && echo 'gpu-check: every result is right' || echo 'gpu-check: something is WRONG or was not checked, see above'
exit "$failed"
}
