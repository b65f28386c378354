#!/usr/bin/env bash
# dist_train.sh CONFIG GPUS [flags of train.py]

CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-"127.0.0.1"}
TOOLS=$(cd "$(dirname "$0")" && pwd)

python -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
STATUS=$?
if [ "$STATUS" -ne 0 ]; then
    echo "dist_train.sh: a process ended with an error or was killed, and all others were stopped" \
        "with it; the log above names it. The last checkpoint is as it was: the same command with" \
        "--resume goes on from there." >&2
fi
exit "$STATUS"
