"""Images a second from JPEG files to 224x224 arrays: ours, Pillow done naively, grain, others.

python benchmarks/bench_decode.py [--folder DIR]   # three minutes; writes bench_decode.json and .md
JPEGs of quality 85 from scikit-learn's two photographs, and those below DIR if it is given, all in
the page cache. The cases take turns in every round: ratios inside one run are what counts.
grain and simplejpeg are measured where they are installed; neither is a dependency.
"""

import argparse
import functools
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, features
from sklearn.datasets import load_sample_images

from lowlabel_jax.core import files
from lowlabel_jax.images.crops import Fit, fit
from lowlabel_jax.images.decoding import decode
from lowlabel_jax.images.inspection import cores, many

HERE = Path(__file__).parent
ROUNDS, IMAGES, SIZE = 9, 128, 224
HOW = Fit(SIZE, "centre", 10, 0.08, "area", 3)


def ours(path):
    """The product's own way."""
    return fit(decode(Path(path)), HOW)


def naive(path):
    """What most scripts do: open, convert, crop, resize."""
    with Image.open(path) as picture:
        return square(picture.convert("RGB"))


def square(picture):
    """The central square without a margin, by Pillow's slowest and sharpest filter."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def drafted(path):
    """Ours on what libjpeg decodes at 1/2, 1/4 or 1/8 where the crop stays large enough."""
    with Image.open(path) as picture:
        before, crop = picture.width, min(picture.size) - 2 * HOW.margin
        picture.draft("RGB", tuple(-(-side * SIZE // crop) for side in picture.size))
        margin = round(HOW.margin * picture.width / before)
        return fit(np.asarray(picture.convert("RGB")), HOW._replace(margin=margin))


def simple(path):
    """Ours with libjpeg-turbo called through simplejpeg instead of Pillow."""
    import simplejpeg

    return fit(simplejpeg.decode_jpeg(Path(path).read_bytes()), HOW)


def pictures(folder, height, width):
    """The paths of IMAGES photographs: cuttings of two, each from another place."""
    whole, rng = load_sample_images().images, np.random.default_rng(0)
    share = min(427 / height, 640 / width) * 0.9
    tall, wide = int(height * share), int(width * share)
    for number in range(IMAGES):
        y, x = rng.integers(428 - tall), rng.integers(641 - wide)
        cut = Image.fromarray(whole[number % 2][y : y + tall, x : x + wide])
        cut.resize((width, height), Image.Resampling.BICUBIC).save(
            folder / f"{number:03}.jpg", quality=85
        )
    return sorted(map(str, folder.glob("*.jpg")))


def serial(one, paths):
    """One thread after another image."""
    return lambda: [one(path) for path in paths]


def threaded(one, paths):
    """As the product reads: one thread a core."""
    return lambda: many(lambda i: one(paths[i]), len(paths))


def with_grain(paths):
    """(once, close, seconds to the first image): grain's worker processes, kept between rounds."""
    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain reads absl's flags, which a plain script does not parse
    options = grain.multiprocessing.MultiprocessingOptions(num_workers=cores())
    data = grain.MapDataset.source(paths).map(ours).repeat().to_iter_dataset()
    iterator = iter(data.mp_prefetch(options))
    began = time.perf_counter()
    next(iterator)
    return lambda: [next(iterator) for _ in paths], iterator.close, time.perf_counter() - began


def cpu_seconds():
    """What this process and its living children have used of the processors (Linux)."""
    return time.process_time() + children_ticks() / os.sysconf("SC_CLK_TCK")


def children_ticks():
    """User and system time of the living children."""
    stats = [Path(f"/proc/{c.pid}/stat").read_text() for c in multiprocessing.active_children()]
    return sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats)


def settle():
    """Wait until grain's workers have filled their queues again, so that no other case pays it."""
    before = -1
    while (now := children_ticks()) != before:
        before = now
        time.sleep(0.3)


def interleaved(cases, n):
    """Images a second of CPU time and of wall time, {name: one number a round}, cases in turn."""
    for once in cases.values():
        once()
        settle()
    found = {"cpu": {name: [] for name in cases}, "wall": {name: [] for name in cases}}
    for _ in range(ROUNDS):
        for name, once in cases.items():
            began, used = time.perf_counter(), cpu_seconds()
            once()
            found["wall"][name].append(n / (time.perf_counter() - began))
            settle()
            found["cpu"][name].append(n / (cpu_seconds() - used))
    return found


