import json

import pytest
from PIL import Image

from jobs import evaluate


@pytest.fixture(scope="module")
def report(ray_local, samples, tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("evaluation")
    config = evaluate.EvaluateConfig(source=str(samples / "originals"), output=str(output), size=128, sheet=3)
    assert evaluate.main(config) == 0
    report = json.loads((output / "evaluation.json").read_text())
    report["sheet"] = Image.open(output / "contact-sheet.png")
    return report


def test_the_model_stands_beside_both_baselines(report):
    rows = report["settings"]
    assert list(rows) == ["grey", "mean colour", "default"]
    assert report["photographs"] == 5
    assert rows["grey"]["colorfulness"] == 0
    assert rows["grey"]["delta_colorfulness"] == pytest.approx(report["true_colorfulness"])
    for row in rows.values():
        assert 10 < row["psnr"] < 40 and 0 < row["ssim"] <= 1 and 1 < row["ciede2000"] < 40
    # The mean of these very photographs has the least error in ab that one colour can have.
    assert rows["mean colour"]["ciede2000"] < rows["grey"]["ciede2000"]


def test_every_photograph_is_in_the_json(report):
    per_photograph = report["per_photograph"]
    assert len(per_photograph) == 5 * 3
    mean = sum(row["psnr"] for row in per_photograph if row["setting"] == "grey") / 5
    assert mean == pytest.approx(report["settings"]["grey"]["psnr"])


def test_the_contact_sheet_shows_grey_ours_and_truth(report):
    assert report["sheet"].size == (3 * 134 + 6, 3 * 134 + 22)


def test_what_cannot_be_read_is_left_out_and_said(ray_local, samples, capsys):
    assert evaluate.main(evaluate.EvaluateConfig(source=str(samples / "scans/places/*"), size=64)) == 3
    assert "left out: rocket-cut-short.jpg: the image data is damaged, cut short" in capsys.readouterr().err


def test_shipped_weights_beat_the_grey_baseline(ray_local, shared, tmp_path):
    config = evaluate.EvaluateConfig(source=str(shared / "eval/*1.jpg"), output=str(tmp_path))
    assert evaluate.main(config) == 0
    rows = json.loads((tmp_path / "evaluation.json").read_text())["settings"]
    assert rows["default"]["psnr"] > rows["grey"]["psnr"]
    assert rows["default"]["ciede2000"] < rows["grey"]["ciede2000"]
