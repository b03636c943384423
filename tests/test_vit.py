"""Vision transformers: parameter counts, outputs by hand, and weights of timm and Hugging Face."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import erf

from lowlabel_jax import optimizers
from lowlabel_jax.core import named, parallel, tree
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.models.vit import vit
from lowlabel_jax.ops.initialise import initialise
from lowlabel_jax.pretrained import fitting, layout, resizing
from lowlabel_jax.runs.summary.summary_stages import look
from tests.test_summary import counted

C, HEADS = 192, 3  # of size tiny
SMALL = dict(size="tiny", depth=2, num_classes=5)
DINO = dict(layer_scale=1e-5, registers=4, class_position=False)


def count(tree):
    """How many numbers a tree holds."""
    return sum(x.size for x in jax.tree.leaves(tree))


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def shapes_of(side, **options):
    model, image = vit(**options), jnp.zeros((1, side, side, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def applied(model, variables, batch):
    """(logits, endpoints), from one program: hundreds of small ones take longer to compile."""
    return jax.jit(lambda v, x: model.apply(v, x, False))(variables, batch)


# --- outputs by hand ------------------------------------------------------------------------------


def timm_tensors(
    grid=2, patch=16, classes=5, registers=0, positions=1, scale=False, pool=False, seed=0
):
    """Random weights of a small network of two blocks by timm's names."""
    rng, found = np.random.default_rng(seed), {}

    def linear(name, out, into):
        found[f"{name}.weight"] = rng.normal(size=(out, into)) / np.sqrt(into)
        found[f"{name}.bias"] = rng.normal(size=out) * 0.2

    def norm(name):
        found[f"{name}.weight"] = rng.uniform(0.5, 1.5, C)
        found[f"{name}.bias"] = rng.normal(size=C) * 0.2

    if not pool:
        found["cls_token"] = rng.normal(size=(1, 1, C))
    if registers:
        found["reg_token"] = rng.normal(size=(1, registers, C))
    found["pos_embed"] = rng.normal(size=(1, positions + grid**2, C))
    linear("patch_embed.proj", C, 3 * patch**2)
    found["patch_embed.proj.weight"] = found["patch_embed.proj.weight"].reshape(C, 3, patch, patch)
    for i in range(2):
        norm(f"blocks.{i}.norm1")
        linear(f"blocks.{i}.attn.qkv", 3 * C, C)
        linear(f"blocks.{i}.attn.proj", C, C)
        norm(f"blocks.{i}.norm2")
        linear(f"blocks.{i}.mlp.fc1", 4 * C, C)
        linear(f"blocks.{i}.mlp.fc2", C, 4 * C)
        for j in (1, 2) if scale else ():
            found[f"blocks.{i}.ls{j}.gamma"] = rng.uniform(0.2, 1, C)
    norm("norm")
    if pool:
        found["attn_pool.latent"] = rng.normal(size=(1, 1, C))
        linear("attn_pool.q", C, C)
        linear("attn_pool.kv", 2 * C, C)
        linear("attn_pool.proj", C, C)
        norm("attn_pool.norm")
        linear("attn_pool.mlp.fc1", 4 * C, C)
        linear("attn_pool.mlp.fc2", C, 4 * C)
    linear("head", classes, C)
    return {name: np.float32(value) for name, value in found.items()}


