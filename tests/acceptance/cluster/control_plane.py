"""A Kubernetes control plane as plain processes on this machine: etcd, API server, controller manager, scheduler."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.acceptance.cluster.certificates import ADMIN, Certificates
from tests.acceptance.cluster.go_programs import program
from tests.acceptance.cluster.timeline import Timeline
from tests.services.processes import free_port, listens, start, wait_until

_START_S: Final = 120.0
_SERVICES: Final = "10.96.0.0/16"


class ControlPlane:
    """Started once, closed once. ``kubectl`` talks to it as its administrator."""

    def __init__(self, folder: Path, timeline: Timeline) -> None:
        """``folder``: empty, for data, certificates and logs."""
        self.folder = folder
        self._timeline = timeline
        self._processes: list[subprocess.Popen[bytes]] = []
        self.certificates = Certificates(folder / "certificates")
        self._port = free_port()

    @property
    def address(self) -> str:
        """Where the API server is."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def kubeconfig(self) -> Path:
        """How its administrator reaches it."""
        return self.certificates.kubeconfig(ADMIN, self.address)

    def start(self) -> None:
        """Start all and wait until the API server is ready. Raises ``CannotStartError``."""
        etcd_port = free_port()
        self._start_etcd(etcd_port)
        self._start_api_server(etcd_port)
        self._timeline.note("the API server is ready")
        manager = ("--use-service-account-credentials", "--horizontal-pod-autoscaler-sync-period=3s", *self._manager_certificates())
        self._start_client("kube-controller-manager", "system:kube-controller-manager", *manager)
        self._start_client("kube-scheduler", "system:kube-scheduler")

    def _start_etcd(self, port: int) -> None:
        address, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        own = ("--data-dir", str(self.folder / "etcd"), "--listen-client-urls", address, "--advertise-client-urls", address)
        process = self.run(
            "etcd", *own, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"
        )
        self._wait("etcd", process, port)

    def _start_api_server(self, etcd_port: int) -> None:
        server, front, keys = (
            self.certificates.server("kube-apiserver"),
            self.certificates.front_proxy(),
            self.certificates.service_account_keys(),
        )
        process = self.run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={_SERVICES}",
            f"--client-ca-file={self.certificates.ca}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys.certificate}",
            f"--service-account-signing-key-file={keys.key}",
            f"--requestheader-client-ca-file={self.certificates.front_ca}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={front.certificate}",
            f"--proxy-client-key-file={front.key}",
        )
        self._wait("kube-apiserver", process, self._port)
        log = self.folder / "kube-apiserver.log"
        wait_until(self._is_ready, process=process, timeout_s=_START_S, name="kube-apiserver", log=log)

    def _is_ready(self) -> bool:
        return self.kubectl_run("get", "--raw", "/readyz", check=False).returncode == 0

    def _manager_certificates(self) -> Sequence[str]:
        return (f"--service-account-private-key-file={self.certificates._folder / 'sa.key'}", f"--root-ca-file={self.certificates.ca}")

    def _start_client(self, name: str, user: str, *flags: str) -> None:
        config = self.certificates.kubeconfig(user, self.address)
        port = free_port()
        access = [f"--{which}kubeconfig={config}" for which in ("", "authentication-", "authorization-")]
        process = self.run(name, *access, "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={port}", *flags)
        self._wait(name, process, port)

    def run(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a built program that ends with this object."""
        process = start([str(program(name)), *arguments], log=self.folder / f"{name}.log", environment=environment)
        self._processes.append(process)
        return process

    def _wait(self, name: str, process: "subprocess.Popen[bytes]", port: int) -> None:
        wait_until(lambda: listens(port), process=process, timeout_s=_START_S, name=name, log=self.folder / f"{name}.log")

    def kubectl_run(self, *arguments: str, text: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run kubectl; with ``text`` on its standard input. Raises ``AssertionError`` with what it said."""
        command = [str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl and return what it prints."""
        return self.kubectl_run(*arguments, text=text).stdout

    def close(self) -> None:
        """End everything, the last one first."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
