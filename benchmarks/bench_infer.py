"""Inference, ours beside PyTorch's and naive Flax's, in turn in every round of one run.

python -m benchmarks.bench_infer [--torch PYTHON] [--quick] [--only TEXT]
One core, one thread, float32 unless said, as in bench_train.
"""

from benchmarks import bench_train, interleaved


def measured(options: interleaved.Options) -> dict:
    """Times of every workload, the roof, and how the ratios stand to the goals."""
    return bench_train.measured(options, training=False)


if __name__ == "__main__":
    interleaved.script("bench_infer", __doc__ or "", measured, bench_train.table)
