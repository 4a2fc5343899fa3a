#!/usr/bin/env bash
# What only a CUDA GPU can show, in at most eight minutes. Needs neither Jupyter nor a network.
#
#   tests/gpu/check.sh [OUT.md]             what it prints, to be pasted into docs/benchmarks.md
#   tests/gpu/check.sh --dry-run [OUT.md]   each part, as small as it goes, on the processor
#
# PYTHON names another python3 that has torch. Exit code 1 where a part failed.
set -uo pipefail
cd "$(dirname "$0")/../.."

dry=
[ "${1:-}" = --dry-run ] && dry=10 && shift # times as long
out=$(realpath -m "${1:-gpu-check.md}")
python=${PYTHON:-python3}
export PYTHONPATH=$PWD/lib:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export SEGBOOK_RUNS=$scratch/runs

if [ -z "$dry" ]; then
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        { echo "this torch sees no CUDA GPU; --dry-run runs each part on the processor" >&2; exit 2; }
    size=512x1024 rounds=15 runs=30 train=(
        --set 'image_size=(720, 960)' --set 'crop=(720, 960)' --set length=96
        --set batch_size=24 --set steps=200 --set workers=12 --set evaluate_every=200)
    small=()
else
    export CUDA_VISIBLE_DEVICES=
    size=64x64 rounds=1 runs=1
    small=(--set 'image_size=(64, 64)' --set 'crop=(64, 64)' --set batch_size=2 --set length=8)
    train=("${small[@]}" --set steps=2 --set warmup=0)
fi

failed=0
part() { # part SECONDS TITLE COMMAND...
    local seconds=$1 title=$2 code began=$SECONDS
    shift 2
    printf '\n## %s\n\n```\n$ %s\n' "$title" "$(printf '%q ' "${@//$python/python3}")"
    timeout -k 5 $((seconds * ${dry:-1})) "$@" 2>&1
    code=$?
    printf '```\n'
    [ $code -eq 0 ] || { failed=$((failed + 1)); echo "**failed, exit code $code**"; }
    echo "$((SECONDS - began)) s"
}

machine='import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda); '
machine+='[print(torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count())]'
segbook=("$python" -m segbook)
synthetic=pp_liteseg_t_synthetic
{
    part 20 "The machine" "$python" -c "$machine"
    part 100 "Tests" "$python" -m pytest -q -m gpu -p no:cacheprovider --durations=5 \
        tests/gpu/test_cuda.py tests/engine/test_train.py tests/metrics
    for precision in float32 bfloat16 float16; do
        [ -n "$dry" ] && [ $precision = float16 ] && continue # a processor does not train in it
        part 40 "Training steps by setting, $precision" "${segbook[@]}" bench settings $synthetic \
            "${small[@]}" --set precision=$precision --rounds $rounds
        part 20 "Prediction, $precision" "${segbook[@]}" bench model pp_liteseg_t \
            --size $size --runs $runs --precision $precision
    done
    [ -n "$dry" ] || part 40 "Training steps, as promised" \
        "${segbook[@]}" bench train pp_liteseg_t --rounds $rounds
    part 50 "A killed and resumed training has the same bits" \
        "${segbook[@]}" prove-resume $synthetic "${small[@]}" --steps 4
    part 90 "Two hundred steps of PP-LiteSeg-T at 960x720" \
        "${segbook[@]}" train $synthetic "${train[@]}"
    printf '\n%s parts failed; %s s in all\n' $failed $SECONDS
    exit $((failed > 0))
} | tee "$out"
exit "${PIPESTATUS[0]}"
