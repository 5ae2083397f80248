"""Photographs for training, stored once: decoded, checked, resized, in Parquet shards of JPEG bytes."""

import json
import zlib
from collections import Counter
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from colorize_core import training
from jobs import sources
from jobs.cluster import UsageError

PHOTOGRAPHS_PER_SHARD = 512


def prepare(source: str, files: list[sources.Source], folder: str, size: int, validation: float) -> dict:
    """Turn the files of a source into ``folder/train/*.parquet`` and ``folder/validation/*.parquet``, once.

    ``size`` is the side in pixels of the crops to be cut from them, ``validation`` the share of photographs kept
    for validation. Returns the counts ``{"train": n, "validation": n, "left_out": {reason: n}}``, also kept beside
    the shards: where they are, nothing is done again. Raises ``UsageError`` where a split would be empty, or where
    the folder holds the shards of something else.
    """
    import ray

    fs, root = url_to_fs(folder)
    side = size * 9 // 8  # room for random crops
    recipe = {"source": source, "files": len(files), "side": side, "validation": validation}
    if fs.exists(f"{root}/summary.json"):
        summary = json.loads(fs.cat_file(f"{root}/summary.json"))
        if summary["recipe"] != recipe:
            raise UsageError(f"{folder} was prepared from {summary['recipe']}, not {recipe}: choose another --name")
        return summary["counts"]

    if fs.exists(root):
        fs.rm(root, recursive=True)  # what an interrupted preparation left
    fs.makedirs(f"{root}/train", exist_ok=True)
    fs.makedirs(f"{root}/validation", exist_ok=True)
    shards = [file.uri for file in files if file.uri.endswith(".parquet")]
    photographs = [file.uri for file in files if not file.uri.endswith(".parquet")]
    groups = [[uri] for uri in shards]
    groups += [photographs[i : i + PHOTOGRAPHS_PER_SHARD] for i in range(0, len(photographs), PHOTOGRAPHS_PER_SHARD)]
    rows = ray.data.from_items(
        [{"number": i, "uris": group} for i, group in enumerate(groups)], override_num_blocks=len(groups)
    ).map(_prepare_group, fn_args=[folder, side, validation])
    counts = {"train": 0, "validation": 0}
    left_out = Counter()
    for row in rows.iter_rows():
        counts["train"] += row["train"]
        counts["validation"] += row["validation"]
        left_out.update(json.loads(row["left_out"]))
    counts["left_out"] = dict(left_out.most_common())
    for split in ("train", "validation"):
        if not counts[split]:
            raise UsageError(
                f"{source} leaves no photographs for the {split} split "
                f"(left out: {counts['left_out'] or 'none'}): give more colour photographs"
            )
    fs.pipe_file(f"{root}/summary.json", json.dumps({"recipe": recipe, "counts": counts}, indent=1).encode())
    return counts


def _prepare_group(row: dict, folder: str, side: int, validation: float) -> dict:
    kept, left_out = {"train": [], "validation": []}, Counter()
    counts = Counter()
    with _ShardWriter(folder, row["number"]) as writer:
        for data in _encoded_photographs(row["uris"], left_out):
            split = "validation" if zlib.crc32(data) % 10_000 < validation * 10_000 else "train"
            try:
                kept[split].append(training.prepare(data, side))
            except training.Unsuitable as reason:
                left_out[str(reason)] += 1
                continue
            counts[split] += 1
            if len(kept[split]) == PHOTOGRAPHS_PER_SHARD:
                writer.write(split, kept[split])
                kept[split] = []
        for split, images in kept.items():
            writer.write(split, images)
    return {"train": counts["train"], "validation": counts["validation"], "left_out": json.dumps(left_out)}


def _encoded_photographs(uris: list[str], left_out: Counter) -> Iterator[bytes]:
    """The encoded photographs of files and Parquet shards; what cannot be read is counted in ``left_out``."""
    for uri in uris:
        try:
            if uri.endswith(".parquet"):
                yield from _shard_images(uri)
            else:
                yield sources.read_bytes(uri)
        except (OSError, pa.ArrowInvalid):
            left_out["unreadable file"] += 1
        except KeyError:
            left_out["Parquet file without a column called image"] += 1


def _shard_images(uri: str) -> Iterator[bytes]:
    with fsspec.open(uri, "rb") as file:
        shard = pq.ParquetFile(file)
        if "image" not in shard.schema_arrow.names:
            raise KeyError("image")
        for batch in shard.iter_batches(64, columns=["image"]):
            for image in batch["image"].to_pylist():
                yield image["bytes"] if isinstance(image, dict) else image


class _ShardWriter:
    """Appends photographs to one Parquet file per split, in row groups."""

    def __init__(self, folder: str, number: int):
        self._folder, self._number = folder, number
        self._files: dict = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for file, writer in self._files.values():
            writer.close()
            file.close()

    def write(self, split: str, images: list[bytes]) -> None:
        if not images:
            return
        table = pa.table({"image": pa.array(images, pa.binary())})
        if split not in self._files:
            file = fsspec.open(f"{self._folder}/{split}/part-{self._number:05d}.parquet", "wb").open()
            self._files[split] = file, pq.ParquetWriter(file, table.schema, compression="none")
        self._files[split][1].write_table(table)
