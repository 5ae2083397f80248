"""Files of trained weights, as far as their headers tell: this needs no PyTorch, which takes seconds to import."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load, save

from colorize_core import foreign

SHIPPED = Path(__file__).parent / "weights"
GRAPHS = Path(__file__).parent / "graphs"
"""Of networks, see ``tracing``."""
DEFAULT = "lite2"
HEADER = "colorize"  # key of our JSON in the metadata of a safetensors file
DISTRIBUTIONS = {"lite0", "lite2"}  # networks that give a distribution over colours
MAX_VARIANTS = 5


class WeightsError(ValueError):
    """Weights that cannot be used; the message says which, why, and what to do."""

    @classmethod
    def unusable(cls, name: str, error: Exception) -> "WeightsError":
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return cls(
            f"the weights {name} are not a .safetensors file written by jobs.train ({reason}): "
            "check the path, or use --weights default"
        )

    @classmethod
    def foreign(cls, name: str, error: Exception) -> "WeightsError":
        return cls(
            f"the colourizer {name} cannot be used, {str(error).splitlines()[0]}: see docs/models.md, what a manifest "
            "beside the file can say"
        )


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The content of a ``.safetensors`` file, whole, with the header of ours in it; or of others' ONNX file."""

    data: bytes
    path: str
    """What messages call it: the path, URI or name that was asked for."""
    digest: str
    """SHA-256 of the file, hexadecimal."""
    config: dict
    """What the header says: network, settings, input_side, training, calibration, code_version."""
    ships: bool
    """Whether it is one of ours."""
    manifest: dict | None = None
    """Of a colourizer of others, an ONNX file; see ``foreign``."""

    @classmethod
    def read(cls, weights: str = "default") -> "WeightsFile":
        """ "default", the name of weights that ship, a path, or any fsspec URI. Raises ``WeightsError``."""
        name = DEFAULT if weights == "default" else weights
        shipped = {path.stem: path for path in SHIPPED.glob("*.safetensors")}
        try:
            if name in shipped:
                return cls.parse(shipped[name].read_bytes(), name, ships=True)
            with fsspec.open(name, "rb") as file:
                data = file.read()
            return cls.foreign(data, name, _manifest(name)) if name.endswith(".onnx") else cls.parse(data, name)
        except WeightsError:
            raise
        except Exception as error:  # every file system has errors of its own
            names = ", ".join(sorted(shipped))
            raise WeightsError(
                f"the weights {weights} cannot be read ({error}): give the path or URI of a .safetensors or "
                f".onnx file, or the name of one that ships ({names})"
            ) from error

    @classmethod
    def parse(cls, data: bytes, path: str, ships: bool = False) -> "WeightsFile":
        """The same from the content of a file."""
        try:
            deserialize(data)  # checks that it is whole
            # An 8-byte little-endian length, then that much JSON.
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            config = json.loads(header["__metadata__"][HEADER])
            config["input_side"] = int(config["input_side"])
            if missing := {"network", "settings"} - config.keys():
                raise KeyError(*missing)
            if "hints.scene.weight" in header:  # in older files: hints that acted otherwise
                config["settings"].pop("hints")
            return cls(data, path, hashlib.sha256(data).hexdigest(), config, ships)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError.unusable(path, error) from error

    @classmethod
    def foreign(cls, data: bytes, path: str, manifest: object) -> "WeightsFile":
        """A colourizer of others, the content of an ONNX file and of its manifest."""
        try:
            said = foreign.checked(manifest)
        except foreign.ForeignError as error:
            raise WeightsError.foreign(path, error) from error
        config = {"network": "onnx", "settings": {}, "input_side": 0}
        return cls(data, path, hashlib.sha256(data).hexdigest(), config, False, said)

    @classmethod
    def pack(cls, tensors: dict[str, np.ndarray], config: dict) -> bytes:
        """A file's content: weights by their names, kept in half precision, and what ``config`` of them says."""
        # In C order, since safetensors writes down memory as it lies, and training has channels last.
        halves = {
            key: value.astype(np.float16 if value.dtype == np.float32 else value.dtype, order="C")
            for key, value in tensors.items()
        }
        return save(halves, {HEADER: json.dumps(config)})

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The weights by their names, float16 each but for counters; a copy."""
        return {
            name: value
            for name, value in load(self.data).items()
            # In older files: for colours that were weighed by their rarity, and hints that acted otherwise.
            if name != "prior" and (self.takes_hints or not name.startswith("hints."))
        }

    @property
    def name(self) -> str:
        """Stem of the file."""
        return Path(self.path).stem

    @property
    def model(self) -> str:
        """Name and digest, as the catalogue records them: ``resnet18@0123456789ab``."""
        return f"{self.name}@{self.digest[:12]}"

    @property
    def credit(self) -> str:
        """The same for people, with what others' manifest says of name and licence."""
        said = self.manifest or {}
        return ", ".join([self.model, *(str(said[key]) for key in ("name", "licence") if key in said)])

    @property
    def gives_distribution(self) -> bool:
        """Whether there is a choice of vividness and of variants, and a confidence."""
        return self.config["network"] in DISTRIBUTIONS

    @property
    def graph(self) -> str:
        """Name of the network's graph, see ``tracing``."""
        deconv = self.config["settings"].get("upsampling") == "deconv"
        return self.config["network"] + ("-deconv" if deconv else "")

    @property
    def takes_hints(self) -> bool:
        """Whether it can be told colours that are known at some places."""
        return bool(self.config["settings"].get("hints"))

    def check(self, vividness: float | None, variants: int = 1, hints: bool = False) -> None:
        """Raise ``ValueError`` for what these weights cannot do, or what nobody can."""
        if vividness is not None and not 0 <= vividness <= 1:
            raise ValueError(f"the vividness must lie in [0, 1], not {vividness}")
        if not 1 <= variants <= MAX_VARIANTS:
            raise ValueError(f"there are 1 to {MAX_VARIANTS} variants, not {variants}")
        if not self.gives_distribution and (vividness is not None or variants > 1):
            raise ValueError(
                f"the weights {self.name} give one colour for each pixel, so there is no choice of vividness or "
                "variants: leave it out, or use weights that give a distribution, as the default ones do"
            )
        if hints and not self.takes_hints:
            raise ValueError(
                f"the weights {self.name} were trained without hints: leave the hints out, or use weights that take "
                "them, as the default ones do"
            )


def _manifest(path: str) -> object:
    """What lies beside an ONNX file, ``model.yaml`` beside ``model.onnx``; None where nothing does."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    beside = path.removesuffix(".onnx") + ".yaml"
    fs, place = fsspec.core.url_to_fs(beside)
    if not fs.exists(place):
        return None
    try:
        return YAML(typ="safe").load(fs.cat_file(place))
    except YAMLError as error:
        raise WeightsError.foreign(path, ValueError(f"its manifest {beside} is not YAML")) from error
