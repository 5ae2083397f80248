"""Train a colorizer, data-parallel, on colour photographs.

    python -m jobs.train PHOTOS --storage runs                    # this machine
    ray job submit --working-dir . -- python -m jobs.train s3://bucket/photos --storage s3://bucket/runs --workers 8

Each photograph is decoded, checked and resized once, into Parquet shards under STORAGE/NAME/data, from where Ray
Data streams them to the workers (DistributedDataParallel) in every epoch. STORAGE/NAME also gets checkpoints, by the
epoch and by the minute, metrics.jsonl, TensorBoard events, a contact sheet per epoch, and in the end the best epoch's
weights.safetensors and index.html, a page with the sheets and the learning curve. The same command continues a run
that was interrupted, at the step of its last checkpoint.
"""

import contextlib
import json
from typing import Annotated

from colorize_core import network, training
from colorize_core.weights_file import WeightsFile
from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.storage.files import absolute, write_bytes
from jobs.storage.listing import Source, base, covers, list_sources
from jobs.storage.output import Place
from jobs.training import shards
from jobs.training.config import TrainConfig
from jobs.training.reviewed import corrections
from jobs.training.run import SETTINGS, WEIGHTS, check_run, fit, is_finished, lasting


def main(config: Annotated[TrainConfig, cli.OPTIONS, cli.EXPERTS]) -> int:
    """Train a colorizer, data-parallel, on colour photographs.

    Leaves the best epoch's weights in DIR/NAME/weights.safetensors, beside the learning curve and contact sheets of
    each epoch. The same command continues a run that was interrupted.
    """
    try:
        model = network.build(config.network, **config.network_settings, pretrained=config.pretrained)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    names = [name for name, _ in model.named_parameters()]
    for start in config.freeze:
        if not any(name.startswith(start) for name in names):
            layers = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise UsageError(f"--freeze {start}: no parameter begins with it; the layers are called {layers}")
    if config.weights:
        _check_start(config.weights, config)
    config.source = absolute(config.source)
    source = _downloaded(config.source) if config.dataset else config.source
    photographs = list_sources(source)
    storage = absolute(config.storage)
    run = f"{storage}/{config.name}"
    try:
        place, adopted = Place(run), check_run(run, config)
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{run} cannot be read ({error}): check --storage and your credentials") from error
    _check_apart(source, photographs, run)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(place.claim("run", base(source), moved=True, adopted=adopted))
        except OSError as error:
            raise UsageError(f"{run} cannot be written to ({error}): choose another --storage") from error
        return _train(config, source, photographs, storage, run)


def _check_apart(source: str, photographs: list[Source], run: str) -> None:
    """Refuse a run whose files would become photographs, or are among them."""
    within = any(photograph.uri.startswith(f"{run}/") for photograph in photographs)
    if within or covers(source, f"{run}/sheets/epoch-0001.jpg") or covers(source, f"{run}/data/part-0.parquet"):
        raise UsageError(
            f"{run}, where the run would be kept, is inside {source}, or around it: choose another --storage or --name"
        )


def _train(config: TrainConfig, source: str, photographs: list[Source], storage: str, run: str) -> int:
    side = training.prepared_side(config.size)
    recipe = shards.Preparation(
        source, side, config.parsed_split, tuple(config.only), config.balance, config.min_chroma,
        tuple(config.hold_out), tuple(config.reviewed),
    )  # fmt: skip
    corrected = [correction for output in config.reviewed for correction in corrections(output)]
    cluster.start()
    prepared = shards.prepare(photographs, f"{run}/data", recipe, corrected)
    print(
        f"{prepared.counts['train']:,} photographs to train on, {prepared.counts['validation']:,} to validate on, "
        f"{prepared.counts['test']:,} to test on; left out: "
        f"{', '.join(f'{n:,} {why}' for why, n in prepared.left_out.items()) or 'none'}",
        flush=True,
    )
    for option, named in (("--emphasis", config.emphasis), ("--hold-out", config.hold_out)):
        if unknown := set(named) - prepared.groups.keys():
            raise UsageError(f"{option}: there is no {', '.join(unknown)} among {', '.join(sorted(prepared.groups))}")
    if prepared.counts["train"] < config.batch_size:
        raise UsageError(
            f"{prepared.counts['train']} photographs do not fill one batch of {config.batch_size}: lower --batch-size"
        )
    write_bytes(f"{run}/{SETTINGS}", json.dumps(lasting(config), indent=1).encode())
    if is_finished(run, config, prepared):
        print(f"all {config.epochs} epochs are done; more with --epochs\nweights: {run}/{WEIGHTS}")
        return cli.OK
    return fit(config, storage, run, prepared)


def _check_start(weights: str, config: TrainConfig) -> None:
    start = WeightsFile.read(weights).config
    same = start["settings"].items() <= config.network_settings.items()  # hints may come in addition
    if start["network"] == config.network and start["settings"].get("hints") and not config.hinted:
        raise UsageError(f"the weights {weights} take hints, and go on doing so: give a --hinted above 0")
    if start["network"] != config.network or not same:
        raise UsageError(
            f"the weights {weights} are of network {start['network']} {start['settings']}, not of "
            f"{config.network} {config.network_settings}: choose the same --network and settings"
        )


def _downloaded(folder: str) -> str:
    """Oxford-IIIT Pet's photographs in a folder, downloaded into it where they are not there."""
    from torchvision.datasets import OxfordIIITPet

    try:
        OxfordIIITPet(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"Oxford-IIIT Pet could not be downloaded into {folder} ({error}): where there is no network, unpack its "
            "images.tar.gz and annotations.tar.gz into the folder oxford-iiit-pet there, or give your own "
            "photographs without --dataset"
        ) from error
    return f"{folder}/oxford-iiit-pet/images"


app = cli.app(
    main,
    "train",
    """
colorize train photographs --storage runs --name mine --pretrained
colorize train s3://bucket/photographs --storage s3://bucket/runs --workers 8
""",
)

if __name__ == "__main__":
    cli.command_line(app)
