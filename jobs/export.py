"""Write weights as an ONNX file, for other programs; see ``colorize_core.export`` for its inputs."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from jobs import cli
from jobs.cli import UsageError
from jobs.storage.files import file_system, write_bytes


@dataclass(slots=True)
class ExportConfig:
    """Write weights as an ONNX file."""

    file: str
    """Path or URI to write it to."""
    _: KW_ONLY
    weights: str = "default"
    """`default`, the name of weights that ship, or the path or URI of a .safetensors file."""


def main(config: Annotated[ExportConfig, cli.OPTIONS]) -> int:
    """Write weights and their network as an ONNX file, for other programs."""
    from colorize_core import export
    from colorize_core.colorizer import Colorizer

    try:
        fs, path = file_system(config.file)
        if fs.exists(path):
            raise UsageError(f"{config.file} is there already: choose another place, or move it away")
        colorizer = Colorizer.load(config.weights, "cpu")
        data = export.to_onnx(colorizer.file, colorizer.calibration)
        write_bytes(config.file, data, new=True)
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'colorize-archive[export]'") from error
    except OSError as error:
        raise UsageError(f"{config.file} cannot be written ({error}): choose another place") from error
    print(f"written: {config.file}, {len(data) / 1e6:.1f} MB")
    return cli.OK


app = cli.app(main, "export", "colorize export colorizer.onnx")

if __name__ == "__main__":
    cli.command_line(app)
