"""The deployment files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_dockerfile_passes_hadolint():
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_unit_is_valid_for_systemd(tmp_path):
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not installed")
    # The program need not be installed at the path of the unit.
    unit = (DEPLOY / "tastevec.service").read_text().replace("/opt/tastevec/bin/tastevec", sys.executable)
    (tmp_path / "tastevec.service").write_text(unit)
    done = subprocess.run(
        [verify, "verify", tmp_path / "tastevec.service"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["Dockerfile", "tastevec.service"])
def test_service_starts_in_an_empty_folder_and_reports_nothing(page):
    lines = (DEPLOY / page).read_text().splitlines()
    folder = {
        "Dockerfile": ["WORKDIR /srv/tastevec"],
        "tastevec.service": ["RuntimeDirectory=tastevec", "WorkingDirectory=%t/tastevec"],
    }
    start = max(number for number, line in enumerate(lines) if line.startswith(("FROM", "[Service]")))
    assert set(folder[page]) <= set(lines[start:])
    [environment] = [line for line in lines[start:] if line.startswith(("ENV ", "Environment="))]
    assert {"ORT_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_TELEMETRY=1"} <= set(
        environment.removeprefix("Environment=").split()
    )


@pytest.mark.parametrize("page", ["docs/service.md", "deploy/Dockerfile", "deploy/tastevec.service"])
def test_environment_variables_are_settings_of_the_service(page):
    import re  # noqa: PLC0415  only here

    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  an extra

    text = (DEPLOY.parent / page).read_text()
    known = {f"TASTEVEC_{name.upper()}" for name in ServiceSettings.model_fields}
    assert set(re.findall(r"TASTEVEC_[A-Z_]+", text)) <= known


def test_service_page_names_each_setting():
    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  an extra

    text = (DEPLOY.parent / "docs" / "service.md").read_text()
    for name in ServiceSettings.model_fields:
        assert f"TASTEVEC_{name.upper()}" in text
