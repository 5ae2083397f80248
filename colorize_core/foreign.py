"""Colourizers that others made, as ONNX files: what they take and give, by a manifest beside the file or by family.

A manifest, ``model.yaml`` beside ``model.onnx``, may name a family and what is different in it; all keys may be
missing::

    name: DDColor, ModelScope        # for the provenance of outputs
    licence: Apache-2.0
    family: ddcolor                  # one of FAMILIES; without it, the one that the file's shapes tell
    input: rgb                       # rgb: the grey as three equal channels; lightness: CIE L* alone
    black: 0                         # the input's value of black
    white: 1                         # and of white
    output: ab                       # ab, or rgb in the range of the input
    unit: 1                          # CIE units that an ab of 1 stands for
    side: 512                        # pixels along the square that it sees, where the file leaves that free
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal


class ForeignError(ValueError):
    """A file that cannot be run, or that does not do what its manifest says; a sentence without the file's name."""


@dataclass(frozen=True, slots=True)
class Family:
    """How a colourizer is spoken to."""

    input: Literal["rgb", "lightness"]
    black: float
    white: float
    output: Literal["ab", "rgb"]
    unit: float = 1.0
    side: int = 256


FAMILIES = {
    "ddcolor": Family("rgb", 0, 1, "ab", side=512),
    "deoldify": Family("rgb", 0, 255, "rgb"),
    "deoldify-unit": Family("rgb", 0, 1, "rgb"),
    "eccv16": Family("lightness", 0, 100, "ab"),  # siggraph17 and OpenCV's colorizer as well
    "caffe": Family("lightness", -50, 50, "ab", side=224),
}
ABOUT = {"name", "licence", "family"}  # what a manifest may say beside a Family


def checked(manifest: Any) -> dict:
    """A manifest as it was read. Raises ``ForeignError``."""
    if manifest is None:
        return {}
    if not isinstance(manifest, Mapping):
        raise ForeignError("its manifest is not a list of keys and values")
    known = {field.name: field.type for field in fields(Family)} | dict.fromkeys(ABOUT, str)
    kinds = {"input": ("rgb", "lightness"), "output": ("ab", "rgb"), "family": tuple(FAMILIES)}
    for key, value in manifest.items():
        if key not in known:
            raise ForeignError(f"its manifest has a key {key}, which means nothing: there are {', '.join(known)}")
        if key in kinds and value not in kinds[key]:
            raise ForeignError(f"its manifest says {key}: {value}, and not one of {', '.join(kinds[key])}")
        if key in ("black", "white", "unit", "side") and type(value) not in (int, float):
            raise ForeignError(f"its manifest says {key}: {value}, which is no number")
    return dict(manifest)


def family(manifest: Mapping[str, Any], inputs: int, outputs: int, scale: float) -> Family:
    """Of a file whose input and output have so many channels, and whose output has ``scale`` times the input's side.
    Raises ``ForeignError``.
    """
    if "family" in manifest:
        found = FAMILIES[manifest["family"]]
    elif (inputs, outputs) == (1, 2):
        found = FAMILIES["caffe" if scale < 1 else "eccv16"]
    elif (inputs, outputs) == (3, 2):
        found = FAMILIES["ddcolor"]
    elif (inputs, outputs) == (3, 3):
        found = FAMILIES["deoldify"]
    else:
        raise ForeignError(f"it makes {outputs} channels of {inputs}, as no colourizer that is known here")
    found = replace(found, **{key: value for key, value in manifest.items() if key not in ABOUT})
    needed = {"rgb": 3, "lightness": 1}[found.input], {"ab": 2, "rgb": 3}[found.output]
    if needed != (inputs, outputs):
        raise ForeignError(
            f"it makes {outputs} channels of {inputs}, but its manifest or family says input: {found.input} and "
            f"output: {found.output}, which are {needed[0]} and {needed[1]}"
        )
    return found
