"""The order in which training sees its photographs, and their way to the workers.

The prepared photographs form one sequence (see ``shards``), in an order that is random already. Its training part is
cut into ``LANES`` equal stretches. Every batch takes equally many photographs from each lane, and every worker owns
equally many lanes, so that

* the photographs of a step depend on the seed and the step alone: one worker, or two with half of the batch each,
  train on the same ones (where ``LANES`` divides the batch size and the workers divide ``LANES``);
* a worker reads its own lanes and nothing else;
* a run can continue at any step without reading what lies before it.

Within a lane each epoch takes chunks of neighbouring photographs in a new order, and shuffles a window of chunks at a
time. Ray Data reads the windows ahead of the worker; never more than a few of them are in memory.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa

from jobs import cluster
from jobs.training.shards import Prepared

# PyTorch is imported where it is used: the processes that only read start in a second without it, and are small.
if TYPE_CHECKING:
    from torch import Tensor

LANES = 8
CHUNK = 128  # neighbouring photographs that are read together
WINDOW = 2 * CHUNK  # photographs of a lane that are shuffled together
WINDOWS_PER_EXECUTION = 1024  # of Ray Data: few enough to plan at once, many enough to hide its start


@dataclass(frozen=True, slots=True)
class Order:
    """Which photographs one of several workers sees, in which order, in every epoch."""

    photographs: int
    """In the training part of the sequence, which begins at 0."""
    batch: int
    """Photographs per step, over all workers together."""
    seed: int
    rank: int = 0
    workers: int = 1

    @property
    def steps(self) -> int:
        """Per epoch; the photographs that do not fill a last batch are left out, others each time."""
        return self.photographs // self.batch

    @property
    def share(self) -> int:
        """Photographs per step on each worker."""
        return self.batch // self.workers

    @property
    def windows(self) -> int:
        """Per epoch and lane."""
        return -(-max(stop - start for start, stop in self._lanes()) // WINDOW)

    def _lanes(self) -> list[tuple[int, int]]:
        """This worker's stretches of the sequence."""
        lanes = math.lcm(LANES, self.workers)
        own = lanes // self.workers
        cuts = [lane * self.photographs // lanes for lane in range(self.rank * own, (self.rank + 1) * own + 1)]
        return list(pairwise(cuts))

    def window(self, epoch: int, number: int) -> tuple[int, list[np.ndarray]]:
        """One window: the place of its first photograph in this worker's epoch, and the indices in the sequence of
        each lane's photographs. The worker sees the first of each lane, then the second of each, and so on.
        """
        begin, lanes = number * WINDOW, self._lanes()
        place = sum(min(begin, stop - start) for start, stop in lanes)
        indices = []
        for start, stop in lanes:
            length = stop - start
            rng = np.random.default_rng([self.seed, epoch, start])
            chunks = rng.permutation(length // CHUNK)[begin // CHUNK : (begin + WINDOW) // CHUNK]
            rest = np.arange(max(begin, length // CHUNK * CHUNK), min(begin + WINDOW, length))
            places = np.concatenate([(chunks[:, None] * CHUNK + np.arange(CHUNK)).ravel(), rest])
            # The lane is turned by a random amount, or it were always the same photographs that come last.
            turned = (places + rng.integers(max(1, length))) % max(1, length)
            indices.append(start + np.random.default_rng([self.seed, epoch, start, number]).permutation(turned))
        return place, indices


def batches(
    prepared: Prepared,
    order: Order,
    first: int,
    epochs: int,
    weights: dict[str, float] | None,
    size: int,
    crop_area: float,
    aged: float = 0.0,
    hinted: float = 0.0,
) -> Iterator[tuple["Tensor", ...]]:
    """This worker's (L*, ab) batches, as ``training.examples`` makes them, from step ``first`` to the last epoch's end;
    where a share is ``hinted``, each with planes of ``training.simulated_hints``.

    ``weights`` are those with which the photographs of each group are drawn; without, each comes once per epoch.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = context.print_on_execution_start = False
    cluster.calm(context)
    epochs_at_once = max(1, WINDOWS_PER_EXECUTION // order.windows)
    for begin in range(first // order.steps, epochs, epochs_at_once):
        numbers = range(begin * order.windows, min(begin + epochs_at_once, epochs) * order.windows)
        # These tasks only read. They ask for no CPU, or they would wait for ever where the workers have taken all.
        rows = ray.data.from_items(list(numbers), override_num_blocks=len(numbers)).map_batches(
            _read_window,  # type: ignore[arg-type]  # Ray's types know nothing of fn_args
            fn_args=[prepared, order, first, weights],
            batch_size=1,
            num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=2),
        )
        examples = partial(_examples, order.seed, size, crop_area, aged, hinted)
        yield from cast(  # Ray's types know nothing of what comes from collate_fn
            "Iterable[tuple[Tensor, ...]]",
            rows.iter_torch_batches(batch_size=order.share, prefetch_batches=4, collate_fn=examples),
        )


def _examples(
    seed: int, size: int, crop_area: float, aged: float, hinted: float, rows: dict[str, np.ndarray]
) -> tuple["Tensor", ...]:
    from colorize_core import training

    seeds = [(seed, epoch, draw) for epoch, draw in zip(rows["epoch"], rows["draw"], strict=True)]
    lightness, ab = training.examples(rows["image"], size, seeds, crop_area, aged)
    return (lightness, ab, training.simulated_hints(ab, seeds, hinted)) if hinted else (lightness, ab)


def _read_window(
    item: dict[str, np.ndarray], prepared: Prepared, order: Order, first: int, weights: dict[str, float] | None
) -> pa.Table:
    """The photographs of one window, in the order in which the worker sees them."""
    epoch, number = divmod(int(item["item"][0]), order.windows)
    place, lanes = order.window(epoch, number)
    # Lane by lane in turn; what lies before the first step, or does not fill a last one, is not read.
    turns = np.concatenate([np.arange(len(lane)) * len(lanes) + i for i, lane in enumerate(lanes)])
    turn = np.argsort(turns)
    begin = (first - epoch * order.steps) * order.share - place
    wanted = turn[max(0, begin) : max(0, order.steps * order.share - place)]
    if weights is None:
        table, draws = prepared.take(np.concatenate(lanes)[wanted]), np.zeros(len(wanted), np.int64)
    else:
        table = prepared.take(np.concatenate(lanes))
        drawn, draws = _balanced(table["group"].to_pylist(), lanes, weights, (order.seed, epoch, number))
        table, draws = table.take(drawn[wanted]), draws[wanted]
    columns = {"image": table["image"], "epoch": np.full(len(wanted), epoch), "draw": draws}
    return pa.table(columns)


def _balanced(
    groups: list[str], lanes: list[np.ndarray], weights: dict[str, float], seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """For each lane as many places as it has, drawn with the weights of their groups; and which draw of its
    photograph each is, since a photograph that is drawn twice is cropped in two ways.
    """
    drawn, draws, offset = [], [], 0
    for lane in lanes:
        if len(lane):
            rng = np.random.default_rng([*seed, int(lane.min())])
            heap = np.cumsum([weights[group] for group in groups[offset : offset + len(lane)]])
            ticks = (rng.random() + np.arange(len(lane))) / len(lane) * heap[-1]
            places = np.searchsorted(heap, ticks, side="right")
            nth = np.arange(len(lane)) - np.searchsorted(places, places)  # places are in order
            shuffled = rng.permutation(len(lane))
            drawn.append(offset + places[shuffled])
            draws.append(nth[shuffled])
        offset += len(lane)
    return np.concatenate(drawn), np.concatenate(draws)


def validation_batches(
    prepared: Prepared, split: str, batch: int, size: int, rank: int = 0, workers: int = 1
) -> Iterator[tuple["Tensor", "Tensor"]]:
    """This worker's share of a split: (L*, ab) batches, not augmented; the shares are disjoint."""
    from colorize_core import training

    stretch = prepared.stretch(split)
    for begin in range(rank * batch, len(stretch), workers * batch):
        yield training.examples(prepared.take(stretch[begin : begin + batch])["image"].to_pylist(), size)
