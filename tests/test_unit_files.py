"""The files for systemd and for packages hold together."""

import email
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import version

import pytest

from dhtwisted.config.endpoints import check_endpoint
from dhtwisted.config.sources import CREDENTIALS
from tests.support.packages import ROOT

CONF = ROOT / "conf"
MOST_EXPOSURE = 2.0
"""Of 10, as ``systemd-analyze security`` counts; below 2 it calls a service OK, and no lower class is left for one with a network."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def unit(name):
    parser = ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.optionxform = str
    parser.read(CONF / name)
    return parser


def analyze(*arguments):
    """Run systemd-analyze; returns what it said."""
    done = subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path):
    """Both units, with a command that is there: systemd-analyze looks."""
    for name in ("devicehive.service", "devicehive.socket"):
        text = (CONF / name).read_text()
        (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", ["devicehive.service", "devicehive.socket"])
def test_systemd_understands_every_line(installed, name):
    assert [line for line in analyze("verify", str(installed / name)).splitlines() if "devicehive" in line] == []


@needs_systemd
def test_the_sandbox_is_closed_as_far_as_it_works(installed):
    said = analyze("security", "--offline=true", str(installed / "devicehive.service"))
    (exposure,) = re.findall(r"Overall exposure level for devicehive\.service: ([\d.]+)", said)
    assert float(exposure) <= MOST_EXPOSURE, said


def test_the_service_waits_for_the_server_and_watches_it():
    service = unit("devicehive.service")["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "AF_UNIX" in service["RestrictAddressFamilies"], "else it could tell nothing"


def test_the_control_socket_has_a_folder_where_the_data_have_none():
    service = unit("devicehive.service")["Service"]
    (path,) = re.findall(r'server\.control_socket = "([^"]+)"', (CONF / "devicehive.service").read_text())
    assert path == f"/run/{service['RuntimeDirectory']}/control"
    assert service["RuntimeDirectoryMode"] == "0700"


def test_credentials_that_the_unit_shows_are_those_that_are_read():
    shown = re.findall(r"^#LoadCredential=([\w-]+):", (CONF / "devicehive.service").read_text(), re.MULTILINE)
    assert set(shown) == set(CREDENTIALS)


def test_the_audit_log_is_rotated_where_the_service_may_write_it():
    service = unit("devicehive.service")["Service"]
    (path,) = re.findall(r"^(/\S+) \{$", (CONF / "devicehive.logrotate").read_text(), re.MULTILINE)
    assert path == f"/var/log/{service['LogsDirectory']}/audit.log"
    assert f'log.audit_file = "{path}"' in (CONF / "devicehive.service").read_text()


def test_the_socket_has_the_name_that_its_endpoint_asks_for():
    text = (CONF / "devicehive.socket").read_text()
    name = unit("devicehive.socket")["Socket"]["FileDescriptorName"]
    endpoints = re.findall(r'"((?:tls:)?systemd:[^"]+)"', text)
    assert len(endpoints) == 2
    for endpoint in endpoints:
        check_endpoint(endpoint)
        assert endpoint.endswith(f":name={name}")


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_what_dpkg_runs_needs_no_more_than_sh(script):
    path = ROOT / "packaging" / "deb" / script
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(path)], check=True)


@pytest.mark.slow
def test_the_debian_package_names_the_license_of_everything_in_it():
    """Of the newest releases, which the package has; older ones name their licenses otherwise."""
    build = (ROOT / "packaging" / "deb" / "build").read_text()
    assert '"$here/copyright" "$source/LICENSE" >"$root/usr/share/doc/devicehive/copyright"' in build
    command = [sys.executable, str(ROOT / "packaging" / "deb" / "copyright"), str(ROOT / "LICENSE")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    about, ours, terms = (email.message_from_string(part) for part in (*said.split("\n\n", 1), said[said.index("License: ") :]))
    assert about["Format"] == "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    assert f" Twisted {version('Twisted')}: MIT\n" in said
    assert "\n dhtwisted " not in said
    assert (ours["Files"], ours["Copyright"]) == ("*", "2026 The dhtwisted authors")
    words = (ROOT / "LICENSE").read_text().partition("authors")[2].split()
    assert terms["License"].replace("\n .", "").split() == ["MIT", *words]


def test_the_container_copies_what_is_there_and_runs_as_nobody_special():
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    assert copied
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert 'ENTRYPOINT ["devicehive"]' in lines
