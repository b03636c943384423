"""Class folders to a CSV `objectId,value` and images named by their SHA-1, as moderation_csv wants.

python tools/sha1_csv.py FOLDER OUT

FOLDER has one folder of images a class, at any depth; OUT gets images/DIGEST.jpg (copies) and
labels.csv, in which the classes count from 0 in the order of their names.
"""

import csv
import hashlib
import shutil
import sys
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")


def main(folder: Path, out: Path) -> None:
    """Copy every image and write the table; say how many of each class."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        sys.exit(f"error: there is no image below {folder}")
    classes = sorted({path.parent.name for path in found})
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = {}
    for path in found:
        name = hashlib.sha1(path.read_bytes()).hexdigest() + path.suffix.lower()
        shutil.copyfile(path, out / "images" / name)
        rows[name] = classes.index(path.parent.name)
    with open(out / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("objectId", "value"), *rows.items()])
    for value, name in enumerate(classes):
        print(f"{value} = {name}: {list(rows.values()).count(value):,} images")
    print(f"written: {out / 'labels.csv'}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
