"""`serve` under load: concurrent clients, each sending the next pair when the last one is answered.

Run: python benchmarks/serve_load.py RUN [--clients 50] [--seconds 60] [--cores 2]
Starts `python cli.py serve --run RUN` as a process of its own on so many cores; the clients run on the same machine and
share them. Prints failures, requests a second, median and 99th percentile, the server's CPU time for a request, and its
memory a dozen times over. The texts are those of `quickstart/pairs.jsonl`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Load:
    """What was seen: seconds a request, failures, and every second the server's resident mebibytes and CPU seconds."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def summary(self, lasted: float) -> dict[str, Any]:
        """The figures."""
        cuts = quantiles(self.seconds, n=100)
        return {
            "requests": len(self.seconds),
            "failures": len(self.failures),
            "requests_per_second": round(len(self.seconds) / lasted, 1),
            "median_ms": round(1000 * cuts[49]),
            "p99_ms": round(1000 * cuts[98]),
            "cpu_ms_per_request": round(1000 * (self.cpu[-1] - self.cpu[0]) / len(self.seconds), 1),
            "memory_mib": [round(value) for value in self.memory[:: max(1, len(self.memory) // 12)]],
        }


async def client(port: int, bodies: list[bytes], number: int, load: Load, until: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        body = bodies[number % len(bodies)]
        number += 7
        fields = ["Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join(["POST /score HTTP/1.1", *fields, "", ""])
        start = time.monotonic()
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", answered, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        if answered.split()[1] == "200":
            load.seconds.append(time.monotonic() - start)
        else:
            load.failures.append(answered.splitlines()[0])
    writer.close()


async def watch(process: int, load: Load, until: float) -> None:
    while time.monotonic() < until:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        load.memory.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)
        ticks = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        load.cpu.append(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
        await asyncio.sleep(1)


async def drive(port: int, process: int, bodies: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Five seconds to warm up, then the measured ones."""
    for load, lasts in ((Load(), min(5.0, seconds)), (measured := Load(), seconds)):
        until = time.monotonic() + lasts
        asked = [client(port, bodies, 31 * number, load, until) for number in range(clients)]
        await asyncio.gather(watch(process, load, until), *asked)
    return measured.summary(seconds)


def bodies() -> list[bytes]:
    rows = map(json.loads, (ROOT / "quickstart" / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    pairs = [{name: row[name] for name in ("seeker_post", "response_post")} for row in rows]
    return [json.dumps({"pairs": [pair]}).encode() for pair in pairs]


def measure(run: Path, clients: int, seconds: float, cores: int) -> dict[str, Any]:
    """Starts the server, drives it, and stops it."""
    words = [sys.executable, str(ROOT / "cli.py"), "serve", "--run", str(run), "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    server = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, allowed)
    )
    try:
        line = server.stderr.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+)/", line)[1])
        return asyncio.run(drive(port, server.pid, bodies(), clients, seconds))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    found = measure(options.run, options.clients, options.seconds, options.cores)
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