def reference(given, x, epsilon=1e-6, tanh=False, average=False):
    """Logits after the papers, in float64, one token and one head at a time, of timm's tensors."""
    t = {name: np.asarray(value, np.float64) for name, value in given.items()}

    def linear(name, x):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(name, x):
        spread = np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return (x - x.mean(-1, keepdims=True)) / spread * t[f"{name}.weight"] + t[f"{name}.bias"]

    def gelu(x):
        if tanh:
            return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    def mlp(name, x):
        return linear(f"{name}.fc2", gelu(linear(f"{name}.fc1", x)))

    def attended(q, k, v):
        out = np.zeros_like(q)
        for h in range(HEADS):
            mine = slice(h * C // HEADS, (h + 1) * C // HEADS)
            for i, query in enumerate(q):
                fit = np.exp(k[:, mine] @ query[mine] / np.sqrt(C // HEADS))
                out[i, mine] = fit / fit.sum() @ v[:, mine]
        return out

    def one(image):
        kernel = t["patch_embed.proj.weight"]
        size, rows = kernel.shape[-1], []
        for top in range(0, len(image), size):
            for left in range(0, image.shape[1], size):
                window = image[top : top + size, left : left + size].transpose(2, 0, 1)
                rows.append((kernel * window).sum((1, 2, 3)) + t["patch_embed.proj.bias"])
        tokens, places = np.array(rows), t["pos_embed"][0]
        first = len(places) - len(tokens)
        tokens += places[first:]
        before = [t["reg_token"][0]] if "reg_token" in t else []
        if "cls_token" in t:
            before.insert(0, t["cls_token"][0] + (places[:1] if first else 0))
        x = np.concatenate([*before, tokens])
        for i in range(2):
            q, k, v = np.split(linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x)), 3, 1)
            y = linear(f"blocks.{i}.attn.proj", attended(q, k, v))
            x = x + y * t.get(f"blocks.{i}.ls1.gamma", 1)
            y = mlp(f"blocks.{i}.mlp", norm(f"blocks.{i}.norm2", x))
            x = x + y * t.get(f"blocks.{i}.ls2.gamma", 1)
        if average:
            return linear("head", norm("norm", x[-len(tokens) :].mean(0)))
        x = norm("norm", x)
        if "attn_pool.latent" not in t:
            return linear("head", x[0])
        k, v = np.split(linear("attn_pool.kv", x), 2, axis=1)
        y = linear(
            "attn_pool.proj", attended(linear("attn_pool.q", t["attn_pool.latent"][0]), k, v)
        )
        return linear("head", (y + mlp("attn_pool.mlp", norm("attn_pool.norm", y)))[0])

    return np.array([one(np.asarray(image, np.float64)) for image in x])


def hugging_face(tensors, prefix):
    """The same weights by the names of transformers: ViT's, or DINOv2's where there are scales."""
    names = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
    }
    dino = any("ls1" in name for name in tensors)
    inner = {
        "norm1": "norm1" if dino else "layernorm_before",
        "norm2": "norm2" if dino else "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "mlp.fc1" if dino else "intermediate.dense",
        "mlp.fc2": "mlp.fc2" if dino else "output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    found = {}
    for name, value in tensors.items():
        whole, _, last = name.rpartition(".")
        if name.startswith("blocks."):
            _, i, rest = name.split(".", 2)
            whole, layer = rest.rpartition(".")[0], f"{prefix}encoder.layer.{i}."
            if whole == "attn.qkv":
                for part, third in zip(("query", "key", "value"), np.split(value, 3), strict=True):
                    found[f"{layer}attention.attention.{part}.{last}"] = third
            elif rest in inner:
                found[layer + inner[rest]] = value
            else:
                found[f"{layer}{inner[whole]}.{last}"] = value
        elif whole == "head":
            found[f"classifier.{last}"] = value
        else:
            found[prefix + (names.get(name) or f"{names[whole]}.{last}")] = value
    found[f"{prefix}embeddings.mask_token"] = np.zeros((1, C), np.float32)
    return found


def brought(tensors, size, **options):
    """(model, variables) of a file's tensors, with the options that travel with them."""
    known = layout.layout_of("vit", list(tensors))
    model = named.build("model", {"name": "vit", **known.options, **SMALL, **options})
    variables, account = fitting.fitted(initialise(model, (size, size, 3), 0), tensors, known)
    assert not account.unmatched and account.head_kept
    return model, variables, known


@pytest.mark.parametrize(
    "made, options, how",
    [
        ({}, {}, {}),
        ({}, dict(gelu="tanh", epsilon=1e-2), dict(tanh=True, epsilon=1e-2)),
        ({}, dict(pool="average"), dict(average=True)),
        (dict(scale=True), {}, {}),
        (dict(scale=True, registers=4, positions=0), {}, {}),
        (dict(pool=True, positions=0), {}, {}),
    ],
)
def test_outputs_are_the_papers_for_weights_of_timm(made, options, how):
    tensors = timm_tensors(**made)
    model, variables, _ = brought(tensors, 32, **options)
    batch = images(2, 32, 32, 3)
    logits, _ = applied(model, variables, batch)
    np.testing.assert_allclose(logits, reference(tensors, batch, **how), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "prefix, made, family, epsilon",
    [
        ("vit.", {}, "Hugging Face", 1e-12),
        ("dinov2.", dict(scale=True), "Hugging Face's DINOv2", 1e-6),
        ("", dict(scale=True), "Hugging Face's DINOv2", 1e-6),
        ("dinov2_with_registers.", dict(scale=True, registers=4),
         "Hugging Face's DINOv2 with registers", 1e-6),
    ],
)  # fmt: skip
def test_outputs_are_the_papers_for_weights_of_hugging_face(prefix, made, family, epsilon):
    tensors = timm_tensors(**made)
    model, variables, known = brought(hugging_face(tensors, prefix), 32)
    assert known.family == family and known.options["epsilon"] == epsilon
    assert known.pixels == ("imagenet" if "scale" in made else "signed")
    batch = images(2, 32, 32, 3)
    logits, _ = applied(model, variables, batch)
    expected = reference(tensors, batch, epsilon)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "made, family, pixels",
    [
        ({}, "timm", "signed"),
        (dict(scale=True), "timm's DINOv2", "imagenet"),
        (dict(scale=True, registers=4, positions=0), "timm's DINOv2 with registers", "imagenet"),
        (dict(pool=True, positions=0), "timm's SigLIP", "signed"),
    ],
)
def test_families_are_known_by_their_tensors(made, family, pixels):
    known = layout.layout_of("vit", list(timm_tensors(**made)))
    assert (known.family, known.pixels) == (family, pixels)


