"""A headless Chromium driven over its debugging pipe: opens pages, reads their DOM, keeps every request."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Chromium:
    """A browser with one page; use it in a `with` statement. `profile` is a new folder."""

    def __init__(self, profile: Path, width: int = 1600, height: int = 1000) -> None:
        assert PROGRAM is not None
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'  # where the browser looks for its pipe
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", PROGRAM, *flags],  # other shells know no file descriptor above 9
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._buffer = b""
        self._count = 0
        self._session = ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}

    def __enter__(self) -> Self:
        try:
            target = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network"):
                self._call(f"{domain}.enable")
            self._call("Emulation.setDeviceMetricsOverride", **self._size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._in)

    def open(self, address: str) -> None:
        """Open an address from an empty page, so that the page loads again if only the fragment differs."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)

    def before_pages(self, script: str) -> None:
        """Run a script in every page before the page's own scripts."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, holds: Callable[[Any], bool] = bool, seconds: float = 30.0) -> Any:
        """Evaluate an expression until its value satisfies `holds`. Return the value."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask(expression)
            if holds(answer):
                return answer
            assert time.monotonic() < deadline, f"{expression}: still {answer!r} after {seconds} s"
            time.sleep(0.1)

    def hosts(self) -> set[str]:
        """Return every host that received a request."""
        parts = [urlsplit(address) for address in self.requests]
        return {part.hostname or "" for part in parts if part.scheme not in ("about", "blob", "data")}

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the window as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._next()
            if heard.get("id") == self._count:
                assert "error" not in heard, f"{method}: {heard['error']}"
                result: dict[str, Any] = heard["result"]
                return result
            self._note(heard)

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(event["params"]["url"])
            case "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))

    def _next(self, seconds: float = 60.0) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], seconds)[0], "the browser does not answer"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        first, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message
