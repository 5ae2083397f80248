"""A shard's way through reader and writer, as a job goes it."""

from collections.abc import Callable

from jobs.storage import shards
from jobs.storage.shards import Made


def through(
    source: str, output: str, data: Callable[[bytes], bytes | None] = bytes.upper, suffix: str | None = ".png"
) -> list[str]:
    """Make other photographs of those of a shard. Returns what they are called in the new one."""
    names = []
    with shards.open_shard(source) as shard, shards.ShardWriter(output, like=shard) as writer:
        for portion in shard:
            made = [
                Made(one.data and data(one.data), suffix, {"status": "error" if one.problem else "ok", "id": one.name})
                for one in portion.photographs
            ]
            names += writer.write(portion, made)
    return names


def photographs(uri: str) -> list[shards.Photograph]:
    with shards.open_shard(uri) as shard:
        return [photograph for portion in shard for photograph in portion.photographs]