# --- other image and patch sizes ------------------------------------------------------------------


def enlarged(picture, height, width):
    """float [h, w] resized by Pillow, which averages where it shrinks."""
    picture = Image.fromarray(np.float32(picture))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("old, new", [(37, 16), (14, 16), (16, 14), (7, 30), (5, 5), (16, 1)])
def test_interpolation_is_pillows(old, new):
    picture = np.random.default_rng(0).normal(size=(old, old))
    turn = resizing.resizer(old, new)
    np.testing.assert_allclose(turn @ picture @ turn.T, enlarged(picture, new, new), atol=2e-6)


@pytest.mark.parametrize("first", [0, 1])
def test_positions_are_resized_and_the_class_token_is_not(first):
    rows = np.random.default_rng(0).normal(size=(1, first + 36, 3))
    found = resizing.positions(rows, (first + 16, 3))
    np.testing.assert_array_equal(found[:first], rows[0, :first])
    for c in range(3):
        expected = enlarged(rows[0, first:, c].reshape(6, 6), 4, 4)
        np.testing.assert_allclose(found[first:, c].reshape(4, 4), expected, atol=2e-6)
    np.testing.assert_array_equal(resizing.positions(rows, (first + 36, 3)), rows[0])


def test_a_network_takes_positions_of_another_size_and_refuses_other_tokens():
    tensors = timm_tensors(grid=3)
    _, variables, _ = brought(tensors, 64)
    rows = variables["params"]["embed"]["positions"]["bias"]
    assert rows.shape == (17, C)
    np.testing.assert_array_equal(rows[0], tensors["pos_embed"][0, 0])
    with pytest.raises(UserError, match=r"positions/bias is \(1, 9, 192\) there, \(17, 192\) here"):
        brought(timm_tensors(grid=3, positions=0), 64)


@pytest.mark.parametrize("old, new", [(4, 6), (6, 4)])
def test_a_patch_embedding_of_another_size_gives_what_the_old_one_gave(old, new):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 3, old, old))
    found = resizing.patches(kernel, (new, new, 3, 2))
    basis = np.eye(old**2).reshape(-1, old, old)
    resize = np.array([enlarged(one, new, new).ravel() for one in basis])  # [old², new²]
    for o in range(2):
        for c in range(3):
            best = np.linalg.lstsq(resize, kernel[o, c].ravel(), rcond=None)[0]
            np.testing.assert_allclose(found[..., c, o].ravel(), best, atol=1e-5)
    if new > old:  # arXiv:2212.08013: enlarged, a patch gives the same number
        patch = rng.normal(size=(old, old))
        told = (enlarged(patch, new, new)[..., None, None] * found).sum((0, 1))
        expected = (kernel * patch).sum((2, 3)).T
        np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        resizing.patches(kernel, (old, old, 3, 2)), kernel.transpose(2, 3, 1, 0)
    )


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image, options, parameters",
    [
        (224, dict(size="small"), 22_050_664),
        (224, dict(size="base"), 86_567_656),
        (224, dict(size="tiny"), 5_717_416),
        (224, dict(size="tiny", joined=False), 5_717_416),
        (518, dict(size="small", patch=14, layer_scale=1e-5), 22_056_192 + 384_000 + 1000),
        (518, dict(size="small", patch=14, **DINO), 22_057_344 + 384_000 + 1000),
        (224, dict(size="base", class_token=False, pool="map"), 92_884_224 + 768_000 + 1000),
    ],
)  # timm 1.0.31's, whose DINOv2 and SigLIP have no head
def test_parameters_are_as_many_as_published(image, options, parameters):
    shapes = shapes_of(image, num_classes=1000, **options)
    assert count(shapes["params"]) == parameters and set(shapes) == {"params"}


