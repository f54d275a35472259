"""Headless Chromium, spoken to over a pipe: pages that run, are clicked, printed and looked at.

The DevTools protocol is JSON, messages ending in a zero byte; no port is opened, no driver needed.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE_S = 60.0


class Browser:
    """One Chromium with one page."""

    def __init__(self, folder):
        """Start it with its profile and its downloads below `folder`."""
        self.downloads = Path(folder) / "downloads"
        self.downloads.mkdir(parents=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        words = " ".join([*QUIET, f"--user-data-dir={folder}/profile", "about:blank"])
        # Chromium reads commands from descriptor 3 and answers on 4
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {CHROMIUM} {words} 3<&{to_read} 4>&{to_write}"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._left, self._number, self._session, self.events = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def close(self):
        """End it, and what it started: nobody writes into its profile any more."""
        self._process.terminate()
        self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
            for _ in range(100):
                os.killpg(self._process.pid, 0)
                time.sleep(0.05)
        os.close(self._read)
        os.close(self._write)

    def ask(self, method, **params):
        """Send a command and return its result; what happens meanwhile is kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            self._left += os.read(self._read, 1 << 20)
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def open(self, path, *, width=1200, height=900, dark=False, mobile=False):
        """Show a file, and wait until it is loaded."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[theme])
        self.ask("Page.navigate", url=f"file://{path}")
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script):
        """Return the value of an expression in the page."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, script):
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(f"it never came true that {script}")
            time.sleep(0.03)

    def press(self, key):
        """Press a key and let it go."""
        code = {" ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}[key]
        for kind in ("keyDown", "keyUp"):
            about = {"key": key, "windowsVirtualKeyCode": code}
            if key == " " and kind == "keyDown":
                about["text"] = " "
            self.ask("Input.dispatchKeyEvent", type=kind, **about)

    def picture(self, path, *, whole=True):
        """Save what the page looks like as PNG."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path):
        """Save the page as it is printed on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        Path(path).write_bytes(base64.b64decode(self.ask("Page.printToPDF", **size)["data"]))

    def downloaded(self, name):
        """Return the bytes of a file that the page let the reader save, once it is whole."""
        end = time.monotonic() + PATIENCE_S
        while not (self.downloads / name).exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{name} was never saved")
            self.run("1")
            time.sleep(0.03)
        return (self.downloads / name).read_bytes()

    @property
    def complaints(self):
        """What the page complained of: errors of scripts, of policies, of requests."""
        self.run("1")
        found = []
        for event in self.events:
            if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                found.append(json.dumps(event["params"])[:400])
            if event.get("method") == "Runtime.consoleAPICalled":
                found.append(json.dumps(event["params"].get("args"))[:400])
        return found

    @property
    def requests(self):
        """Addresses that the page asked for, besides itself and what it holds."""
        sent = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [
            s["request"]["url"]
            for s in sent
            if not s["request"]["url"].startswith(("data:", "file:"))
        ]
