"""Image files as they are found on people's disks: odd ones that are sound, and broken ones.

Each kind is a function that writes one file. SOUND and BROKEN list them by the name the file gets.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag


def photo(height=40, width=60, seed=0):
    """uint8 [h, w, 3]: soft blobs of colour, another picture for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def saved(path, picture, format=None, **options):
    """Write an array or a Pillow image; the format is the name's unless it is given."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(path, format, **options)
    return path


def encoded(format, picture=None, **options):
    """The bytes of a photo in a format."""
    buffer = io.BytesIO()
    saved(buffer, photo() if picture is None else picture, format, **options)
    return buffer.getvalue()


def good(path, seed=0):
    """A sound photo in the format of its name."""
    return saved(path, photo(seed=seed))


# Sound, but not simply RGB.


def cmyk(path):
    return saved(path, Image.fromarray(photo()).convert("CMYK"), "JPEG", quality=95)


def palette(path):
    """Indices 0 1 / 2 1 of red (transparent), (0, 100, 50) and black (half transparent)."""
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    picture.putpalette([255, 0, 0, 0, 100, 50, 0, 0, 0])
    return saved(path, picture, "PNG", transparency=bytes([0, 255, 128]))


def grey_alpha(path):
    """Grey 100 with alpha 0, 128, 255 from left to right."""
    return saved(path, np.array([[[100, 0], [100, 128], [100, 255]]], np.uint8), "PNG")


def one_bit(path):
    """Black at the left, white at the right."""
    return saved(path, np.array([[False, True]] * 2), "PNG")


def rgba(path):
    """(200, 0, 0) that cannot be seen beside (0, 0, 200) that can."""
    return saved(path, np.array([[[200, 0, 0, 0], [0, 0, 200, 255]]], np.uint8), "PNG")


def animated(path):
    """Red, then blue."""
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    return saved(path, frames[0], "GIF", save_all=True, append_images=frames[1:])


def ramp():
    """uint16 [64, 1024]: every 64th number from 0 to 65535, at its column and row."""
    return np.arange(65536, dtype=np.uint16).reshape(64, 1024)


def sixteen_bit(path):
    return saved(path, ramp(), "PNG")


def sixteen_bit_tiff(path):
    return saved(path, ramp(), "TIFF")


def sixteen_bit_big_endian(path):
    """A TIFF as a Macintosh wrote it, by hand: Pillow writes only little-endian ones."""
    pixels = ramp().astype(">u2").tobytes()
    tags = ((256, 4, 1024), (257, 4, 64), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8))
    tags += ((277, 3, 1), (278, 4, 64), (279, 4, len(pixels)))
    entries = [
        struct.pack(">HHI", tag, kind, 1)
        + (struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0))
        for tag, kind, value in tags
    ]
    directory = struct.pack(">H", len(tags)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory)
    return path


def sixteen_bit_pgm(path):
    path.write_bytes(b"P5 1024 64 65535\n" + ramp().astype(">u2").tobytes())
    return path


def float_tiff(path):
    """0 to 1 in 256 equal steps, one row."""
    return saved(path, np.arange(256, dtype=np.float32)[None] / 255, "TIFF")


def oriented(path, orientation=6, format="JPEG", **options):
    """A photo that says how it has to be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(path, photo(), format, exif=exif, **options)


def broken_exif(path):
    """A sound JPEG whose EXIF is rubbish."""
    return saved(path, photo(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 40)


def odd_exif(path):
    """A JPEG to be turned a quarter, whose EXIF says a number where a description belongs."""
    turned = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0)
    described = struct.pack("<HHIf", 0x010E, 11, 1, 1.5)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + turned + described + bytes(4)
    return saved(path, photo(), "JPEG", exif=exif)


def png_named_jpg(path):
    return saved(path, photo(), "PNG")


def one_pixel(path):
    return saved(path, np.full((1, 1, 3), 77, np.uint8), "PNG")


def one_row(path):
    return saved(path, photo(1, 5000), "PNG")


SOUND = {
    "cmyk.jpg": cmyk,
    "palette.png": palette,
    "grey_alpha.png": grey_alpha,
    "one_bit.png": one_bit,
    "rgba.png": rgba,
    "animated.gif": animated,
    "sixteen_bit.png": sixteen_bit,
    "sixteen_bit.tif": sixteen_bit_tiff,
    "big_endian.tiff": sixteen_bit_big_endian,
    "sixteen_bit.pgm": sixteen_bit_pgm,
    "float.tif": float_tiff,
    "oriented.jpg": oriented,
    "broken_exif.jpg": broken_exif,
    "odd_exif.jpg": odd_exif,
    "png_named.jpg": png_named_jpg,
    "one_pixel.png": one_pixel,
    "one_row.png": one_row,
    "lossless.webp": lambda path: saved(path, photo(), "WEBP", lossless=True),
    "plain.bmp": good,
    "UPPER.JPG": good,
    "žluťoučký 猫 🐈.jpg": good,
    " two  spaces .jpg": good,
    "new\nline.jpg": good,
    '"quoted", =comma.jpg': good,
    "n" * 240 + ".jpg": good,
}


