"""Sets of TensorFlow Datasets on this machine: found, or, only if asked, fetched and prepared."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lowlabel_jax.core import log
from lowlabel_jax.core.errors import UserError, nearest

FORMAT = "array_record"
RETRIES = 5  # of a connection: about 6 seconds; TFDS' own 10 take over three minutes


def find(dataset: str, data_dir: str, download: bool) -> Any:
    """TFDS' builder of a set that lies prepared as array_record, fetched before if `download`.

    Raises UserError where TFDS knows no such set, it lies nowhere or in another format, or could
    not be fetched.
    """
    builder = _builder(dataset, data_dir)
    if not builder.is_prepared():
        if not download:
            raise UserError(
                f"the dataset {dataset!r} is not prepared in {builder.data_path}.",
                "let it be fetched: --config.source.download=True; or, since most sets take "
                f"TensorFlow to unpack, {_command(dataset, data_dir)}",
            )
        _fetch(builder, dataset, data_dir)
    formats = {str(found.value) for found in builder.info.available_file_formats()}
    if FORMAT not in formats:
        raise UserError(
            f"the dataset {dataset!r} lies in {builder.data_path} as {', '.join(sorted(formats))}, "
            f"not as {FORMAT}.",
            f"in an environment with tensorflow run: tfds convert_format "
            f"--dataset_version_dir={builder.data_path} --out_file_format={FORMAT}",
        )
    return builder


def _builder(dataset: str, data_dir: str) -> Any:
    """TFDS' builder, which reads metadata alone. Raises UserError where there is none."""
    import tensorflow_datasets as library  # a third of a second: only who uses it pays
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        return library.builder(dataset, data_dir=data_dir or None)
    except DatasetNotFoundError:
        known = library.list_builders(with_community_datasets=False)
        raise UserError(
            f"TFDS knows no dataset {dataset!r}, and none lies in {data_dir or 'its own folder'!r}."
            f"{nearest(dataset, known)}",
            "set --config.source.dataset, and --config.source.data_dir to where it was prepared.",
        ) from None
    except (AssertionError, ImportError, ValueError) as error:  # version, config, what it needs
        raise UserError(
            f"TFDS cannot open the dataset {dataset!r}: {_short(error)}",
            "give it as NAME, NAME/CONFIG or NAME/CONFIG:VERSION.",
        ) from error


def _fetch(builder: Any, dataset: str, data_dir: str) -> None:
    """Download and prepare, with TFDS' own bars. Raises UserError where that fails."""
    import tensorflow_datasets as library

    urls = builder.url_infos or {}
    hosts = ", ".join(sorted({urlsplit(url).netloc for url in urls})) or "its authors' servers"
    size = sum(int(known.size) for known in urls.values())
    log.say(
        f"fetching {dataset} ({f'{size / 2**20:,.0f} MiB' if size else 'size not known'}) "
        f"from {hosts} to {builder.data_path}; interrupt with Ctrl-C"
    )
    config = library.download.DownloadConfig(try_download_gcs=False)
    try:
        with tidied(builder), _few_retries():
            builder.download_and_prepare(file_format=FORMAT, download_config=config)
    except Exception as error:  # of any builder: no network, no TensorFlow, files to be had by hand
        raise UserError(
            f"the dataset {dataset!r} could not be fetched: {_short(error)}",
            f"{_command(dataset, data_dir)} (what was downloaded whole is used again)",
        ) from error


@contextlib.contextmanager
def tidied(builder: Any) -> Iterator[None]:
    """Leave no half-made file and no empty folder of a set behind, whatever happens within.

    Archives that were downloaded whole, which TFDS checks by their hashes, stay.
    """
    downloads = Path(builder.data_dir_root) / "downloads"
    places = (downloads / builder.name, downloads / "extracted")
    before = set(_half_made(places))
    try:
        yield
    finally:
        for path in set(_half_made(places)) - before:
            shutil.rmtree(path, ignore_errors=True)
        version = Path(builder.data_path)
        for path in (*places, downloads, version, *version.parents[:3]):
            with contextlib.suppress(OSError):  # not empty, or not there
                path.rmdir()


def _half_made(places: tuple[Path, ...]) -> Iterator[Path]:
    for place in places:
        yield from (*place.glob("*.tmp.*"), *place.glob("incomplete.*"))


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Bound how long TFDS tries to reach a server that does not answer."""
    from tensorflow_datasets.core.download import downloader

    before, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def _command(dataset: str, data_dir: str) -> str:
    where = f" --data_dir={data_dir}" if data_dir else ""
    return (
        "in an environment with tensorflow, tensorflow-datasets and array-record run: "
        f"tfds build {dataset} --file_format={FORMAT}{where}"
    )


def _short(error: BaseException) -> str:
    """An error of a library by its first cause, in one line of at most 300 letters."""
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
