"""Images a second on one core: our strong augmentation and Pillow's, interleaved in one process.

python benchmarks/bench_augment.py      # about two minutes; writes bench_augment.json and .md
32x32x3 photographs, 448 at once (64 times FixMatch's mu of 7), from uint8 to what a model is shown,
float32 in [-1, 1]. The ratio is what counts: both are pinned to the same core and take turns.
"""

import os
import random
import statistics
import time
from pathlib import Path

import jax
import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from lowlabel_jax.augment.ctaugment import ctaugment
from lowlabel_jax.augment.fixmatch_ra import fixmatch_ra, strength
from lowlabel_jax.augment.flip_shift import flip_shift
from lowlabel_jax.augment.photo import photo
from lowlabel_jax.augment.recipe import over
from lowlabel_jax.augment.standard import standard
from lowlabel_jax.augment.usb_ra import usb_ra
from lowlabel_jax.augment.views import normalise
from lowlabel_jax.core import files
from lowlabel_jax.runs.directory import environment

HERE = Path(__file__).parent
ROUNDS, BATCH, SIDE = 9, 448, 32
AFFINE = Image.Transform.AFFINE
RECIPES = {
    "weak: flip_shift": flip_shift(),
    "strong: fixmatch_ra": fixmatch_ra(),
    "strong: usb_ra": usb_ra(),
    "strong: ctaugment": ctaugment(),
    "strong: standard": standard(flip=True, shift=0.125, rotate=20.0, shear=15.0, zoom=0.2,
                                 brightness=0.3, contrast=0.4, cutout=0.5, fill="reflect"),
    "strong: photo": photo(crop=0.3, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
                           jitter=0.8, grey=0.2),
}  # fmt: skip
PILLOW = {
    "identity": lambda p, m: p,
    "autocontrast": lambda p, m: ImageOps.autocontrast(p),
    "equalize": lambda p, m: ImageOps.equalize(p),
    "solarize": ImageOps.solarize,
    "posterize": ImageOps.posterize,
    "color": lambda p, m: ImageEnhance.Color(p).enhance(m),
    "contrast": lambda p, m: ImageEnhance.Contrast(p).enhance(m),
    "brightness": lambda p, m: ImageEnhance.Brightness(p).enhance(m),
    "sharpness": lambda p, m: ImageEnhance.Sharpness(p).enhance(m),
    "rotate": lambda p, m: p.rotate(m, fillcolor=(127, 127, 127)),
    "shear_x": lambda p, m: moved(p, 1, m, 0, 0, 1, 0),
    "shear_y": lambda p, m: moved(p, 1, 0, 0, m, 1, 0),
    "translate_x": lambda p, m: moved(p, 1, 0, m * SIDE, 0, 1, 0),
    "translate_y": lambda p, m: moved(p, 1, 0, 0, 0, 1, m * SIDE),
}


def moved(picture, *matrix):
    """Image.transform with grey beyond the edge."""
    return picture.transform(picture.size, AFFINE, matrix, fillcolor=(127, 127, 127))


def pillow_strong(rng, image):
    """fixmatch_ra of one image with Pillow and numpy, float32 [h, w, c] in [-1, 1]."""
    image = image[:, ::-1] if rng.random() < 0.5 else image
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    y, x = rng.randrange(9), rng.randrange(9)
    picture = Image.fromarray(padded[y : y + SIDE, x : x + SIDE])
    for name in rng.choices(list(PILLOW), k=2):
        if rng.random() < 0.5:
            level, sign = rng.randint(1, 9) / 10, rng.choice((-1, 1))
            picture = PILLOW[name](picture, strength(level, sign)[name])
    y, x = rng.randrange(SIDE), rng.randrange(SIDE)
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((x - 8, y - 8, x + 7, y + 7), (127, 127, 127))
    return np.asarray(picture, np.float32) * (1 / 127.5) - 1


def pictures():
    """uint8 [b, 32, 32, 3]: cuttings of scikit-learn's two photographs."""
    whole, rng = load_sample_images().images, np.random.default_rng(0)
    corners = rng.integers(0, 390, (BATCH, 2))
    return np.stack([whole[i % 2][y : y + SIDE, x : x + SIDE] for i, (y, x) in enumerate(corners)])


def ours(recipe, images):
    """A function that augments the batch once."""
    keys, batch = jax.random.split(jax.random.key(0), BATCH), jax.device_put(images)
    run = jax.jit(lambda keys, batch: normalise(over(recipe, keys, batch)))
    return lambda: jax.block_until_ready(run(keys, batch))


def interleaved(cases):
    """{name: images a second, one number a round}, the cases in turn in every round."""
    for once in cases.values():
        once()
    found = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, once in cases.items():
            began = time.process_time()
            once()
            found[name].append(BATCH / (time.process_time() - began))
    return found


def pin():
    """One core for this process, and for the threads that JAX is yet to start."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    )


def main():
    """Measure, write, show."""
    pin()
    images, rng = pictures(), random.Random(0)
    cases = {name: ours(recipe, images) for name, recipe in RECIPES.items()}
    peer = "strong: fixmatch_ra in Pillow, one process"
    cases[peer] = lambda: [pillow_strong(rng, image) for image in images]
    found = interleaved(cases)
    medians = {name: statistics.median(speeds) for name, speeds in found.items()}
    report = {
        "images_per_cpu_second": found,
        "median": medians,
        "fixmatch_ra_over_pillow": medians["strong: fixmatch_ra"] / medians[peer],
        "load": os.getloadavg(),
        "rounds": ROUNDS,
        "batch": BATCH,
        "date": files.now(),
        "pillow": PIL.__version__,
        "environment": environment({"devices": 1}),
    }
    files.write_json(HERE / "bench_augment.json", report)
    table = written(report)
    files.write_text(HERE / "bench_augment.md", table)
    print(table)


def written(report):
    """The report as a table, with what it was measured with."""
    lines = ["| 32x32x3, one core | images a CPU second (median) | min to max | over Pillow |",
             "| --- | --- | --- | --- |"]  # fmt: skip
    *_, peer = report["median"].values()
    for name, speeds in report["images_per_cpu_second"].items():
        median = report["median"][name]
        ratio = f"{median / peer:.1f}" if "fixmatch_ra" in name else ""
        lines.append(
            f"| {name} | {median:,.0f} | {min(speeds):,.0f} to {max(speeds):,.0f} | {ratio} |"
        )
    versions = f"jax {jax.__version__}, Pillow {report['pillow']}, numpy {np.__version__}"
    return "\n".join(lines) + f"\n\n{versions}; {report['date']}; {ROUNDS} rounds of {BATCH}.\n"


if __name__ == "__main__":
    main()