# Broken, or not to be trusted.


def cut(format, share, **options):
    """A writer of a photo's first bytes: a share of them, or all but so many."""

    def write(path):
        whole = encoded(format, photo(200, 300), **options)
        path.write_bytes(whole[: share if share < 0 else int(share * len(whole))])
        return path

    return write


def content(data):
    """A writer of these bytes, whatever the file is called."""

    def write(path):
        path.write_bytes(data)
        return path

    return write


def bad_crc(path):
    """A PNG whose pixels do not have the checksum that it states."""
    whole = bytearray(encoded("PNG"))
    whole[whole.index(b"IDAT") + 10] ^= 1
    path.write_bytes(whole)
    return path


def png_chunk(kind, data):
    """One chunk of a PNG, by hand."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side):
    """A writer of a sound, black PNG of side x side pixels of 1 bit: 400 megapixels in 50 kB."""

    def write(path):
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        packer, row, rows = zlib.compressobj(9), bytes(1 + (side + 7) // 8), 500
        packed = [packer.compress(row * min(rows, side - y)) for y in range(0, side, rows)]
        chunks = (b"IHDR", header), (b"IDAT", b"".join(packed) + packer.flush()), (b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
        return path

    return write


def float_range(path):
    """A TIFF of heights above the sea, -10 to 3000: nobody knows which is white."""
    return saved(path, np.linspace(-10, 3000, 64, dtype=np.float32).reshape(8, 8), "TIFF")


def float_nan(path):
    return saved(path, np.array([[0, np.nan, 1]], np.float32), "TIFF")


def int32_tiff(path):
    return saved(path, np.arange(64, dtype=np.int32).reshape(8, 8) * 10**6, "TIFF")


HTML = b"<!DOCTYPE html><html><title>404 Not Found</title></html>\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
PDF = b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\n%%EOF\n"
PSD = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 4, 8, 3) + bytes(64)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>\n'

BROKEN = {  # file -> (writer, part of the reason given)
    "truncated.jpg": (cut("JPEG", 0.5), "truncated"),
    "without_end.jpg": (cut("JPEG", -2), "truncated"),
    "header_only.jpg": (cut("JPEG", 0.01), "Truncated"),
    "truncated.png": (cut("PNG", 0.5), "truncated"),
    "truncated.gif": (cut("GIF", 0.5), "truncated"),
    "truncated.webp": (cut("WEBP", 0.5), "decod"),
    "truncated.tif": (cut("TIFF", 0.5), "truncated"),
    "truncated.bmp": (cut("BMP", 0.5), "truncated"),
    "bad_crc.png": (bad_crc, "broken data"),
    "empty.jpg": (content(b""), "empty"),
    "html.jpg": (content(HTML), "<!DOCTYPE"),
    "eps.jpg": (content(EPS), "%!PS-Adobe"),
    "pdf.jpg": (content(PDF), "%PDF-1.4"),
    "psd.jpg": (content(PSD), "8BPS"),
    "svg.png": (content(SVG), "<svg"),
    "zeros.jpg": (content(bytes(5000)), "begins with"),
    "bomb.png": (bomb(20_000), "megapixels"),
    "large.png": (bomb(10_000), "megapixels"),
    "float_range.tif": (float_range, "from -10 to 3000"),
    "float_nan.tif": (float_nan, "nan"),
    "int32.tif": (int32_tiff, "32-bit whole numbers"),
}


def twenty_broken(folder, good=3):
    """Class folders cats and dogs with `good` photos each and one file of every kind.

    Returns {path below the folder: whether it is sound}.
    """
    sound = {}

    def add(name, write, is_sound):
        path = folder / ("cats", "dogs")[len(sound) % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        sound[path.relative_to(folder).as_posix()] = is_sound

    for number in range(2 * good):
        add(f"{number:03}.png", lambda path, n=number: saved(path, photo(seed=n)), True)
    for name, write in SOUND.items():
        add(name, write, True)
    for name, (write, _) in BROKEN.items():
        add(name, write, False)
    return sound