def measured(paths):
    """All cases on some files: rates of every round, their medians, what grain took to start."""
    cases = {
        "Pillow naively": serial(naive, paths),
        "ours, 1 thread": serial(ours, paths),
        f"ours, {cores()} threads": threaded(ours, paths),
        "Pillow with draft, then ours": serial(drafted, paths),
    }
    away = [np.abs(drafted(path).astype(int) - ours(path)) for path in paths]
    report = {"images": len(paths), "sizes": sizes(paths), "draft_is_off_by": float(np.mean(away))}
    if version("simplejpeg"):
        cases["simplejpeg, then ours"] = serial(simple, paths)
        report["simplejpeg_differs_in"] = sum(map(differs, paths))
    close = None
    if version("grain"):
        name = f"ours in grain, {cores()} processes"
        cases[name], close, report["grain_start_seconds"] = with_grain(paths)
    report["images_per_second"] = found = interleaved(cases, len(paths))
    if close:
        close()
    report["median"] = {
        clock: {name: statistics.median(rates) for name, rates in of.items()}
        for clock, of in found.items()
    }
    return report


def differs(path):
    """Whether simplejpeg decodes a file to other pixels than Pillow."""
    import simplejpeg

    return bool((simplejpeg.decode_jpeg(Path(path).read_bytes()) != decode(Path(path))).any())


def sizes(paths):
    """The files' median height and width."""
    shapes = [decode(Path(path)).shape[:2] for path in paths]
    return [int(side) for side in np.median(shapes, axis=0)]


@functools.cache
def version(package):
    """A package's version, or "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main():
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="JPEG files of one's own")
    folder = parser.parse_args().folder
    report = {"sets": {}}
    with tempfile.TemporaryDirectory() as place:
        for height, width in ((512, 512), (375, 500)):
            here = Path(place, f"{height}x{width}")
            here.mkdir()
            report["sets"][f"{height}x{width}"] = measured(pictures(here, height, width))
    if folder:
        found = sorted(map(str, folder.rglob("*.jpg")))
        report["sets"][folder.name] = measured(found[:: max(1, len(found) // IMAGES)][:IMAGES])
    packages = ("pillow", "numpy", "scipy", "grain", "simplejpeg")
    report |= {
        "rounds": ROUNDS,
        "cores": cores(),
        "load": os.getloadavg(),
        "date": files.now(),
        "python": platform.python_version(),
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "versions": {package: version(package) for package in packages},
    }
    files.write_json(HERE / "bench_decode.json", report)
    table = written(report)
    files.write_text(HERE / "bench_decode.md", table)
    print(table)


def written(report):
    """The report as a table for each set, with what it was measured with."""
    lines = []
    for name, of in report["sets"].items():
        height, width = of["sizes"]
        lines += [
            f"| {name}: {of['images']} JPEGs of {height} x {width} | images a CPU second (median) "
            "| min to max | over Pillow naively | images a second of wall time |",
            "| --- | --- | --- | --- | --- |",
        ]
        for case, median in of["median"]["cpu"].items():
            rates = of["images_per_second"]["cpu"][case]
            ratio = median / of["median"]["cpu"]["Pillow naively"]
            lines.append(
                f"| {case} | {median:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} "
                f"| {ratio:.2f} | {of['median']['wall'][case]:,.0f} |"
            )
        lines += ["", *notes(of), ""]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    turbo, load = report["libjpeg_turbo"], report["load"]
    lines.append(f"{versions}, Pillow's libjpeg-turbo {turbo}, Python {report['python']};")
    lines.append(
        f"{report['cores']} cores, load {load[0]:.1f}; {report['date']}; {report['rounds']} rounds."
    )
    return "\n".join(lines) + "\n"


def notes(of):
    """What is to be said of a set besides its rates."""
    yield f"With draft the result is off by {of['draft_is_off_by']:.2f} grey levels on average."
    if "grain_start_seconds" in of:
        yield f"grain's first image came after {of['grain_start_seconds']:.1f} s."
    if "simplejpeg_differs_in" in of:
        yield f"Pillow's pixels differ from simplejpeg's in {of['simplejpeg_differs_in']} of them."


if __name__ == "__main__":
    main()
