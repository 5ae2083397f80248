"""A photograph's way through a worker, wherever its bytes come from and its colours go to: measured, looked at,
decoded, coloured, encoded.
"""

import contextlib
import faulthandler
import hashlib
import os
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import cv2
import numpy as np

from colorize_core import __version__, color, encoding, jpeg, metrics, photo, spliced, triage, xmp
from jobs.cli import JobFailed
from jobs.coloring import hinted, preflight
from jobs.coloring.deaths import Deaths, die_at_faults
from jobs.coloring.job import Job, container, source_id
from jobs.coloring.scan import Scan
from jobs.coloring.telemetry import Telemetry
from jobs.machine import admission
from jobs.pages import decisions, thumbnails
from jobs.storage import files

TOGETHER = 512 << 20  # bytes of memory for the photographs that are decoded at a time, unless a single one takes more
MOST = 16  # of them, so that the first are stored soon
T = TypeVar("T")
ATTEMPTS = 3  # with a photograph that processes die with, or with a device that fails
WHAT = {"color": "it is in colour already", "tinted": "it is tinted", "text": "it looks like text or a line drawing"}
BLANK = np.full((300, 400), 128, np.uint8)
"""A picture that no network fails with, unless its device does; of the most usual shape, for which it is ready then."""


class DeviceError(Exception):
    """The network fails on this device, whatever the picture."""


