"""README.md of an exported folder: what lies there, and how to run it with and without us."""

from collections.abc import Mapping, Sequence
from typing import Any

SNIPPET = """\
import json

import numpy as np
from jax import export  # pip install jax flatbuffers pillow
from PIL import Image, ImageOps

with open("export.json", encoding="utf-8") as file:
    told = json.load(file)
with open("model.stablehlo", "rb") as file:
    network = export.deserialize(bytearray(file.read()))
_, height, width, channels = told["input"]["shape"]
with Image.open("photo.jpg") as photo:
    photo = ImageOps.exif_transpose(photo).convert("RGB" if channels == 3 else "L")
photo = ImageOps.fit(photo, (width, height), Image.Resampling.BOX)
images = np.asarray(photo, np.uint8).reshape(1, height, width, channels)
found = network.call(images)
"""
LABELS = """\
probabilities = np.asarray(found["probabilities"])[0]
for k in probabilities.argsort()[::-1][:3]:
    print(told["labels"][k], round(float(probabilities[k]), 3))
"""
RESTORED = """\
restored = np.asarray(found["restored"])[0]  # in [0, 1]
picture = (255 * restored).round().astype(np.uint8)
Image.fromarray(picture if channels == 3 else picture[..., 0]).save("restored.png")
"""
WEIGHTS = """\
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

variables = unflatten_dict(load_file("model.safetensors"), sep="/")
"""
CONTENTS = {
    "model.stablehlo": "the network with its averaged weights, from uint8 images to its outputs, "
    "for any number of images at once, on a CPU and on CUDA",
    "model.safetensors": "the weights alone, by name; the network and its classes as metadata",
    "model.onnx": "the network with its weights for ONNX runtimes, any number of images at once",
    "README.md": "this page",
    "MODEL_CARD.md": "what the network was trained on, what it reaches, what is not known of it",
}


def snippet(said: Mapping[str, Any]) -> str:
    """The shortest program that runs model.stablehlo without lowlabel_jax."""
    return SNIPPET + (LABELS if said["task"] == "classification" else RESTORED)


def readme(said: Mapping[str, Any], names: Sequence[str]) -> str:
    """README.md for what export.json says and the files beside it."""
    listed = [f"- `{name}`: {CONTENTS[name]}." for name in (*names, "README.md", "MODEL_CARD.md")]
    listed.append("- `export.json`: labels, preprocessing, versions, SHA-256 of every file.")
    parts = [["# An exported network", "", _what(said)], ["", *listed]]
    if "model.stablehlo" in names:
        parts += [_ours(said), _theirs(said)]
    if "model.safetensors" in names:
        parts.append(["", "The weights as a tree of arrays:", "", *_code(WEIGHTS)])
    return "\n".join(line for part in parts for line in part) + "\n"


def _what(said: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, said["input"]["shape"][1:]))
    if said["task"] != "classification":
        return f"It restores images of {shape} pixels and gives the code of each."
    labels, most = said["labels"], 12
    shown = ", ".join(labels[:most]) + (", …" if len(labels) > most else "")
    return f"It tells {len(labels)} classes apart in images of {shape}: {shown}."


def _ours(said: Mapping[str, Any]) -> list[str]:
    """How lowlabel_jax runs it, which knows no labels of a restoring network."""
    if said["task"] != "classification":
        return []
    return [
        "",
        "With lowlabel_jax, which reads images exactly as in training:",
        "",
        *_code("lowlabel predict --exported . photo.jpg\n", "sh"),
    ]


def _theirs(said: Mapping[str, Any]) -> list[str]:
    how = said["preprocessing"]
    return [
        "",
        "Without it, in this folder:",
        "",
        *_code(snippet(said)),
        "",
        f"In training an image was cut by the rule {how['crop']!r} with a margin of "
        f"{how['margin']} pixels and resized by {how['resample']!r}; the lines above cut the "
        "central part and resize by Pillow's BOX, which comes close. Pixels go in as uint8.",
    ]


def _code(text: str, language: str = "python") -> list[str]:
    return [f"```{language}", *text.rstrip("\n").split("\n"), "```"]
