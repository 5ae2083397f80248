"""The order of the photographs in training: the same for any number of workers, and from any step on."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.train import TrainConfig
from jobs.training import shards, stream
from jobs.training.stream import Order


def epoch(order: Order, number: int) -> list[int]:
    """What a worker sees in one epoch, in order."""
    seen = []
    for window in range(order.windows):
        place, lanes = order.window(number, window)
        assert place == len(seen)
        depth = max(map(len, lanes))
        seen += [int(lane[i]) for i in range(depth) for lane in lanes if i < len(lane)]
    return seen[: order.steps * order.share]


@pytest.mark.parametrize("photographs, batch", [(40, 8), (134, 32), (5000, 16), (23_374, 64)])
def test_the_photographs_of_a_step_do_not_depend_on_the_number_of_workers(photographs, batch):
    one = np.sort(np.reshape(epoch(Order(photographs, batch, seed=3), 0), (-1, batch)))
    for workers in (2, 4, 8):
        orders = [Order(photographs, batch, 3, rank, workers) for rank in range(workers)]
        shares = [np.reshape(epoch(order, 0), (-1, order.share)) for order in orders]
        assert np.array_equal(np.sort(np.concatenate(shares, axis=1)), one)


@pytest.mark.parametrize("workers", [1, 3, 5, 16])
def test_an_epoch_sees_each_photograph_at_most_once_and_nearly_all(workers):
    batch = 48
    seen = [i for rank in range(workers) for i in epoch(Order(5000, batch, 0, rank, workers), 0)]
    assert len(seen) == len(set(seen)) == 5000 // batch * (batch // workers * workers)
    assert min(seen) >= 0 and max(seen) < 5000


def test_every_epoch_has_another_order_and_leaves_out_others():
    order = Order(1100, 64, 0)
    first, second = epoch(order, 0), epoch(order, 1)
    assert first != second and set(first) != set(second)
    assert first == epoch(Order(1100, 64, 0), 0) != epoch(Order(1100, 64, 1), 0)


def test_a_batch_is_drawn_from_all_over_the_set():
    batch = epoch(Order(20_000, 64, 0), 0)[:64]
    assert np.histogram(batch, stream.LANES, (0, 20_000))[0].tolist() == [64 / stream.LANES] * stream.LANES


def test_emphasis_multiplies_the_weights_of_balance():
    config = TrainConfig(source="x", storage="x", balance="class", emphasis={"a": 3.0})
    assert config.weights_of({"a": 100, "b": 400}) == pytest.approx({"a": 3 / 10, "b": 1 / 20})


def test_balance_draws_small_groups_more_often():
    rng = np.random.default_rng(0)
    groups = np.where(rng.random(4096) < 0.1, "few", "many")
    counts = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    weights = {group: count**-0.5 for group, count in counts.items()}
    lanes = np.split(np.arange(4096), 8)
    places, draws = stream._balanced(groups.tolist(), lanes, weights, (0,))
    expected = counts["few"] ** 0.5 / (counts["few"] ** 0.5 + counts["many"] ** 0.5)
    assert (groups[places] == "few").mean() == pytest.approx(expected, abs=0.02)
    for i, lane in enumerate(lanes):  # each lane keeps its length and its photographs
        assert set(places[512 * i : 512 * (i + 1)]) <= set(lane)
    assert len(set(zip(places, draws, strict=True))) == len(places), "a photograph drawn twice is cropped in two ways"


@pytest.mark.parametrize("weights", [None, {"a": 3.0, "b": 1.0}])
def test_a_stream_begun_later_is_the_rest_of_the_whole(ray_local, tmp_path, monkeypatch, weights):
    """Lanes of 257 photographs: the last window of each epoch has nothing that fills a batch."""
    count = 8 * (stream.WINDOW + 1)
    rows = {
        "image": [b"%d" % i for i in range(count)],
        "group": ["a", "b", "b", "b"] * (count // 4),
        "name": ["x"] * count,
    }
    pq.write_table(pa.table(rows), tmp_path / "part-0.parquet", row_group_size=shards.PHOTOGRAPHS_PER_ROW_GROUP)
    counts = {"train": count, "validation": 0, "test": 0}
    groups = {"a": count // 4, "b": 3 * count // 4}
    prepared = shards.Prepared(str(tmp_path), [["part-0.parquet", count]], counts, {}, groups)
    monkeypatch.setattr(stream, "_examples", lambda *args: [int(image) for image in args[-1]["image"]])
    order = Order(count, 32, seed=1)

    def seen(first: int) -> list[list[int]]:
        return list(stream.batches(prepared, order, first, epochs=2, weights=weights, size=64, crop_area=0.5))

    whole = seen(0)
    assert len(whole) == 2 * order.steps and all(len(batch) == 32 for batch in whole)
    if weights is None:
        assert [i for batch in whole[: order.steps] for i in batch] == epoch(order, 0)
    for first in (3, order.steps, order.steps + 40, 2 * order.steps - 1):
        assert seen(first) == whole[first:]
    assert seen(2 * order.steps) == []
