"""The tables of docs/models.md, from the code: models with their counts, weights with their source.

python tools/model_tables.py      # writes between `<!-- table NAME -->` and `<!-- end -->`
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lowlabel_jax.core import files
from lowlabel_jax.pretrained import catalogue
from lowlabel_jax.runs.summary import summary
from lowlabel_jax.runs.summary.summary_stages import short

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)
MODELS = (  # (as for lowlabel summary, side of the images, classes)
    ("small_cnn", 32, 10),
    ("wide_resnet", 32, 10),
    ("conv_autoencoder", 28, 10),
    ("conv_autoencoder:padding=VALID", 28, 10),
    ("unet_autoencoder", 28, 10),
    ("vae", 28, 10),
    ("cifar_resnet:depth=20", 32, 10),
    ("cifar_resnet:depth=56", 32, 10),
    ("resnet:depth=18", 224, 1000),
    ("resnet:depth=34", 224, 1000),
    ("resnet:depth=50", 224, 1000),
    ("mobilenet_v1", 224, 1000),
    ("mobilenet_v1:width=0.75", 224, 1000),
    ("mobilenet_v2", 224, 1000),
    ("efficientnet:size=lite0", 224, 1000),
    ("efficientnet:size=b0", 224, 1000),
    ("efficientnet:size=b1", 224, 1000),
    ("efficientnet:size=b2", 224, 1000),
    ("efficientnet:size=b3", 224, 1000),
    ("vgg:depth=16", 224, 1000),
    ("vgg:depth=19", 224, 1000),
    ("vit:size=small", 224, 1000),
    ("vit:size=base", 224, 1000),
    ("vit:size=small,patch=14,layer_scale=1e-5", 224, 1000),
    ("vit:size=base,class_token=False,pool=map", 224, 1000),
)
HEADS = {
    "models": ("`lowlabel summary`", "image", "classes", "parameters", "FLOPs", "stages"),
    "tried": ("name", "model", "pixels", "side", "classes", "MiB", "licence", "source"),
    "untried": ("name", "model", "pixels", "side", "classes", "MiB", "licence", "source"),
}


def filled(text: str) -> str:
    """The page with its tables written anew."""
    return MARKED.sub(lambda m: f"{m[1]}\n{table(m[2])}\n\n{m[3]}", text)


def table(name: str) -> str:
    """The table of a name in HEADS."""
    if name == "models":
        return markdown(HEADS[name], (model_row(*one) for one in MODELS))
    wanted = "yes" if name == "tried" else "no"
    found = (row[:-1] for row in catalogue.rows() if row[-1] == wanted)
    return markdown(HEADS[name], ((f"`{first}`", *rest) for first, *rest in found))


def model_row(text: str, side: int, classes: int) -> tuple[str, ...]:
    """What `lowlabel summary` says of a model, in a line."""
    found = summary.of_model(text, str(side), classes)
    parameters = sum(stage.parameters for stage in found.stages)
    flops = sum(stage.flops for stage in found.stages)
    names = stages([stage.name for stage in found.stages])
    return f"`{text}`", str(side), str(classes), f"{parameters:,}", short(flops), names


def stages(names: Sequence[str]) -> str:
    """["stem", "block_1", .., "block_9", "head"] -> "stem, block_1 to block_9, head"."""
    blocks = [name for name in names if name.startswith("block_")]
    shown = [name for name in names if name not in blocks[1:]]
    ran = {blocks[0]: f"{blocks[0]} to {blocks[-1]}"} if blocks else {}
    return ", ".join(ran.get(name, name) for name in shown)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    files.write_text(PAGE, filled(PAGE.read_text(encoding="utf-8")))
