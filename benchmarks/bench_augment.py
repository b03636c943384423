"""Images a second on one core: our augmentations, and Pillow's and scipy's, in turn in one process.

python -m benchmarks.bench_augment [--quick] [--only TEXT]
Photographs of 32 pixels, 448 at once (64 times FixMatch's mu of 7), and 32 of 128 pixels, from
uint8 to what a model is shown, float32 in [-1, 1]; and whether the operations give Pillow's pixels.
"""

import random

import numpy as np

from benchmarks import interleaved
from benchmarks.interleaved import Options, goal, median, ratio

STRONG, PILLOW = "32 px, strong: fixmatch_ra", "32 px, strong: fixmatch_ra in Pillow"
AFFINE = "128 px, affine: standard"
PEERS = {f"{AFFINE} in scipy": "affine_scipy", f"{AFFINE} in Pillow": "affine_pillow"}
MOST = {"flip": True, "shift": 0.2, "rotate": 40.0, "shear": 11.5, "zoom": 0.2}


def recipes() -> dict:
    """Our augmentations by the name of their row."""
    from lowlabel_jax.augment.ctaugment import ctaugment
    from lowlabel_jax.augment.fixmatch_ra import fixmatch_ra
    from lowlabel_jax.augment.flip_shift import flip_shift
    from lowlabel_jax.augment.photo import photo
    from lowlabel_jax.augment.standard import standard
    from lowlabel_jax.augment.usb_ra import usb_ra

    usual = {"flip": True, "shift": 0.125, "rotate": 20.0, "shear": 15.0, "zoom": 0.2,
             "brightness": 0.3, "contrast": 0.4, "cutout": 0.5, "fill": "reflect"}  # fmt: skip
    colours = {"crop": 0.3, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
               "jitter": 0.8, "grey": 0.2}  # fmt: skip
    return {
        "32 px, weak: flip_shift": flip_shift(),
        STRONG: fixmatch_ra(),
        "32 px, strong: usb_ra": usb_ra(),
        "32 px, strong: ctaugment": ctaugment(),
        "32 px, strong: standard": standard(**usual),
        "32 px, strong: photo": photo(**colours),
        AFFINE: standard(**MOST),
    }


def pictures(count: int, side: int) -> np.ndarray:
    """uint8 [count, side, side, 3]: cuttings of scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    whole, rng = load_sample_images().images, np.random.default_rng(0)
    corners = rng.integers(0, 427 - side, (count, 2))
    return np.stack([whole[i % 2][y : y + side, x : x + side] for i, (y, x) in enumerate(corners)])


def ours(recipe, images: np.ndarray):
    """A function that augments the batch once."""
    import jax

    from lowlabel_jax.augment.recipe import over
    from lowlabel_jax.augment.views import normalise

    keys, batch = jax.random.split(jax.random.key(0), len(images)), jax.device_put(images)
    run = jax.jit(lambda keys, batch: normalise(over(recipe, keys, batch)))
    return lambda: jax.block_until_ready(run(keys, batch))


def differing(images: np.ndarray, levels: int) -> int:
    """Pixels in which ours and Pillow's operations differ: images [b, h, w, c], every operation."""
    import jax
    from PIL import Image

    from benchmarks import pillow_side
    from lowlabel_jax.augment.randaugment import operations

    wrong = 0
    for name, operation in operations(127).items():
        mine = jax.jit(jax.vmap(operation, (0, None)))
        for level in range(1, levels + 1):
            magnitude = pillow_side.strength(level / 10, 1)[name]
            found = np.asarray(mine(images, np.float32(magnitude)))
            theirs = pillow_side.OPERATIONS[name]
            wanted = [np.asarray(theirs(Image.fromarray(i), magnitude)) for i in images]
            wrong += int((found != np.stack(wanted)).any(-1).sum())
    return wrong


def measured(options: Options) -> dict:
    """Times of a batch by every row, and the pixels that differ."""
    from benchmarks import pillow_side

    few, many = (4, 4) if options.quick else (32, 448)
    batches = {"32": pictures(many, 32), "128": pictures(few, 128)}
    made = {name: ours(recipe, batches[name.split()[0]]) for name, recipe in recipes().items()
            if options.wants(name)}  # fmt: skip
    rng = random.Random(0)
    for name, function in {PILLOW: "strong", **PEERS}.items():
        images, one = batches[name.split()[0]], getattr(pillow_side, function)
        if options.wants(name):
            made[name] = lambda one=one, images=images: [one(rng, image) for image in images]
    clocks = {name: interleaved.clock(run) for name, run in made.items()}
    seconds = interleaved.rounds(clocks, options)
    sizes = {name: len(batches[name.split()[0]]) for name in seconds}
    report = {"images": sizes, "seconds": seconds}
    if not options.only:
        report["differing pixels"] = differing(batches["32"], 1 if options.quick else 9)
    return report | {"goals": goals(report)}


def goals(report: dict) -> list[dict]:
    """Ours over Pillow and scipy, and that the pixels are the same."""
    seconds, rows = report["seconds"], []
    wanted = ((STRONG, PILLOW, 5.0), *zip((AFFINE, AFFINE), PEERS, (4.0, 1.0), strict=True))
    for mine, theirs, limit in wanted:
        if {mine, theirs} <= set(seconds):
            value = ratio(seconds[theirs], seconds[mine])
            rows.append(goal(mine, f"times {theirs.split()[-1]}", value, at_least=limit))
    if "differing pixels" in report:
        wrong = report["differing pixels"]
        rows.append(goal("RandAugment, 14 operations", "pixels unlike Pillow's", wrong, at_most=0))
    return rows


def table(report: dict) -> str:
    """Images a second of CPU time."""
    rows = []
    for name, times in report["seconds"].items():
        count = report["images"][name]
        fast, slow = (count / pick(times)[0] for pick in (min, max))
        rows.append([name, count / median(times), f"{slow:,.0f} to {fast:,.0f}"])
    shown = interleaved.markdown(["one core", "images a CPU second (median)", "min to max"], rows)
    wrong = report.get("differing pixels", "not counted")
    return shown + f"\nPixels in which one of the 14 operations differs from Pillow's: {wrong}.\n"


if __name__ == "__main__":
    interleaved.script("bench_augment", __doc__ or "", measured, table)
