"""Wrong usage ends with one sentence and status 2, before any work starts."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import fsspec
import pyarrow as pa
import pytest

from colorize_core import network
from colorize_core.network import pack_weights
from jobs import average, cli, cluster, colorize, evaluate, export, review, train
from jobs.cli import UsageError
from jobs.coloring import hinted, superseded
from jobs.coloring import pool as pools
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.identity import identified
from jobs.coloring.job import source_id
from jobs.coloring.pool import Pool, dataset
from jobs.machine import granted
from jobs.storage import listing
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.training.config import TrainConfig
from jobs.training.run import lasting


def said(capsys, job, config_type, *args, **options) -> str:
    with pytest.raises(SystemExit) as exit:
        cli.run(lambda: job.main(config_type(*args, **options)))
    assert exit.value.code == cli.USAGE
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    return error


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x")
    return folder


def test_colorize(capsys, scans, tmp_path):
    def colorizing(source, output, **options):
        return said(capsys, colorize, ColorizeConfig, source=str(source), output=str(output), **options)

    (tmp_path / "empty").mkdir()
    assert "does not exist" in colorizing(tmp_path / "none", tmp_path / "out")
    assert "must lie in [0, 1]" in colorizing(scans, tmp_path / "out", vividness=2.0)
    assert "1 to 5 variants" in colorizing(scans, tmp_path / "out", variants=9)
    assert "one colour for each pixel" in colorizing(scans, tmp_path / "out", weights="resnet18", variants=2)
    assert "choose another --format" in colorizing(scans, tmp_path / "out", format="parquet", confidence_map=True)
    assert "holds no files" in colorizing(tmp_path / "empty", tmp_path / "out")
    assert "gopher://out cannot be reached" in colorizing(scans, "gopher://out")
    assert "lies inside" in colorizing(scans, scans / "out")
    assert "lies inside" in colorizing(scans, scans)
    fsspec.filesystem("memory").pipe_file("/bucket/scans/a.jpg", b"x")
    assert "lies inside" in colorizing("memory://bucket/scans", "memory://bucket/scans/out")
    assert "cannot be read" in colorizing(scans, tmp_path / "out", weights=str(tmp_path / "no.safetensors"))
    assert "not a .safetensors file" in colorizing(scans, tmp_path / "out", weights=str(scans / "a.jpg"))
    assert "--actors" in colorizing(scans, tmp_path / "out", actors="0")
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written to" in colorizing(scans, tmp_path / "file/out")
    images = tmp_path / "done/images"
    images.mkdir(parents=True)
    (images / "a.png").write_bytes(b"x")
    assert "lies inside" in colorizing(images, tmp_path / "done")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/there").symlink_to(images)
    assert "leads into" in colorizing(tmp_path / "linked", tmp_path / "done")
    assert "lies inside" in colorizing(scans, f"file://{scans}/out")
    fsspec.filesystem("memory").pipe_file("/bucket/done/images/a.png", b"x")
    assert "lies inside" in colorizing("memory://bucket/done/images", "memory://bucket/done")
    assert "--timeout" in colorizing(scans, tmp_path / "out", timeout=0.0)
    assert "--max-error-rate" in colorizing(scans, tmp_path / "out", max_error_rate=50)
    (scans / "1912/may").mkdir(parents=True)
    (scans / "1912/may/a.png").write_bytes(b"x")
    assert "lies inside" in colorizing(f"{scans}/*/*/*.png", scans / "out"), "a glob that its outputs would match"
    (tmp_path / "list.txt").write_text(str(tmp_path / "done/images/a.png"))
    assert "lies inside" in colorizing(tmp_path / "list.txt", tmp_path / "done")
    decisions = tmp_path / "decisions.csv"
    assert "cannot be read as decisions" in colorizing(scans, tmp_path / "out", only=str(decisions))
    for text in ("id,verdict\na,redo\n", '[{"id": "a"}]', "[1]"):
        decisions.write_text(text)
        assert "cannot be read as decisions" in colorizing(scans, tmp_path / "out", only=str(decisions))
    decisions.write_text("id,source,decision\na,/a.jpg,burn\n")
    assert "only keep, reject, redo" in colorizing(scans, tmp_path / "out", only=str(decisions))
    decisions.write_text("id,source,decision\na,/a.jpg,redo\n")
    assert "is about 1 photographs that" in colorizing(scans, tmp_path / "out", only=str(decisions))
    assert not (tmp_path / "out").exists(), "nothing was made before the usage was found wrong"
    row = {"id": source_id("a.jpg"), "source": f"{scans}/a.jpg", "status": "ok"}
    Catalog(str(tmp_path / "out")).append(pa.Table.from_pylist([row], SCHEMA))
    decisions.write_text("id,source,decision\na,/other/b.jpg,keep\n")
    refused = colorizing(scans, tmp_path / "out", only=str(decisions))
    assert "is about 1 photographs that" in refused and "does not hold, such as /other/b.jpg" in refused
    decisions.write_text(f"id,source,decision\n{row['id']},/other/a.jpg,reject\n")
    assert "it names /other/a.jpg, where this one has" in colorizing(scans, tmp_path / "out", only=str(decisions))
    hint = {"x": 1, "y": 1, "color": "none"}
    redo = {"id": row["id"], "source": row["source"], "decision": "redo", "hints": [hint]}
    (tmp_path / "hints.json").write_text(json.dumps([redo]))
    Catalog(str(tmp_path / "out")).append(pa.Table.from_pylist([row | {"source_version": "of before"}], SCHEMA))
    assert "a.jpg has changed since" in colorizing(scans, tmp_path / "out", only=str(tmp_path / "hints.json"))
    moved = ColorizeConfig(str(scans), str(tmp_path / "out"), only=str(decisions), moved=True, dry_run=True)
    assert colorize.main(moved) == cli.OK


def test_weights_of_others_are_not_replaced(capsys, tmp_path):
    (theirs := tmp_path / "mine.safetensors").write_text("of a week's training")
    averaging = {"weights": ("default", "default"), "run": str(tmp_path), "output": str(theirs)}
    assert "is there already" in said(capsys, average, average.AverageConfig, **averaging)
    assert "is there already" in said(capsys, export, export.ExportConfig, file=str(theirs))
    assert theirs.read_text() == "of a week's training"
    within = str(theirs / "a.safetensors")
    assert "cannot be written" in said(capsys, average, average.AverageConfig, **averaging | {"output": within})
    assert "cannot be written" in said(capsys, export, export.ExportConfig, file=within)


def test_review(capsys, tmp_path):
    assert "has no catalogue" in said(capsys, review, review.ReviewConfig, output=str(tmp_path))


def test_train(capsys, scans, tmp_path):
    def training(**options):
        options = {"source": str(scans), "storage": str(tmp_path / "runs")} | options
        return said(capsys, train, TrainConfig, **options)

    assert "does not exist" in training(source=str(tmp_path / "none"))
    for workers in ("0", "4:2", "many", "2:"):
        assert "--workers" in training(workers=workers)
    assert "--batch-size" in training(workers="4", batch_size=2)
    assert "learning rate" in training(learning_rate=-1.0)
    assert "--size must be a multiple of 32" in training(size=100)
    assert "--input-side must be a multiple of 32" in training(input_side=100)
    for split in ("0.9/0.1", "0.9/0.2/0", "1/0/0", "134/36", "134/36/-30", "a/b/c", "1.5/36/30"):
        assert "--split must be" in training(split=split)
    assert "no network called" in training(network="vgg")
    assert "layers are called encoder" in training(network="resnet18", freeze=("stem",))
    assert "--balance" in training(emphasis={"a": 2.0})
    assert "above 0" in training(balance="class", emphasis={"a": 0.0})
    assert "cannot be read" in training(weights="nowhere.safetensors")
    other = tmp_path / "deconv.safetensors"
    other.write_bytes(
        pack_weights(network.build("resnet18", upsampling="deconv"), "resnet18", {"upsampling": "deconv"}, 64, {})
    )
    assert "choose the same --network" in training(weights=str(other))
    assert "give a --hinted above 0" in training(weights="default", hinted=0.0)
    for name in ("", "..", "../mine", "/mine"):
        assert "--name must be" in training(name=name)
    for seed in (-1, 1 << 63):
        assert "--seed must be" in training(seed=seed)
    assert "has no catalogue" in training(reviewed=(str(scans),))
    (tmp_path / "runs/damaged").mkdir(parents=True)
    (tmp_path / "runs/damaged/settings.json").write_text("{")
    assert "runs/damaged cannot be read" in training(name="damaged")
    begun = lasting(TrainConfig(str(scans), storage="", name="begun"))
    (tmp_path / "runs/begun").mkdir()
    (tmp_path / "runs/begun/settings.json").write_text(json.dumps(begun))
    assert "begun with --size 224, not 96" in training(source=f"{scans}/../scans/", name="begun", size=96)


def test_evaluate(capsys, tmp_path):
    def evaluating(**options):
        return said(capsys, evaluate, evaluate.EvaluateConfig, **options)

    assert "does not exist" in evaluating(source=str(tmp_path / "none"))
    assert "--sheet must be at least 0" in evaluating(source=str(tmp_path), sheet=-1)
    assert "--html writes a page into --output" in evaluating(source=str(tmp_path), html=True)
    (tmp_path / "a.png").write_bytes(b"x")
    assert "cannot be read" in evaluating(source=str(tmp_path), weights=("nowhere.safetensors",))
    assert "cannot be written to" in evaluating(source=str(tmp_path), output=str(tmp_path / "a.png"))


def test_options_from_a_file(capsys, tmp_path):
    seen = []
    path = tmp_path / "job.yaml"

    def parsed(text: str, *arguments: str, config=ColorizeConfig):
        path.write_text(text)

        def job(options: Annotated[config, cli.OPTIONS]) -> int:
            seen.append(options)
            return cli.OK

        with pytest.raises(SystemExit) as exit:
            cli.command_line(cli.app(job, "archive", ""), ["--config", str(path), *arguments])
        return seen.pop() if exit.value.code == 0 else capsys.readouterr().err

    text = "source: a\noutput: b\nformat: tiff\nif-color: recolor\nprovenance: false\ntimeout: 5\nretry_errors: true"
    got = parsed(text)
    assert (got.source, got.output, got.format, got.if_color) == ("a", "b", "tiff", "recolor")
    assert not got.provenance and got.timeout == 5 and got.retry_errors and got.weights == "default"
    got = parsed("format: tiff\ntimeout: 5", "c", "d", "--format", "keep")
    assert (got.source, got.output, got.format, got.timeout) == ("c", "d", "keep", 5)
    assert parsed("actors: 1:16", "a", "b").actors == "1:16"
    text = "storage: s\nonly: [cat, dog]\nepochs: 3\nbalance: class\nemphasis: {cat: 2, dog: 0.5}"
    got = parsed(text, "photos", config=TrainConfig)
    assert (got.source, got.storage, got.only, got.epochs) == ("photos", "s", ("cat", "dog"), 3)
    assert got.emphasis == {"cat": 2, "dog": 0.5}

    for text in ("dry_run: true\nreview: false\nonly: a.csv", "dry-run: true\nreview: false\nonly: a.csv"):
        got = parsed(text, "a", "b", "--no-dry-run", "--review", "--only", "b.csv")
        assert (got.dry_run, got.review, got.only) == (False, True, "b.csv"), "the command line wins"

    unknown = parsed("colour: yes\nsource: a\noutput: b")
    assert "Unknown option" in unknown and "colour" in unknown and str(path) in unknown
    assert "must hold lines like" in parsed("just words", "a", "b")
    assert "cannot be read" in parsed("a: [", "a", "b")
    assert "tiff" in parsed("format: gif", "a", "b"), "what there is to choose from"


def test_the_command_itself(tmp_path):
    def run(*args):
        command = [sys.executable, "-m", "jobs.colorize", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)

    missing = run(str(tmp_path / "none"), str(tmp_path / "out"))
    assert missing.returncode == 2 and missing.stderr.startswith("error: ") and missing.stderr.count("\n") == 1
    unknown = run(str(tmp_path), "out", "--colour", "yes")
    assert unknown.returncode == 2 and "Traceback" not in unknown.stderr


def test_the_pool_fits_the_machines():
    def pool(photographs, wanted, gpus, *each, grows=False):
        machines = tuple(cluster.Machine(*machine[:2], *machine[2:] or [64 << 30]) for machine in each)
        return pools.pool(photographs, wanted, gpus, cluster.Machines(machines, grows))

    assert pool(1000, None, None, (8, 0)) == (8, 8, 0, 1)
    assert pool(3, None, None, (8, 0)) == (3, 3, 0, 1), "no more than there are photographs"
    assert pool(1000, None, None, (8, 1)) == (2, 2, 0.5, 4), "two on a GPU, with half the cores each"
    assert pool(1000, None, None, (2, 2)) == (2, 2, 1, 1), "as many as there are cores"
    assert pool(1000, (4, 4), None, (8, 1)) == (4, 4, 0.25, 2)
    assert pool(1000, (1, 1), None, (8, 2)) == (1, 1, 1, 8)
    assert pool(1000, None, 0, (8, 1)) == (8, 8, 0, 1), "cores alone, if so wanted"
    assert pool(1000, None, None, (0, 0), (8, 1), (8, 1), (4, 0), grows=True) == (4, 1000, 0.5, 5)
    assert pool(1000, (1, 16), 0.25, (0, 0), (8, 1), grows=True) == (1, 16, 0.25, 2)
    assert pool(1000, None, None, (64, 0, 8 << 30)) == (10, 10, 0, 1), "no more than its memory allows"
    assert pool(1000, None, None, (64, 0, 8 << 30), (2, 0, 8 << 30), grows=True) == (12, 1000, 0, 1)


def test_what_was_granted_is_what_is_used(monkeypatch):
    """One of 128 cores, as Slurm and Kubernetes grant them, is not 128 processes."""
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(granted, "cores", lambda: 1)
    monkeypatch.setattr(granted, "memory", lambda: 10 << 30)
    started = {}
    monkeypatch.setattr(ray, "init", lambda address, **options: started.update(options))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 7.0 * 2**30}}])
    cluster._start_here({})
    assert started["num_cpus"] == 4 and started["_memory"] == 7 << 30, "Ray's own helpers take some too"
    assert cluster.machines().each == ((1, 0, 7 << 30),)
    with pytest.raises(
        UsageError, match=r"this machine has 1 cores, 0 GPUs and 7.5 GB for them, of which each takes 9.0:"
    ):
        cluster.wait_for(1, 0, 600, memory=9 * 10**9)


def test_ray_accepts_a_pool_with_gpus(ray_local, samples):
    """Not run: there are none here. test_cluster runs it on logical ones."""
    config = ColorizeConfig(source=str(samples / "scans"), output="out")
    pool = Pool(1, 2, 0.5, 4)
    files = identified(listing.listing(config.source), "png", False)[0]
    catalog = Catalog("nowhere")
    todo = hinted.of_scans(hinted.hinted(files, catalog.read(), {}), catalog, {})
    todo = superseded.made(todo.append_column("why", pa.array(["new"] * len(todo))), catalog)
    assert "ColorizeActor" in repr(dataset(todo, config.job, pool))


def test_where_there_is_no_room(ray_local, monkeypatch):
    with pytest.raises(UsageError, match=r"2 processes need 1 core and 1 GPUs each, but this machine has [0-9]+ cores"):
        cluster.wait_for(2, 1, 600)
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    with pytest.raises(UsageError, match=r"the largest of the cluster's 1 machines .* none with more has come in 0 s"):
        cluster.wait_for(1, 1, 0)
    assert cluster.wait_for(1, 0, 0).cores >= 1


def in_a_process(*arguments, **environment: str) -> str:
    line = [sys.executable, "-m", "jobs.colorize", *map(str, arguments)]
    done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 2 and re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def test_a_cluster_that_cannot_be_reached(tmp_path, scans):
    said = in_a_process(scans, tmp_path / "out", RAY_ADDRESS="127.0.0.1:9")
    assert "no Ray cluster to work with at 127.0.0.1:9" in said


class _Forbidding(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_GET

    def log_message(self, *args):
        pass


def test_buckets_that_are_missing_or_closed(capsys, scans, tmp_path, s3_endpoint):
    def colorizing(source, output):
        return said(capsys, colorize, ColorizeConfig, source=str(source), output=str(output))

    assert "s3://no-such-bucket/scans does not exist" in colorizing("s3://no-such-bucket/scans", tmp_path / "out")
    assert "cannot be written to" in colorizing(scans, "s3://no-such-bucket/out")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Forbidding)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    closed = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}
    assert "check the path and your credentials" in in_a_process("s3://bucket/scans", tmp_path / "out", **closed)
    server.shutdown()
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    assert "AWS_ACCESS_KEY_ID" in in_a_process("s3://bucket/scans", tmp_path / "out", **none)
    assert "AWS_ACCESS_KEY_ID" in in_a_process(scans, "s3://bucket/out", **none)
    nobody = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    assert "check the network, AWS_DEFAULT_REGION" in in_a_process("s3://bucket/scans", tmp_path / "out", **nobody)


def test_that_ray_does_not_start_is_said(monkeypatch):
    def slow(*arguments, **options):
        raise Exception("The current node timed out during startup.\n")

    monkeypatch.setattr("ray.init", slow)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(cli.JobFailed, match=r"could not be started on this machine \(The current node timed out"):
        cluster._start_here({})


def test_windows():
    """Where Python has no fcntl, a sentence and no traceback."""
    code = "import sys; sys.modules['fcntl'] = None; import jobs.colorize"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == cli.FAILED
    assert re.fullmatch(r"error: colorize runs on Linux, not on Windows, [^\n]+\n", done.stderr), done.stderr


def test_a_process_ends_without_being_taken_apart():
    """Arrow's threads may be at work still, and would abort it; a thread that is a daemon stands for them."""
    code = """
import atexit, threading, time
from jobs import cli

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
threading.Thread(target=time.sleep, args=[60], daemon=True).start()
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread has finished"))).start()
atexit.register(print, "tidied up")
print("said")
cli.process(lambda: cli.SOME_ERRORS)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (cli.SOME_ERRORS, "")
    assert done.stdout.splitlines() == ["said", "a thread has finished", "tidied up"]


def test_a_job_that_fails_ends_with_a_sentence(capsys):
    def job():
        raise cli.JobFailed("the disk is full: make room")

    with pytest.raises(SystemExit) as exit:
        cli.run(job)
    assert exit.value.code == cli.FAILED and capsys.readouterr().err == "error: the disk is full: make room\n"


def test_a_job_whose_output_nobody_reads_any_more_says_so(tmp_path):
    code = "from jobs import cli; cli.process(lambda: print('x' * 100_000) or print('y', flush=True) or 0)"
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    job.stdout.close()
    said = job.stderr.read()
    assert job.wait(30) == cli.INTERRUPTED and said.startswith("stopped") and len(said.splitlines()) == 1
