#!/bin/bash
# One run on two nodes of eight GPUs, one process a GPU:
#   sbatch docs/cluster/sbatch.sh configs/digits_fixmatch.py runs/d1 --config.batch.labelled=64
# On one GPU: nodes, ntasks-per-node and gpus-per-node 1, and leave --processes=auto out.
#SBATCH --job-name=lowlabel
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -u
config=$1 run=$2
shift 2

srun python launch.py --config="$config" --workdir="$run" --processes=auto "$@"
status=$?

# Told by SIGUSR1 that its time is nearly over, the run has saved and left with 0: queued again,
# the same command goes on with it. What fails by itself is not repeated.
if [ "$status" -eq 0 ] && ! grep -q '"state": "finished"' "$run/status.json"; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
