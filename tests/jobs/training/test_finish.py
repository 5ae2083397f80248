import numpy as np
from PIL import Image
from skimage import data

from colorize_core import calibration, network, training
from colorize_core.network import pack_weights
from jobs.storage.listing import list_sources
from jobs.training import finish, shards
from jobs.training.config import TrainConfig


def test_a_checkpoint_that_somebody_has_copied_stays(tmp_path):
    """Under a name that Ray gives to none."""
    names = [f"checkpoint_2026-11-28_10-0{minute}-00.123456" for minute in range(2)]
    copies = ["checkpoint_best_of_monday", f"{names[0]}-copy", "checkpoint_2026-11-28"]
    for name in (*names, *copies):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"x")
    finish.remove_leftovers(str(tmp_path), {names[1]})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], *copies])


def test_the_confidence_is_calibrated_on_what_is_held_out_and_the_vividness_is_not(ray_local, tmp_path, monkeypatch):
    (tmp_path / "photographs").mkdir()
    for i in range(30):
        name, picture = ("cat", data.chelsea()) if i % 2 else ("cup", data.coffee())
        Image.fromarray(picture[2 * i : 2 * i + 96, :128]).save(tmp_path / f"photographs/{name}_{i}.png")
    source = str(tmp_path / "photographs")
    options = {"balance": "class", "hold_out": ("cup",), "split": "0.5/0.3/0.2", "network": "lite0", "size": 64}
    config = TrainConfig(source, storage="", **options)
    recipe = shards.Preparation(source, 72, config.parsed_split, balance="class", hold_out=("cup",))
    prepared = shards.prepare(list_sources(source), str(tmp_path / "data"), recipe)
    validated = prepared.take(prepared.stretch("validation"))
    groups = validated["group"].to_pylist()
    assert groups.count("cup") == 15 and "cat" in groups

    seen: dict[str, list] = {}
    for name in ("calibrate_vividness", "calibrate_confidence"):
        monkeypatch.setattr(
            calibration, name, lambda model, photographs, name=name: seen.update({name: list(photographs)})
        )
    finish.calibrated(pack_weights(network.build("lite0"), "lite0", {}, 64, {}), prepared, config)
    pairs = zip(validated["image"].to_pylist(), groups, strict=True)
    cups = [training.decode(image) for image, group in pairs if group == "cup"]
    is_cup = {
        name: [any(np.array_equal(photograph, cup) for cup in cups) for photograph in photographs]
        for name, photographs in seen.items()
    }
    assert all(is_cup["calibrate_confidence"]) and not any(is_cup["calibrate_vividness"])
