"""Apache Kafka as the tests run it: one KRaft node from Maven's jars, on free ports, in a folder of its own.

The jars are fetched once into ``.services/kafka`` of the checkout.
"""

import base64
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.services.processes import CannotStartError, free_port, listens, start, wait_until

_HERE = Path(__file__).parent
_JARS = _HERE.parents[1] / ".services" / "kafka"
_START_TIMEOUT_S = 120.0
_INSTALL = "install Java 17 and Maven (Debian: apt-get install default-jre-headless maven), or run tests/run embedded"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
log.cleaner.backoff.ms=500
log.initial.task.delay.ms=500
log.segment.delete.delay.ms=1000
num.network.threads=2
num.io.threads=4
"""


def jars() -> Path:
    """Return the folder with the broker's jars, fetched by Maven when it is not there. Raises ``CannotStartError``."""
    version = (_HERE / "pom.xml").read_text()
    if (_JARS / "pom.xml").exists() and (_JARS / "pom.xml").read_text() == version:
        return _JARS
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise CannotStartError(f"Apache Kafka cannot be fetched, there is no `{program}`: {_INSTALL}")
    _JARS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_JARS.parent, prefix="kafka-") as folder:
        fetched = _fetch(Path(folder))
        shutil.rmtree(_JARS, ignore_errors=True)
        fetched.rename(_JARS)  # complete or not there
    return _JARS


def _fetch(folder: Path) -> Path:
    target = folder / "jars"
    shutil.copy(_HERE / "pom.xml", folder)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise CannotStartError(
            f"Maven could not fetch Apache Kafka ({lines[0] if lines else 'no output'}); check that it reaches Maven Central"
        )
    shutil.copy(_HERE / "pom.xml", target)
    return target


def _cluster_id() -> str:
    """Make an id as Kafka writes it; one that begins with a dash would read as an option."""
    while (cluster := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster


class KafkaBroker:
    """One broker. ``kill`` and ``start`` keep its port and its data."""

    def __init__(self, folder: Path) -> None:
        """``folder``: empty, for configuration, data and log."""
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where its data lie."""
        return self._folder

    @property
    def address(self) -> str:
        """``host:port`` of the broker."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start and wait until it answers. Raises ``CannotStartError``."""
        if shutil.which("java") is None:
            raise CannotStartError(f"Apache Kafka cannot start, there is no `java`: {_INSTALL}")
        if not (self._folder / "server.properties").exists():
            self._format()
        log = self._folder / "kafka.log"
        memory = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        self._process = start((*self._java(*memory), "kafka.Kafka", str(self._folder / "server.properties")), log=log)
        wait_until(lambda: listens(self._port), process=self._process, timeout_s=_START_TIMEOUT_S, name="Apache Kafka", log=log)

    def _format(self) -> None:
        properties = self._folder / "server.properties"
        properties.write_text(_PROPERTIES.format(port=self._port, controller_port=free_port(), data=self._folder / "data"))
        properties.write_text(properties.read_text() + self._more_properties())
        tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", str(properties), *self._more_format())
        done = subprocess.run(self._java("-XX:TieredStopAtLevel=1") + tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            properties.unlink()
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise CannotStartError(f"Apache Kafka cannot format its folder ({lines[-1] if lines else 'no output'}): {_INSTALL}")

    def _more_properties(self) -> str:
        """Lines that win over those above; a subclass says more."""
        return ""

    def _more_format(self) -> tuple[str, ...]:
        """Options of the format command."""
        return ()

    def _java(self, *options: str) -> tuple[str, ...]:
        return ("java", *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars()}/*")

    def kill(self) -> None:
        """End it with SIGKILL; what it had acknowledged stays on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
