import base64
import io
import json
import re

import pytest
from PIL import Image

from jobs import evaluate
from tests import foreign


@pytest.fixture(scope="module")
def report(ray_local, samples, tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("evaluation")
    config = evaluate.EvaluateConfig(
        source=str(samples / "originals"), weights=("default", "resnet18"), vividness=(0.0, 1.0), variants=3,
        output=str(output), size=128, sheet=3, html=True,
    )  # fmt: skip
    assert evaluate.main(config) == 0
    report = json.loads((output / "evaluation.json").read_text())
    report["page"] = (output / "evaluation.html").read_text()
    report["sheet"] = Image.open(output / "contact-sheet.png")
    return report


def test_the_model_stands_beside_both_baselines(report):
    rows = report["settings"]
    settings = ["default", "default, vividness 0", "default, vividness 1", "default, best of 3", "resnet18"]
    assert list(rows) == ["grey", "mean colour", *settings]
    assert report["photographs"] == 5
    assert rows["grey"]["colorfulness"] == 0
    assert rows["grey"]["delta_colorfulness"] == pytest.approx(report["true_colorfulness"])
    for row in rows.values():
        assert 10 < row["psnr"] < 40 and 0 < row["ssim"] <= 1 and 1 < row["ciede2000"] < 40
    # The mean of these very photographs has the least error in ab that one colour can have.
    assert rows["mean colour"]["ciede2000"] < rows["grey"]["ciede2000"]


def test_the_dial_the_variants_and_the_confidence_are_measured(report):
    rows = report["settings"]
    vividness = [rows[name]["colorfulness"] for name in ("default, vividness 0", "default", "default, vividness 1")]
    assert vividness == sorted(vividness)
    assert rows["default, best of 3"]["psnr"] > rows["default"]["psnr"]
    assert set(report["confidence"]) == {"default", "default, vividness 0", "default, vividness 1"}
    for found in report["confidence"].values():
        assert -1 <= found["spearman"] <= 1 and 0 <= found["tolerable"] <= 1
    assert rows["default"]["photographs_per_second"] > 1 and "photographs_per_second" not in rows["grey"]


def test_every_photograph_is_in_the_json(report):
    per_photograph = report["per_photograph"]
    assert len(per_photograph) == 5 * 7
    assert all(("confidence" in row) == row["setting"].startswith("default") for row in per_photograph)
    mean = sum(row["psnr"] for row in per_photograph if row["setting"] == "grey") / 5
    assert mean == pytest.approx(report["settings"]["grey"]["psnr"])


def test_the_contact_sheet_shows_grey_ours_and_truth(report):
    columns = ["grey", "default", "vividness 0", "vividness 1", "variant 2", "variant 3", "resnet18", "truth"]
    assert report["sheet"].size == (len(columns) * 134 + 6, 3 * 134 + 22)


def test_the_page_shows_every_photograph_and_setting_the_worst_first(report):
    page = report["page"]
    errors = {row["path"]: row["ciede2000"] for row in report["per_photograph"] if row["setting"] == "default"}
    assert re.findall("<h2>(.*?)</h2>", page) == sorted(errors, key=lambda path: -errors[path])
    columns = [
        "grey",
        "default",
        "default, vividness 0",
        "default, vividness 1",
        "default, best of 3",
        "resnet18",
        "truth",
    ]
    assert re.findall("<figcaption>(.*?)(?:<br>|</)", page) == 5 * columns
    for data in re.findall('data:image/jpeg;base64,([^"]*)', page):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (128, 128)
    assert "http" not in re.sub("<[^>]*Content-Security-Policy[^>]*>", "", page), "nothing comes from elsewhere"


def test_hints_and_aged_copies_are_measured(ray_local, samples, tmp_path, capsys):
    options = {"vividness": (0.0,), "hints": (1, 20), "aged": True, "size": 128, "output": str(tmp_path)}
    assert (
        evaluate.main(evaluate.EvaluateConfig(str(samples / "originals"), weights=("default", "resnet18"), **options))
        == 0
    )
    rows = json.loads((tmp_path / "evaluation.json").read_text())["settings"]
    none, one, many = (rows[f"default, vividness 0{told}"] for told in ("", ", 1 hint", ", 20 hints"))
    assert many["psnr"] > one["psnr"] > none["psnr"] and many["ciede2000"] < none["ciede2000"]
    assert not any(name.startswith("resnet18, ") for name in rows), "it takes no hints"
    assert 0 < rows["default"]["aged"] < 20 and 0 < rows["resnet18"]["aged"] < 20
    assert "aged" not in many and "aged" not in rows["grey"]
    assert "aged" in capsys.readouterr().out


def test_a_column_that_was_not_measured_is_left_out(report):
    assert "aged" not in report["page"] and "CIEDE2000" in report["page"]


def test_what_cannot_be_read_is_left_out_and_said(ray_local, samples, capsys):
    assert evaluate.main(evaluate.EvaluateConfig(source=str(samples / "scans/places/*"), size=64)) == 3
    assert "left out: rocket-cut-short.jpg: the image data is damaged, cut short" in capsys.readouterr().err


def test_a_neutral_photograph_and_no_sheet(ray_local, samples, tmp_path):
    """Grey is no worse than its truth, by no finite figure."""
    (tmp_path / "photographs").mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        (tmp_path / f"photographs/{name}.png").write_bytes((samples / f"originals/{name}.png").read_bytes())
    Image.new("RGB", (300, 300), (90, 90, 90)).save(tmp_path / "photographs/neutral.png")
    config = evaluate.EvaluateConfig(source=str(tmp_path / "photographs"), output=str(tmp_path), size=64, sheet=0)
    assert evaluate.main(config) == 0 and not (tmp_path / "contact-sheet.png").exists()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    psnr = {(row["path"], row["setting"]): row.get("psnr") for row in report["per_photograph"]}
    assert psnr["neutral.png", "grey"] is None and psnr["neutral.png", "default"] > 10
    for name, row in report["settings"].items():
        others = [value for (path, setting), value in psnr.items() if setting == name and path != "neutral.png"]
        assert row["psnr"] == pytest.approx(sum(others) / 3), "of the same photographs in every row"


def test_shipped_weights_beat_the_grey_baseline(ray_local, shared, tmp_path):
    config = evaluate.EvaluateConfig(source=str(shared / "eval/*1.jpg"), output=str(tmp_path))
    assert evaluate.main(config) == 0
    rows = json.loads((tmp_path / "evaluation.json").read_text())["settings"]
    assert rows["default"]["psnr"] > rows["grey"]["psnr"]
    assert rows["default"]["ciede2000"] < rows["grey"]["ciede2000"]


def test_a_colourizer_of_others_stands_beside_ours(ray_local, samples, tmp_path):
    (tmp_path / "theirs.onnx").write_bytes(foreign.gives_ab(3, 256))
    theirs = str(tmp_path / "theirs.onnx")
    options = {"size": 64, "hints": (1,), "vividness": (0.0,), "output": str(tmp_path / "report"), "sheet": 0}
    config = evaluate.EvaluateConfig(str(samples / "originals"), weights=("default", theirs), **options)
    assert evaluate.main(config) == 0
    rows = json.loads((tmp_path / "report/evaluation.json").read_text())["settings"]
    ours = ["default", "default, vividness 0", "default, 1 hint", "default, vividness 0, 1 hint"]
    assert list(rows) == ["grey", "mean colour", *ours, theirs], "it has no dials, and is told no hints"
    assert rows[theirs]["photographs_per_second"] > 1
