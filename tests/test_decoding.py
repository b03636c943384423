"""Decoding: every odd file as it was meant, every broken one refused with a reason."""

import errno
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from lowlabel_jax.images import decoding as module
from lowlabel_jax.images.decoding import FORMATS, BadImage, decode
from lowlabel_jax.images.inspection import many
from tests import images

TURNED = {  # what EXIF says of the pixels as stored -> the picture upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def grey_of(rgb):
    """ITU-R 601 luma of an RGB array, in floating point."""
    return rgb @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("name", images.SOUND)
def test_odd_files_give_rgb_and_grey(tmp_path, name):
    path = images.SOUND[name](tmp_path / name)
    rgb, grey = decode(path), decode(path, 1)
    assert rgb.dtype == grey.dtype == np.uint8
    assert rgb.shape == (*grey.shape[:2], 3) and grey.shape[2] == 1
    np.testing.assert_allclose(grey[..., 0], grey_of(rgb), atol=0.51)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(decode(file), rgb)


@pytest.mark.parametrize("name", images.BROKEN)
def test_broken_files_are_refused_with_a_reason(tmp_path, name):
    write, part = images.BROKEN[name]
    path = write(tmp_path / name)
    with pytest.raises(BadImage, match=".+") as caught:
        decode(path)
    assert part in str(caught.value) and "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is BadImage and str(again) == str(caught.value)


def test_cmyk_comes_back_as_the_colours_it_was_made_of(tmp_path):
    rgb = decode(images.cmyk(tmp_path / "a.jpg"))
    assert np.abs(rgb.astype(int) - images.photo()).mean() < 3


def test_what_cannot_be_seen_is_white(tmp_path):
    palette = decode(images.palette(tmp_path / "p"))
    assert palette[0].tolist() == [[255, 255, 255], [0, 100, 50]]
    assert palette[1].tolist() == [[127, 127, 127], [0, 100, 50]]
    rgba = decode(images.rgba(tmp_path / "a"))
    assert rgba[0].tolist() == [[255, 255, 255], [0, 0, 200]]
    grey = decode(images.grey_alpha(tmp_path / "g"), 1)
    half = round(255 + (100 - 255) * 128 / 255)
    assert grey[0, :, 0].tolist() == [255, half, 100]


def test_a_colour_declared_transparent_is_white_too(tmp_path):
    picture = Image.fromarray(np.array([[[9, 8, 7], [1, 2, 3]]], np.uint8))
    rgb = decode(images.saved(tmp_path / "a.png", picture, transparency=(9, 8, 7)))
    assert rgb[0].tolist() == [[255, 255, 255], [1, 2, 3]]


def test_one_bit_and_the_first_frame(tmp_path):
    assert decode(images.one_bit(tmp_path / "b"), 1)[..., 0].tolist() == [[0, 255]] * 2
    assert (decode(images.animated(tmp_path / "a")) == [255, 0, 0]).all()


@pytest.mark.parametrize(
    "write",
    [
        images.sixteen_bit,
        images.sixteen_bit_tiff,
        images.sixteen_bit_big_endian,
        images.sixteen_bit_pgm,
    ],
)
def test_sixteen_bits_become_eight_by_their_range(tmp_path, write):
    found = decode(write(tmp_path / "a"), 1)[..., 0]
    np.testing.assert_array_equal(found, np.rint(images.ramp() / 65535 * 255))
    assert abs(found.mean() - 127) <= 1


def test_sixteen_bits_a_colour_become_eight(tmp_path):
    """Pillow takes the upper byte of these: at most one level from the nearest."""
    values = np.linspace(0, 65535, 30).astype(">u2").reshape(2, 5, 3)
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 5 2 65535\n" + values.tobytes())
    assert np.abs(decode(path) - values.astype(float) / 257).max() <= 1


def test_floating_point_from_0_to_1_and_no_other(tmp_path):
    found = decode(images.float_tiff(tmp_path / "a"), 1)
    assert found[0, :, 0].tolist() == list(range(256))
    between = np.array([[0.3 / 255, 0.7 / 255, 254.6 / 255]], np.float32)
    found = decode(images.saved(tmp_path / "c", between, "TIFF"), 1)
    assert found[0, :, 0].tolist() == [0, 1, 255]
    past = np.array([[0, 1.001]], np.float32)
    with pytest.raises(BadImage, match="from 0 to 1.001"):
        decode(images.saved(tmp_path / "b", past, "TIFF"))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_says_which_way_is_up(tmp_path, orientation, format):
    lossless = {"lossless": True, "exact": True} if format == "WEBP" else {}
    path = images.oriented(tmp_path / "a", orientation, format, **lossless)
    np.testing.assert_array_equal(decode(path), TURNED[orientation](images.photo()))


def test_a_jpeg_on_its_side_is_turned_whatever_else_its_exif_holds(tmp_path):
    upright = decode(images.good(tmp_path / "a.jpg"))
    path = images.odd_exif(tmp_path / "c.jpg")
    with Image.open(path) as picture, pytest.raises(AttributeError):
        ImageOps.exif_transpose(picture)
    for turned in (images.oriented(tmp_path / "b.jpg", 6), path):
        np.testing.assert_array_equal(decode(turned), np.rot90(upright, -1))
    np.testing.assert_array_equal(decode(images.broken_exif(tmp_path / "d.jpg")), upright)


def test_sixteen_bits_on_their_side_are_turned(tmp_path):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 8
    found = decode(images.saved(tmp_path / "a.png", images.ramp(), exif=exif), 1)
    np.testing.assert_array_equal(found[..., 0], np.rot90(np.rint(images.ramp() / 257)))


def test_the_cap_counts_pixels_of_the_header(tmp_path):
    path = images.good(tmp_path / "a.png")  # 60 x 40
    assert decode(path, max_megapixels=0.0024).shape == (40, 60, 3)
    with pytest.raises(BadImage, match="60 x 40 pixels, over 0.0023 megapixels"):
        decode(path, max_megapixels=0.0023)


PEAK = """
import resource, sys
from pathlib import Path
from lowlabel_jax.images.decoding import BadImage, decode
decode(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        decode(Path(path))
    except BadImage as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_takes_no_memory(tmp_path):
    paths = [images.good(tmp_path / "a.png")]
    paths += [images.bomb(side)(tmp_path / f"{side}.png") for side in (10_000, 20_000)]
    run = subprocess.run(
        [sys.executable, "-c", PEAK, *paths], capture_output=True, text=True, check=True
    )
    hundred, four_hundred, mebibytes = run.stdout.splitlines()
    assert "10000 x 10000 pixels" in hundred and "megapixels" in four_hundred
    assert int(mebibytes) < 10 and not run.stderr


def test_pillows_own_limit_is_neither_a_warning_nor_another_error(tmp_path, monkeypatch):
    path = images.good(tmp_path / "a.png")  # 2400 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert decode(path).shape == (40, 60, 3)  # Pillow would warn
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage, match="Pillow does not open"):
        decode(path)


def test_pillow_is_left_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    for name, write in images.SOUND.items():
        decode(write(tmp_path / name))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_many_threads_hear_no_warning_and_leave_the_filters_alone(tmp_path):
    path, before = images.broken_exif(tmp_path / "a.jpg"), list(warnings.filters)
    with pytest.warns(UserWarning, match="EXIF"), Image.open(path) as picture:
        picture.getexif()
    many(lambda _: decode(path), 200)
    assert warnings.filters == before


def test_files_of_other_formats_are_never_opened(tmp_path, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(BadImage, match="it begins with b'%!PS-Adobe-3'"):
        decode(images.content(images.EPS)(tmp_path / "a.jpg"))
    assert set(FORMATS) == {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"}


def test_the_disks_faults_stay_the_disks(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "nothing.jpg")

    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        decode(Failing(images.encoded("JPEG")))

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "open", refused, raising=False)
    with pytest.raises(PermissionError):
        decode(images.good(tmp_path / "a.jpg"))


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(BadImage, match="regular file"):
        decode(tmp_path)


def test_running_out_of_memory_is_not_a_bad_image(tmp_path, monkeypatch):
    def none_left(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", none_left)
    with pytest.raises(MemoryError):
        decode(images.good(tmp_path / "a.jpg"))
