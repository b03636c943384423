"""Vision transformers as timm and Hugging Face name their tensors: ViT, DINOv2, SigLIP."""

import re
from collections.abc import Callable, Iterator, Mapping

from lowlabel_jax.pretrained import resizing, turns
from lowlabel_jax.pretrained.layout import Layout, Rule

LEAVES = {"weight": "kernel", "bias": "bias"}
NORM = {"weight": "scale", "bias": "bias"}
HF = r"(?:vit\.|dinov2\.|dinov2_with_registers\.)?"


def block(path: str) -> Callable[[re.Match], str]:
    """A path in the block that a match's number, counted from 0, is of."""
    return lambda match: f"params/block_{int(match[1]) + 1}/{path}"


def dense(name: str, path: str) -> Iterator[Rule]:
    """A linear layer: its file's name, our path below params."""
    for theirs, ours in LEAVES.items():
        turn = turns.dense if theirs == "weight" else turns.as_it_is
        yield Rule(rf"{name}\.{theirs}", f"params/{path}/{ours}", turn)


def norm(name: str, path: str) -> Iterator[Rule]:
    """A LayerNorm, likewise."""
    for theirs, ours in NORM.items():
        yield Rule(rf"{name}\.{theirs}", f"params/{path}/{ours}")


def blocks(prefix: str, layers: Mapping[str, str], norms: Mapping[str, str]) -> Iterator[Rule]:
    """What each block holds: names behind its number in the file -> paths in our block."""
    for name, path in layers.items():
        for rule in dense(rf"{prefix}\.(\d+)\.{name}", path):
            yield rule._replace(path=block(str(rule.path).removeprefix("params/")))
    for name, path in norms.items():
        for rule in norm(rf"{prefix}\.(\d+)\.{name}", path):
            yield rule._replace(path=block(str(rule.path).removeprefix("params/")))


def embeddings(tables: Mapping[str, str], patches: str) -> Iterator[Rule]:
    """The class token and registers (names -> ours), the positions, the patches' kernel."""
    for name, ours in tables.items():
        turn = resizing.positions if ours == "positions" else turns.flat
        yield Rule(name, f"params/embed/{ours}/bias", turn)
    yield Rule(rf"{patches}\.weight", "params/embed/patches/kernel", resizing.patches)
    yield Rule(rf"{patches}\.bias", "params/embed/patches/bias")


TIMM = (
    *embeddings(
        {"cls_token": "class_token", "reg_token": "registers", "pos_embed": "positions"},
        r"patch_embed\.proj",
    ),
    *blocks(
        "blocks",
        {
            r"attn\.qkv": "attention/qkv",
            r"attn\.proj": "attention/out",
            r"mlp\.fc1": "mlp/expand",
            r"mlp\.fc2": "mlp/contract",
        },
        {"norm1": "norm_1", "norm2": "norm_2"},
    ),
    Rule(r"blocks\.(\d+)\.ls1\.gamma", block("scale_1/scale")),
    Rule(r"blocks\.(\d+)\.ls2\.gamma", block("scale_2/scale")),
    *norm("(?:fc_)?norm", "norm"),
    Rule(r"attn_pool\.latent", "params/pool/probe/bias", turns.flat),
    *dense(r"attn_pool\.q", "pool/query"),
    *dense(r"attn_pool\.kv", "pool/key_value"),
    *dense(r"attn_pool\.proj", "pool/out"),
    *norm(r"attn_pool\.norm", "pool/norm"),
    *dense(r"attn_pool\.mlp\.fc1", "pool/mlp/expand"),
    *dense(r"attn_pool\.mlp\.fc2", "pool/mlp/contract"),
    *dense("head", "head"),
)
HUGGING_FACE = (
    *embeddings(
        {
            rf"{HF}embeddings\.cls_token": "class_token",
            rf"{HF}embeddings\.register_tokens": "registers",
            rf"{HF}embeddings\.position_embeddings": "positions",
        },
        rf"{HF}embeddings\.patch_embeddings\.projection",
    ),
    *blocks(
        rf"{HF}encoder\.layer",
        {
            r"attention\.attention\.query": "attention/query",
            r"attention\.attention\.key": "attention/key",
            r"attention\.attention\.value": "attention/value",
            r"attention\.output\.dense": "attention/out",
            r"(?:intermediate\.dense|mlp\.fc1)": "mlp/expand",
            r"(?:output\.dense|mlp\.fc2)": "mlp/contract",
        },
        {"(?:layernorm_before|norm1)": "norm_1", "(?:layernorm_after|norm2)": "norm_2"},
    ),
    Rule(rf"{HF}encoder\.layer\.(\d+)\.layer_scale1\.lambda1", block("scale_1/scale")),
    Rule(rf"{HF}encoder\.layer\.(\d+)\.layer_scale2\.lambda1", block("scale_2/scale")),
    *norm(rf"{HF}layernorm", "norm"),
    *dense("classifier", "head"),
    Rule(rf"{HF}embeddings\.mask_token", ""),  # of its training
    Rule(rf"{HF}pooler\..*", ""),
)

PLAIN = {"joined": True, "epsilon": 1e-6, "gelu": "exact"}
APART = {**PLAIN, "joined": False}
DINO = {"layer_scale": 1e-5}
SELF = r"(?:.*\.)?encoder\.layer\.0\.layer_scale1\.lambda1"  # DINOv2's, as Hugging Face has it
LAYOUTS = (  # a mark holds for the first that has it: the rarer come before the plainer
    Layout(
        "timm's SigLIP",
        r"attn_pool\.latent",
        TIMM,
        {**PLAIN, "class_token": False, "pool": "map"},
        "signed",
    ),
    Layout(
        "timm's DINOv2 with registers",
        "reg_token",
        TIMM,
        {**PLAIN, **DINO, "registers": 4, "class_position": False},
        "imagenet",
    ),
    Layout("timm's DINOv2", r"blocks\.0\.ls1\.gamma", TIMM, {**PLAIN, **DINO}, "imagenet"),
    Layout("timm", r"blocks\.0\.attn\.qkv\.weight", TIMM, PLAIN, "signed"),
    Layout(
        "Hugging Face's DINOv2 with registers",
        r"(?:.*\.)?embeddings\.register_tokens",
        HUGGING_FACE,
        {**APART, **DINO, "registers": 4},
        "imagenet",
    ),
    Layout("Hugging Face's DINOv2", SELF, HUGGING_FACE, {**APART, **DINO}, "imagenet"),
    Layout(
        "Hugging Face",
        r"(?:.*\.)?encoder\.layer\.0\.attention\.attention\.query\.weight",
        HUGGING_FACE,
        {**APART, "epsilon": 1e-12},
        "signed",
    ),
)
