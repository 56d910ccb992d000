"""A Prometheus of the tests' own: Debian's package, on a free port, with a folder of its own."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.services.processes import CannotStartError, free_port, start, wait_until


def program(name: str) -> str:
    """Find ``prometheus`` or ``promtool``. Raises ``CannotStartError``."""
    if (path := shutil.which(name)) is None:
        raise CannotStartError(f"{name} is not there: install the package prometheus (tests/services/install.sh does on Debian)")
    return path


class PrometheusServer:
    """Scrapes what the file ``targets`` in its folder names, and evaluates our rules."""

    def __init__(self, folder: Path, *, rules: Path, interval_s: float = 0.5) -> None:
        """``folder``: empty; it keeps everything."""
        self._folder = folder
        self._rules = rules
        self._interval_s = interval_s
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        """Start, and wait until it answers. Raises ``CannotStartError``."""
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.scrape({})
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        log = self._folder / "prometheus.log"
        words = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
        self._process = start([program("prometheus"), *words, "--log.level=warn"], log=log)
        wait_until(self._answers, process=self._process, timeout_s=30, name="Prometheus", log=log)

    def _config(self) -> dict[str, Any]:
        often = f"{round(self._interval_s * 1000)}ms"
        files = [{"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}]
        return {
            "global": {"scrape_interval": often, "scrape_timeout": often, "evaluation_interval": often},
            "rule_files": [str(self._rules)],
            "scrape_configs": [{"job_name": "actlabel", "file_sd_configs": files}],
        }

    def scrape(self, targets: dict[str, int]) -> None:
        """Scrape these ports of this machine from now on, and no others; the names are for the reader of the file."""
        groups = [{"targets": [f"127.0.0.1:{port}"], "labels": {"member": name}} for name, port in targets.items()]
        draft = self._folder / ".targets.json"
        draft.write_text(json.dumps(groups))
        draft.replace(self._folder / "targets.json")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def over(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """Evaluate a query over a stretch of time; returns its series. Raises ``AssertionError`` for one that cannot be evaluated."""
        return self._ask("query_range", query=expr, start=f"{start_s:.3f}", end=f"{end_s:.3f}", step=f"{step_s:.3f}")

    def now(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate a query at this moment."""
        return self._ask("query", query=expr)

    def _ask(self, path: str, **words: str) -> list[dict[str, Any]]:
        data = urllib.parse.urlencode(words).encode()
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}", data=data, timeout=20) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{words['query']}: {error.read().decode()}") from error
        return found

    def stop(self) -> None:
        """Kill it: nothing of it is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