class Pipeline(ABC):
    """One worker process. Its kinds know where photographs come from, and where their colours go to (``_keep``)."""

    def __init__(self, job: Job):
        from colorize_core.colorizer import Colorizer  # here, since the driver imports this file too

        die_at_faults()
        self.job = job
        self.blind = job.hold and preflight.blind(job.output, job.hold)
        self.colorizer = Colorizer.from_file(job.weights_file, None if job.on_gpu else "cpu", job.precision)
        cv2.setNumThreads(1)
        self.threads = ThreadPoolExecutor(job.threads)
        self.deaths = Deaths(job.run)
        self.telemetry = Telemetry()
        device = self.colorizer.engine.device
        self.telemetry.say(
            "ready", engine=self.colorizer.engine.name, device=device, gpus=os.environ.get("CUDA_VISIBLE_DEVICES", "")
        )
        self.file_room, self.pixel_room = admission.for_files(), admission.for_pixels()
        self.device = f"{device}{os.environ.get('CUDA_VISIBLE_DEVICES', '')}".replace("/", "-")
        # Its first call takes seconds, and loops are compiled: that is not to count as the first photograph's time.
        self.broken = self._device_error()
        if job.format not in ("png", "tiff"):
            spliced.warm_up()

    @abstractmethod
    def _keep(self, scan: Scan) -> None:
        """Encode a photograph in colour, store it, and complete its row."""

    def _keep_thumbnails(self, scans: list[Scan]) -> None:
        """Those that were made of these, for the review page."""
        if made := [(scan.row["output_sha256"], scan.thumbnail) for scan in scans if scan.thumbnail]:
            with contextlib.suppress(Exception):  # S3's errors are of many kinds; the page makes what is missing
                thumbnails.keep(self.job.output, made)

    @contextlib.contextmanager
    def _machine_apart(self, scans: list[Scan]) -> Iterator[None]:
        """Around the work on ``scans``: what this machine is at fault for is not theirs. Raises ``JobFailed``."""
        if self.blind:  # not where it was found: of an actor that cannot be made Ray tells in its own words
            raise JobFailed(self.blind)
        try:
            if self.broken:
                raise self.broken
            yield
        except DeviceError as error:
            self._start_afresh(scans, error)
        self.deaths.forget(self.device)

    def _scan(
        self, uri: str, path: str, version: str, size: int, hints: list[dict] | None, kept: encoding.Format
    ) -> Scan:
        id = source_id(path)
        row = {
            "id": id,
            "source": files.printable(uri),
            "source_version": version,
            "status": "ok",
            "model": self.colorizer.file.model,
            "engine": self.colorizer.engine.name,
            "settings": self.job.digest("recolor", kept),
            "provenance": self.job.provenance,
            "hints": hints,
            "seconds": 0.0,
        }
        return Scan(id, uri, path, size, row, kept, hints or [])

    def _apart(self, scans: list[Scan]) -> Iterator[list[Scan]]:
        """Those alone that a process died with; the others together, the last. Three deaths are enough: one with
        another cause may meet a photograph that is alone, hardly two."""
        self.deaths.find()
        alone: list[Scan] = []
        together: list[Scan] = []
        for scan in scans:
            deaths = self.deaths.count(scan.id)
            if deaths >= ATTEMPTS:
                scan.fail(
                    f"it crashed the process that works on it, used up its memory, or took longer than "
                    f"{self.job.timeout:.0f} s, three times: check the file, or raise --timeout"
                )
            else:
                (alone if deaths else together).append(scan)
        yield from ([scan] for scan in alone)
        yield together

    def _start_afresh(self, scans: list[Scan], error: DeviceError) -> None:
        """End this process, and have Ray start another one: after some errors of a GPU nothing works any more in the
        process that they happened to, and all does in a new one."""
        for scan in scans:
            self.deaths.forget(scan.id)  # it is not theirs
        self.deaths.add(self.device)
        if self.deaths.count(self.device) >= ATTEMPTS:
            on_gpu = self.colorizer.engine.device != "cpu"
            hint = "what else uses its GPU, or leave GPUs alone with --gpus 0" if on_gpu else "its free memory"
            raise JobFailed(
                f"the network fails with any picture on the machine {socket.gethostname()} ({error}): see to {hint}; "
                "the same command continues"
            )
        self.telemetry.say("device failed", reason=str(error))
        _end_process()

    def _colorize(self, scans: list[Scan]) -> None:
        with self._in_time():
            list(self.threads.map(self._measure, scans))
        sound = [scan for scan in scans if not scan.failed]
        for few in neighbours(sound, lambda scan: max(scan.memory, TOGETHER // MOST), TOGETHER):
            with self.pixel_room.reserve(sum(scan.memory for scan in few)), self._in_time():
                list(self.threads.map(self._decode, few))
                self._try_to_predict([scan for scan in few if not scan.failed])
                list(self.threads.map(self._store, [scan for scan in few if not scan.failed]))

    def _measure(self, scan: Scan) -> None:
        with scan.accounted("reading"):
            scan.pages = photo.measure(scan.data)
            scan.row["pages"] = len(scan.pages)
            scan.keeps_luma = container(self.job.format, scan.kept) == "jpeg" and jpeg.is_read(scan.data)

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """End this process if it hangs, even in a decoder that lets no other thread run."""
        faulthandler.dump_traceback_later(self.job.timeout, exit=True, file=sys.__stderr__ or sys.stderr)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _decode(self, scan: Scan) -> None:
        """To grey levels and metadata; the policy for its kind is applied."""
        with scan.accounted("reading"), self.telemetry.timed("decode"):
            wanted = container(self.job.format, scan.kept)
            if scan.keeps_luma:
                scan.spliced = spliced.of_jpeg(scan.data)
            if scan.spliced:
                if self._is_wanted(scan, scan.spliced.look, scan.spliced.shape):
                    scan.photographs = [scan.spliced.guide]
                scan.data = b""
                return
            for page, photograph in enumerate(photo.pages(scan.data)):
                if page == 0 and not self._is_wanted(scan, photograph, photograph.pixels.shape[:2]):
                    return
                scan.photographs.append(replace(photograph, pixels=photograph.grey))  # lets go of any colour channels
            scan.data = b""
            if wanted == "jpeg" and scan.photographs[0].bits == 16:
                scan.photographs[0] = replace(scan.photographs[0], pixels=color.in_8_bits(scan.photographs[0].pixels))
            if not encoding.holds(wanted, scan.photographs[0], len(scan.pages)):
                scan.fail(_does_not_fit(wanted, scan))
            elif wanted == "jpeg":
                scan.spliced = spliced.of_photo(scan.photographs.pop())
                scan.photographs = [scan.spliced.guide]

    def _is_wanted(self, scan: Scan, photograph: photo.Photo, shape: tuple[int, ...]) -> bool:
        """Take note of what a scan of this ``shape`` is and what is to be done with it; whether it has an output."""
        kind = triage.kind(photograph)
        scan.row |= {"kind": kind, "bits": photograph.bits, "height": shape[0], "width": shape[1]}
        hinted.check(scan.hints, *shape)
        scan.policy = self.job.policies[kind]
        scan.row["settings"] = self.job.digest(scan.policy, scan.kept)
        if scan.policy == "skip":
            scan.fail(f"{WHAT[kind]}; --if-{kind} recolor colours it all the same", "skipped")
        return scan.policy != "skip"

    def _try_to_predict(self, scans: list[Scan]) -> None:
        """One by one, where the network fails with several. Raises ``DeviceError`` where it fails with any picture."""
        try:
            self._predict(scans)
        except Exception as error:
            self._free_memory()
            if len(scans) > 1:
                for scan in scans:
                    self._try_to_predict([scan])
            elif broken := self._device_error():
                raise broken from error
            else:
                reason = _first_line(error)
                scans[0].fail(f"the network failed with it, but not with others ({reason}): please report this")

    def _device_error(self) -> DeviceError | None:
        try:
            (colouring,) = self.colorizer.predict([BLANK], likeliest_map=self.job.thumbnails)
            color.merge(BLANK, colouring.chroma[0])
        except Exception as error:
            return DeviceError(_first_line(error))
        return None

    def _free_memory(self) -> None:
        if self.colorizer.engine.device.startswith("cuda"):
            import torch

            with contextlib.suppress(Exception):  # of a device that fails
                torch.cuda.empty_cache()

    def _predict(self, scans: list[Scan]) -> None:
        from colorize_core.colorizer import Colouring

        pages = [(scan, photograph.pixels) for scan in scans for photograph in scan.photographs]
        greys = [grey for scan, grey in pages if scan.policy == "recolor"]
        hints = [
            decisions.hints(scan.hints if page == 0 else [], len(photograph.pixels) / scan.row["height"])
            for scan in scans if scan.policy == "recolor" for page, photograph in enumerate(scan.photographs)
        ]  # fmt: skip
        with self.telemetry.timed("network"):
            colourings = self.colorizer.predict(
                greys, self.job.vividness, self.job.variants, self.job.confidence_map, hints, self.job.thumbnails
            )
        recolored = iter(colourings)
        neutral = Colouring([np.zeros((1, 1, 2), np.float32)])
        for scan, _ in pages:
            scan.colourings.append(next(recolored) if scan.policy == "recolor" else neutral)
        for scan in scans:
            known = [colouring.confidence for colouring in scan.colourings if colouring.confidence is not None]
            scan.row["confidence"] = min(known, default=None)  # of its pages, that which needs a look the most

    def _store(self, scan: Scan) -> None:
        with scan.accounted("colouring"), self.telemetry.timed("store"):
            self._keep(scan)
        scan.row["finished_at"] = datetime.now(UTC)

    def _picture(self, scan: Scan) -> bytes:
        """The file in colour, the last that is to be had of a photograph: it lets go of the pixels."""
        data = self.telemetry.moved("written", self._encoded(scan, 0))
        scan.row["output_sha256"] = hashlib.sha256(data).hexdigest()
        return data

    def _provenance(self, scan: Scan) -> xmp.Provenance | None:
        """Nothing for what was passed through grey: nobody made its colours."""
        if not self.job.provenance or scan.policy != "recolor":
            return None
        return xmp.Provenance(
            xmp.SYSTEM, f"{__version__} {self.colorizer.file.credit}", scan.row["source_sha256"], len(scan.hints)
        )

    def _encoded(self, scan: Scan, variant: int) -> bytes:
        made = self._provenance(scan)

        def merged() -> Iterator[photo.Photo]:
            """Page by page, so that one in colour is in memory at a time; the first variant comes last and lets go."""
            scanned_pages = scan.photographs if variant == 0 else list(scan.photographs)
            for colouring in scan.colourings:
                scanned = scanned_pages.pop(0)
                rgb = color.merge(scanned.pixels, colouring.chroma[variant])
                if variant == 0 and "colorfulness" not in scan.row:  # the first page
                    step = max(1, min(rgb.shape[:2]) // 128)
                    scan.row["colorfulness"] = metrics.colorfulness(rgb[::step, ::step])
                    if self.job.thumbnails:
                        scan.thumbnail = thumbnails.of_pixels(rgb, scanned.exif, colouring.likeliest_map)
                yield replace(scanned, pixels=rgb, xmp=xmp.labelled(scanned.xmp, made))

        if (format := container(self.job.format, scan.kept)) == "tiff":
            return encoding.encode_tiff(merged())
        page = next(merged())
        if scan.spliced:
            return spliced.encode(scan.spliced, page.pixels, page.xmp)
        return encoding.encode(page.pixels, format, page.alpha, page.exif, page.dpi, page.xmp, page.iptc)


def _does_not_fit(format: encoding.Format, scan: Scan) -> str:
    first, several = scan.photographs[0], len(scan.pages) > 1
    what = [f"{len(scan.pages)} pages"] if several else []
    what += ["16 bits"] if first.bits == 16 and format == "jpeg" else []
    what += ["alpha"] if first.alpha is not None and format == "jpeg" else []
    described = " and ".join(what) or "x".join(map(str, first.pixels.shape))
    others = "tiff or keep" if several else "png or tiff"
    return f"it has {described}, which {format.upper()} does not hold: colour it with --format {others}"


def _first_line(error: Exception) -> str:
    """PyTorch's messages go on with advice to programmers."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _end_process() -> None:
    os._exit(1)


def neighbours(items: list[T], size: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Neighbours whose sizes add up to ``limit`` at most, or a single one that is larger."""
    portion: list[T] = []
    total = 0
    for item in items:
        if portion and total + size(item) > limit:
            yield portion
            portion, total = [], 0
        portion.append(item)
        total += size(item)
    if portion:
        yield portion
