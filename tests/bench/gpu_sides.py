"""Sides of the measurement on a GPU: processes that are asked with a time limit, and begun anew when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]


class Failed(RuntimeError):
    """A side that cannot, or does not answer in time."""


class Remote:
    """A side's process. It starts without being waited for; `said` waits for what it is."""

    def __init__(self, name: str, device: str, errors: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.name, self.device, self.errors, self.about = name, device, errors, dict[str, Any]()
        self.missing = ""                                # why it can measure no row at all
        self.start()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.bench.gpu_worker", self.name, self.device]

    def start(self) -> None:
        same = {k: v for k, v in os.environ.items() if k != "NVIDIA_TF32_OVERRIDE"}      # would change products behind all backs
        self.process = subprocess.Popen(self.command(), cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, env=same)
        self.answers: queue.Queue[str] = queue.Queue()
        self.greeted = False
        self.listener = threading.Thread(target=self.listen, args=(self.process, self.answers), daemon=True)
        self.listener.start()

    @staticmethod
    def listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        """Lines as they come, and at the end how the process ended."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                answers.put(line)
        code = process.wait()
        answers.put(json.dumps({"error": f"its process ended with {f'signal {-code}' if code < 0 else f'status {code}'}"}))

    def tell(self, **words: Any) -> None:
        """Ask, and do not wait."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):       # it ended; what it said stands among the answers
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()

    def said(self, seconds: float) -> Any:
        """The next answer. Failed, where it is an error or does not come in time; the process is then another."""
        deadline = perf_counter() + seconds
        self.greet(seconds)
        return self.answer(deadline, seconds)

    def greet(self, seconds: float) -> None:
        """Wait for what it is. Failed, and `missing` says why, where it can measure no row."""
        if not self.greeted:
            self.about, self.greeted = self.answer(perf_counter() + seconds, seconds, True), True

    def answer(self, deadline: float, seconds: float, first: bool = False) -> Any:
        try:
            found = json.loads(self.answers.get(timeout=max(deadline - perf_counter(), 0.001)))
        except queue.Empty:
            found = {"error": f"no answer in {seconds:.0f} s"}
        if isinstance(found, dict) and "error" in found:
            self.missing = str(found["error"]) if first else ""
            self.stop()
            if not first:
                self.start()
            raise Failed(found["error"])
        return found

    def ask(self, seconds: float, **words: Any) -> Any:
        self.tell(**words)
        return self.said(seconds)

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.listener.join()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):                   # it ended before it read all
            self.process.stdin.close()
