"""The Dockerfile and what it installs: hadolint, and rules of our own that it does not know."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from actlabel.runtime.settings import Settings
from tests.unit.deploy.rendered import ROOT

_DEPLOY: Final = ROOT / "deploy"


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, _DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses and annotations look there
    spec.loader.exec_module(module)
    return module


LOCK: Final = _script("lock")
LINES: Final = list(_script("try_image").instructions())
FINAL: Final = ("service", "training")


def _of(stage: str, what: str) -> list[str]:
    return [text for at, word, text in LINES if (at, word) == (stage, what)]


def _pins(path: Path) -> Mapping[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_hadolint_finds_nothing():
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([program, "--failure-threshold", "warning", _DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_runs_as_nobody_in_particular_and_says_what_it_is(stage: str):
    assert _of(stage, "USER") == ["10001:10001"], "a number, so that runAsNonRoot can be checked"
    (entry,) = _of(stage, "ENTRYPOINT")
    assert entry == '["/opt/actlabel/bin/actlabel"]', "the command of a laptop"
    assert len(_of(stage, "HEALTHCHECK")) == 1
    text = (_DEPLOY / "Dockerfile").read_text(encoding="utf-8").partition(f" AS {stage}\n")[2].partition("\nFROM ")[0]
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text


def test_base_images_are_named_by_a_tag_that_says_a_version():
    bases = [text.partition("=")[2] for stage, what, text in LINES if (stage, what) == ("", "ARG")]
    assert len(bases) == 2
    assert all(re.search(r":[a-z0-9.-]+$", base) and not base.endswith(":latest") for base in bases), bases


def test_everything_is_installed_by_hash_or_is_our_own_wheel():
    installs = [text for _, what, text in LINES if what == "RUN" and "pip install" in text]
    assert len(installs) == 5
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or "dist/actlabel-*.whl" in install


def test_final_stages_take_files_from_builders_and_install_nothing_but_what_ray_is_probed_with():
    assert not _of("service", "RUN"), "its base has no shell"
    (run,) = _of("training", "RUN")
    assert "install -y --no-install-recommends wget" in run
    for stage in FINAL:
        assert all(copy.startswith("--from=") for copy in _of(stage, "COPY"))
        assert [copy for copy in _of(stage, "COPY") if "/opt/actlabel /opt/actlabel" in copy]
        assert any("sbom.cdx.json" in run for run in _of(f"{stage}-packages", "RUN"))


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (_DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    for _, what, text in LINES:
        if what == "COPY" and not text.startswith("--from"):
            for word in text.split()[:-1]:
                assert (ROOT / word).exists(), word
                assert any(Path(word).match(pattern) for pattern in allowed), word
    assert ignored[1] == "*"


def test_settings_of_the_image_are_settings():
    pairs = [pair.split("=", 1) for pair in " ".join(_of("service", "ENV")).split() if pair.startswith("ACTLABEL_")]
    assert {name.removeprefix("ACTLABEL_").lower() for name, _ in pairs} <= Settings.model_fields.keys()
    (health,) = _of("service", "HEALTHCHECK")
    assert f":{dict(pairs)['ACTLABEL_HTTP_PORT']}/healthz" in health


@pytest.mark.parametrize("image", FINAL)
def test_a_lock_has_what_pyproject_wants_in_the_versions_that_were_tested(image: str):
    pins, tested = _pins(_DEPLOY / f"{image}.lock.txt"), _pins(_DEPLOY / "constraints.txt")
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[\[><=!~; ]", line)[0]).lower() for line in LOCK.requirements(image)}
    assert wanted <= pins.keys(), "run deploy/lock.py"
    assert {name: pins[name] for name in pins.keys() & tested.keys()} == {name: tested[name] for name in pins.keys() & tested.keys()}
    text = (_DEPLOY / f"{image}.lock.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"==[^\n]+\\\n    --hash=sha256:[0-9a-f]{64}", text)) == len(pins), "every one has its hash"


def test_the_services_have_no_torch_and_nothing_of_a_size():
    pins = _pins(_DEPLOY / "service.lock.txt")
    assert not pins.keys() & {"torch", "ray", "pyarrow", "pandas", "scipy", "scikit-learn", "matplotlib", "transformers"}
    assert {"uvloop", "asyncpg", "aiokafka", "grpcio", "s3fs", "opentelemetry-sdk"} <= pins.keys()


def test_the_lock_of_the_builder_has_the_backend_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["build-system"]["requires"]) <= set(LOCK.BUILD)
    assert "hatchling" in _pins(_DEPLOY / "build.lock.txt")
