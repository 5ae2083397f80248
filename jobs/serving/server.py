"""The review page's server, on this machine alone.

It answers requests that come from its own page and know the token in its address, and no others. What a request names
is looked up, a photograph by its id in the catalogue and a file in a list: no text from a browser becomes a path.
"""

import asyncio
import contextlib
import fcntl
import hmac
import json
import mimetypes
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.compute as pc
from aiohttp import web

from colorize_core.formats import PhotoError
from jobs.cli import UsageError
from jobs.pages.review import page
from jobs.serving import applying
from jobs.serving.applying import Job
from jobs.serving.live import Live
from jobs.serving.saved import Saved
from jobs.storage import files
from jobs.storage.files import is_local

HOST = "127.0.0.1"
MOST_BYTES = 1 << 18  # of what a request may hold
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip
LIVE = page.HERE / "live.js"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Of one OUTPUT, from ``start`` on."""

    def __init__(self, output: str, weights: str):
        self.output, self.weights = output, weights
        self.token = secrets.token_urlsafe(24)
        self.hosts: set[str] = set()
        """What browsers may call it."""
        self.saved = Saved(output)
        self.job: Job | None = None
        self._ended: asyncio.Task | None = None
        self._writing = asyncio.Lock()
        self._network = ThreadPoolExecutor(1)
        self._live: Live | None = None
        self._look()

    def _look(self) -> None:
        """At what the page has, now."""
        stored = page.having(f"{self.output}/review")
        self.scripts, self.larger = (set(pc.unique(stored[name]).to_pylist()) for name in ("script", "larger"))
        self.vividness = {
            settings: applying.settings(self.output, settings).get("vividness")
            for settings in {row["settings"] for row in self.saved.rows.values()}
        }

    @contextlib.asynccontextmanager
    async def started(self, port: int = 0) -> AsyncIterator[str]:
        """Answers requests; gives the page's address. Raises ``OSError``."""
        app = web.Application(middlewares=[self._guarded], client_max_size=MOST_BYTES)
        at = "/{token}/"
        app.add_routes(
            [
                web.get(at, self._page),
                web.get(at + "{part}", self._part),
                web.get(at + "thumbnails/{script}.js", self._thumbnails),
                web.get(at + "pictures/{larger}.jpg", self._larger),
                web.get(at + "picture/{id}", self._picture),
                web.get(at + "likeliest/{id}", self._likeliest),
                web.post(at + "live/{id}", self._coloured),
                web.put(at + "decisions/{id}", self._decide),
                web.post(at + "apply", self._apply),
                web.get(at + "job/progress", self._progress),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            port = runner.addresses[0][1]
            self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
            asyncio.get_running_loop().run_in_executor(self._network, self._warm)
            yield f"http://{HOST}:{port}/{self.token}/"
        finally:
            await runner.cleanup()
            self._network.shutdown(cancel_futures=True)

    def _warm(self) -> Live:
        """Of the thread that the network runs in. Raises ``WeightsError``."""
        if not self._live:
            self._live = Live(self.weights)
            shapes = Counter((row["height"], row["width"]) for row in self.saved.rows.values())
            for shape, _ in shapes.most_common(1):
                self._live.make_ready(*shape)
        return self._live

    # ---- who may ask

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._admit(request)
            answer = await handler(request)
        except web.HTTPException as error:
            answer = web.Response(status=error.status, text=error.reason)
        except KeyError:
            answer = web.Response(status=404, text="There is no such photograph")
        except (UsageError, PhotoError, ValueError) as error:
            answer = web.Response(status=400, text=str(error))
        except OSError as error:
            answer = web.Response(status=500, text=str(error))
        answer.headers.update(HEADERS)
        return answer

    def _admit(self, request: web.Request) -> None:
        """Raise ``HTTPException`` for whoever is not the page: other sites, and names that lead here."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if host not in self.hosts:
            raise web.HTTPForbidden(reason="This is not my name")
        reads = request.method in ("GET", "HEAD")
        if origin != f"http://{host}" and not (reads and origin is None):
            raise web.HTTPForbidden(reason="Only my own page may ask")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(reason="Only my own page may ask")
        given = request.raw_path.split("/")[1]
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode()):
            raise web.HTTPNotFound
        if not reads and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType

    def _row(self, request: web.Request) -> dict:
        return self.saved.rows[request.match_info["id"]]

    async def _asked(self, request: web.Request) -> dict:
        try:
            asked = json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            raise UsageError("this is no JSON") from error
        if not isinstance(asked, dict):
            raise UsageError("an object was expected")
        return asked

    # ---- the page

    async def _page(self, request: web.Request) -> web.Response:
        html = (page.HERE / "index.html").read_text()
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n', "", html)  # a header says it
        html = html.replace("<title>", '<link rel="icon" href="data:,">\n<title>')  # browsers ask for one
        ours = '<script src="live.js" defer></script>\n<script src="saved.js" defer></script>\n'
        rows = '<script src="rows.js" defer></script>'
        return web.Response(text=html.replace(rows, ours + rows), content_type="text/html")

    async def _part(self, request: web.Request) -> web.Response:
        name = request.match_info["part"]
        parts = {part.name: part for part in (*page.PARTS, LIVE)}
        if name == "saved.js":
            said = {id: {name: entry.get(name) for name in ("decision", "hints")}
                    for id, entry in self.saved.entries.items()}  # fmt: skip
            return _script(f"const saved = {json.dumps(said)};\n".replace("<", "\\u003c").encode())
        if name == "rows.js":
            return _script(await asyncio.to_thread(files.read_bytes, f"{self.output}/review/rows.js"))
        if name not in parts:
            raise web.HTTPNotFound
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return web.Response(body=parts[name].read_bytes(), content_type=kind, charset="utf-8")

    async def _thumbnails(self, request: web.Request) -> web.Response:
        if (script := request.match_info["script"]) not in self.scripts:
            raise web.HTTPNotFound
        return _script(await asyncio.to_thread(files.read_bytes, f"{self.output}/review/thumbnails/{script}.js"))

    async def _larger(self, request: web.Request) -> web.Response:
        if (name := request.match_info["larger"]) not in self.larger:
            raise web.HTTPNotFound
        body = await asyncio.to_thread(files.read_bytes, f"{self.output}/review/pictures/{name}.jpg")
        return web.Response(body=body, content_type="image/jpeg")

    async def _picture(self, request: web.Request) -> web.Response:
        uri = self._row(request)["output"]
        kind = mimetypes.guess_type(uri)[0]
        if not uri.startswith(f"{self.output}/images/") or kind not in ("image/png", "image/jpeg"):
            raise web.HTTPNotFound
        return web.Response(body=await asyncio.to_thread(files.read_bytes, files.unprintable(uri)), content_type=kind)

    # ---- the network

    async def _likeliest(self, request: web.Request) -> web.Response:
        row = self._row(request)
        body = await self._run(lambda: self._warm().likeliest(row["source"], row["source_version"]))
        return web.Response(body=body, content_type="application/octet-stream")

    async def _coloured(self, request: web.Request) -> web.Response:
        row, asked = self._row(request), await self._asked(request)
        hints = self.saved.hints(row["id"], asked.get("hints"))
        given = row["source"], row["source_version"], hints, self.vividness[row["settings"]]
        body = await self._run(lambda: self._warm().picture(*given))
        return web.Response(body=body, content_type="image/jpeg")

    async def _run(self, work: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._network, work)

    # ---- decisions

    async def _decide(self, request: web.Request) -> web.Response:
        id, asked = self._row(request)["id"], await self._asked(request)
        async with self._writing:
            self.saved.say(id, asked.get("decision"), asked.get("hints"))
            await asyncio.to_thread(self.saved.write)
        return web.Response(status=204)

    async def _apply(self, request: web.Request) -> web.Response:
        async with self._writing:
            if self._ended and not self._ended.done():
                raise UsageError("a job is at work already")
            await asyncio.to_thread(self.saved.hand_over)
            command = await asyncio.to_thread(applying.command, self.output, self.weights, self.saved.copy)
            self.job = await Job.start(command)
            self._ended = asyncio.create_task(self._end(self.job))
        return web.Response(status=202)

    async def _end(self, job: Job) -> None:
        await job.end()
        async with self._writing:
            await asyncio.to_thread(self.saved.settle)
            await asyncio.to_thread(self._look)

    async def _progress(self, request: web.Request) -> web.Response:
        running = bool(self._ended and not self._ended.done())
        status, line = (self.job.process.returncode, self.job.line) if self.job else (None, "")
        return web.json_response({"running": running, "status": status, "line": line})


def _script(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/javascript", charset="utf-8")


@contextlib.contextmanager
def alone(output: str) -> Iterator[None]:
    """Be the only server of a place on this machine: two would overwrite each other's decisions. Raises
    ``UsageError``.
    """
    if not is_local(output):
        yield
        return
    with open(Path(output, "review", "index.html"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{output} is served already: use that page, or stop its server") from error
        yield


def run(output: str, weights: str, port: int) -> None:
    """Serve until interrupted. Raises ``UsageError`` and ``OSError``."""

    async def forever() -> None:
        async with Server(output, weights).started(port) as address:
            print(f"served: {address}\nFor browsers of this machine, until Ctrl+C.", flush=True)
            await asyncio.Event().wait()

    with alone(output), contextlib.suppress(KeyboardInterrupt):
        asyncio.run(forever())