@pytest.mark.parametrize(
    "options, tokens",
    [({}, 1), (DINO, 5), (dict(pool="average", class_token=False), 0), (dict(pool="map"), 1)],
)
def test_endpoints_stages_and_products(options, tokens):
    model = vit(**SMALL, **options)
    variables = initialise(model, (32, 48, 3), 0)
    logits, ends = applied(model, variables, images(2, 32, 48, 3))
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    assert {name: end.shape for name, end in ends.items()} == {
        "stage_0": (2, 2, 3, C), "last_conv": (2, 2, 3, C), "features": (2, C),
    }  # fmt: skip
    pool = ("pool",) if options.get("pool") == "map" else ()
    assert model.stages == ("embed", "block_1", "block_2", "norm", *pool, "head")
    assert set(model.stages) == set(variables["params"])
    network = look(model, (32, 48, 3))
    assert network.stages[0].shape == network.stages[2].shape == (6 + tokens, C)
    ran = jax.make_jaxpr(lambda v: model.apply(v, images(1, 32, 48, 3), False))(variables)
    assert sum(stage.flops for stage in network.stages) == 2 * counted(ran.jaxpr)


def test_the_map_lies_as_the_image_does():
    model = vit(**SMALL, pool="average")
    variables = initialise(model, (32, 48, 3), 0)
    flat = jax.tree.map(np.zeros_like, variables["params"]["embed"]["positions"])
    variables["params"]["embed"]["positions"] = flat
    for i in (1, 2):  # blocks that add nothing: the map is the patches themselves
        for layer in ("attention/out", "mlp/contract"):
            of = variables["params"][f"block_{i}"]
            for name in layer.split("/"):
                of = of[name]
            of["kernel"] = np.zeros_like(of["kernel"])
    picture = images(1, 32, 48, 3)
    _, ends = applied(model, variables, picture)
    kernel = variables["params"]["embed"]["patches"]["kernel"]
    expected = np.tensordot(picture[0, 16:, 32:], kernel, 3)
    np.testing.assert_allclose(ends["stage_0"][0, 1, 2], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(ends["stage_0"][0, 0, 2] - expected).max() > 0.1


def test_first_weights_and_what_decays():
    model = vit(**SMALL, pool="map", registers=2, layer_scale=0.25)
    params = initialise(model, (64, 64, 3), 0)["params"]
    leaves = tree.named_leaves(params)
    for name in ("block_1/mlp/expand/kernel", "block_2/attention/qkv/kernel", "pool/out/kernel",
                 "embed/positions/bias", "embed/registers/bias", "pool/probe/bias"):  # fmt: skip
        error = 5 / np.sqrt(2 * leaves[name].size)  # five sigma
        np.testing.assert_allclose(leaves[name].std(), 0.02, rtol=error)
    np.testing.assert_allclose(
        leaves["embed/patches/kernel"].std(), np.sqrt(2 / (3 * 256)), rtol=0.02
    )
    assert (leaves["block_1/scale_1/scale"] == 0.25).all()
    assert (leaves["block_1/norm_1/scale"] == 1).all() and not leaves["norm/bias"].any()
    decaying = tree.named_leaves(optimizers.decays(params))
    assert {name.rsplit("/", 1)[-1] for name, does in decaying.items() if does} == {"kernel"}
    assert all(does == name.endswith("kernel") for name, does in decaying.items())


def test_bfloat16_computes_in_it_and_keeps_float32_weights():
    options = dict(SMALL, depth=1, pool="map", registers=1, layer_scale=1.0)
    variables = initialise(vit(**options), (32, 32, 3), 0)
    batch = images(2, 32, 32, 3)
    logits, ends = applied(vit(**options, dtype="bfloat16"), variables, batch)
    exact, _ = applied(vit(**options), variables, batch)
    assert logits.dtype == jnp.float32 and ends["features"].dtype == jnp.bfloat16
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_gradients_are_the_same_on_any_number_of_devices_and_reach_every_leaf():
    model = vit(**(SMALL | dict(depth=1)), registers=1, layer_scale=0.5)
    variables = initialise(model, (32, 32, 3), 0)

    def step(variables, batch):
        def loss(params):
            return (model.apply({"params": params}, batch, True)[0] ** 2).mean()

        return parallel.pmean(jax.grad(loss)(variables["params"]))

    batch = images(4, 32, 32, 3)
    options = {"xla_backend_optimization_level": 0}
    one, two = (
        parallel.mapped(step, d, options=options)(variables, parallel.shard(batch, d))
        for d in (1, 2)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, two)
    still = [name for name, g in tree.named_leaves(one).items() if not np.abs(g).max() > 0]
    assert not still


@pytest.mark.parametrize("size, near", [((30, 32), "use 16 or 32"), ((32, 40), "use 32 or 48")])
def test_an_image_that_patches_do_not_divide_is_said(size, near):
    with pytest.raises(UserError, match=f"images of {size[0]}x{size[1]} .* of 16 pixels") as said:
        initialise(vit(**SMALL), (*size, 3), 0)
    assert near in said.value.hint


def test_the_class_token_is_needed_to_pool_it():
    with pytest.raises(UserError, match=r"model\.pool = 'token' without a class token"):
        vit(num_classes=3, class_token=False)
