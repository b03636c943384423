"""Digits: from ten labels to thirty, the twenty chosen by each rule or at random; then retrained.

python benchmarks/bench_label_next.py --workdir=runs/label_next --seeds=6   # 15 min, 2 busy cores
Each seed has its own ten labels, one a class. The same command again goes on where it stopped.
"""

import argparse
from pathlib import Path

import numpy as np

from lowlabel_jax import start
from lowlabel_jax.configuration import load
from lowlabel_jax.data import splits
from lowlabel_jax.data.source import Images
from lowlabel_jax.evaluation import next_labels, statistics
from lowlabel_jax.runs.predict import looked
from lowlabel_jax.runs.predict.predict import Run
from lowlabel_jax.runs.train import train

ROOT = Path(__file__).parent.parent
CONFIG = f"{ROOT / 'configs' / 'digits_noisy_student.py'}:labels=10"  # its teacher: supervised
MORE = 20


def config(seed, *overrides):
    """A run of 1,000 steps on the digits."""
    said = (f"--config.seed={seed}", "--config.length.steps=1000", *overrides)
    return load.load(CONFIG, said)


def chosen(run, rule, seed):
    """(the source, the run's split with twenty more labels)."""
    source, split = looked.data_of(run)
    rows = np.setdiff1d(split.unlabelled, split.labelled)
    if rule == "random":
        more = np.random.default_rng([seed, MORE]).choice(rows, MORE, replace=False)
    else:
        p, features = looked.at_images(run, Images(source, "train", rows))
        _, known = looked.at_images(run, Images(source, "train", split.labelled))
        more = rows[next_labels.choose(rule, MORE, p, features, known)[0]]
    return source, split._replace(labelled=np.union1d(split.labelled, more))


def accuracies(seed, folder):
    """{"ten labels": accuracy, rule: accuracy after twenty more by it, …}."""
    first = folder / f"seed{seed}-ten"
    found = {"ten labels": train(config(seed), first)["test"]["accuracy"]}
    for rule in ("random", *next_labels.RULES):
        kept = folder / f"splits-{rule}-seed{seed}" / "split.json"
        if not kept.exists():
            source, split = chosen(Run(first), rule, seed)
            splits.write(kept, split, source)
        made = config(seed, f"--config.split.file={kept}")
        found[rule] = train(made, folder / f"seed{seed}-{rule}")["test"]["accuracy"]
    return found


def main():
    """Run what is not finished; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    start.jax_ready()
    rows = [accuracies(s, options.workdir) for s in range(options.seeds)]
    print("| labels chosen by | test accuracy | against random, paired | single seeds |")
    print("| --- | --- | --- | --- |")
    for name in rows[0]:
        values = [row[name] for row in rows]
        one = statistics.summary(values)
        pair = statistics.paired(values, [row["random"] for row in rows])
        low, high = pair["ci95"] or (float("nan"),) * 2
        against = f"{pair['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p = {pair['p']:.3g}"
        singles = " ".join(f"{v:.3f}"[1:] if v < 1 else "1" for v in values)
        print(f"| {name} | {one['mean']:.3f} ± {one['sd'] or 0:.3f} | {against} | {singles} |")


if __name__ == "__main__":
    main()
