"""What is installed, and that it runs from anywhere: as a wheel, editable, and out of a zip file."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import dhtwisted
from dhtwisted.kit.speedups import IN_USE
from tests.support.packages import ROOT, copy_source, pip

pytestmark = pytest.mark.slow

SECONDS = 60
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel made of the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    copy_source(ROOT, directory / "source")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(directory), str(directory / "source"))
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel):
    """A directory with the wheel's content, as an installation has it."""
    target = wheel.parent / "unpacked"
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def run(directory, *arguments, python=sys.executable, path=""):
    """Run Python away from the checkout; a failure shows what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DHTWISTED_", "PYTHON"))}
    done = subprocess.run(
        [python, *arguments],
        cwd=directory,
        env=environment | ({"PYTHONPATH": str(path)} if path else {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_all_of_the_package_and_only_that(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "dhtwisted").rglob("*") if path.suffix in (".py", ".sql")}
    assert any(name.endswith(".sql") for name in source)
    assert {name for name in names if ".dist-info/" not in name} == source | {
        "dhtwisted/py.typed",
        "dhtwisted/speedups.abi3.so",
        "twisted/plugins/dhtwisted_plugin.py",
    }


def test_the_wheel_says_which_version_it_is(wheel):
    assert wheel.name.startswith(f"dhtwisted-{dhtwisted.__version__}-")


def test_the_wheel_names_its_license_and_has_the_text(wheel):
    with zipfile.ZipFile(wheel) as content:
        (about,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        (text,) = [name for name in content.namelist() if name.endswith("/LICENSE")]
        assert content.read(text) == (ROOT / "LICENSE").read_bytes()
        said = email.message_from_bytes(content.read(about))
    assert (said["License"], said["Author"], said["License-File"]) == ("MIT", "The dhtwisted authors", "LICENSE")
    assert "License :: OSI Approved :: MIT License" in said.get_all("Classifier")


def test_the_source_distribution_has_all_of_the_checkout(tmp_path):
    source = tmp_path / "source"
    copy_source(ROOT, source)
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and path.name != ".gitignore"}
    run(source, "-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})")
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert "LICENSE" in names
    # These two are compiled.
    assert files - names <= {"bench/loadgen/echo", "bench/loadgen/loadgen"}


def test_an_installed_server_runs_from_any_directory(unpacked, tmp_path):
    assert run(tmp_path, "-m", "dhtwisted", "--version", path=unpacked) == f"dhtwisted {dhtwisted.__version__} ({IN_USE})\n"
    assert "devicehive" in run(tmp_path, "-c", RUN_TWISTD, "--help", path=unpacked)
    assert "good" in run(tmp_path, "-c", RUN_TWISTD, "devicehive", "--check-config", path=unpacked)
    assert "file:PATH" in run(tmp_path, str(unpacked / "bin" / "devicehive"), "--help-providers", path=unpacked)
    assert run(tmp_path, "-c", "import dhtwisted; print(dhtwisted.__file__)", path=unpacked).startswith(str(unpacked))


def test_a_server_in_a_zip_file_finds_its_providers(wheel, tmp_path):
    page = run(tmp_path, "-m", "dhtwisted", "--help-providers", path=wheel)
    assert page.count("jwt:") == 1
    assert "cannot be used" not in page


def test_a_stale_plugin_cache_hides_nothing(unpacked, tmp_path):
    cache = unpacked / "twisted" / "plugins" / "dropin.cache"
    run(tmp_path, "-m", "dhtwisted", "--help-providers", path=unpacked)
    cache.write_bytes(b"no pickle at all")
    assert "jwt:" in run(tmp_path, "-m", "dhtwisted", "--help-providers", path=unpacked)


def test_an_editable_installation_shows_its_drop_in_to_twistd(tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    # The dependencies are those of the environment that runs the tests; a path in a .pth file is not searched for further ones.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    copy_source(ROOT, tmp_path / "source")
    pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-build-isolation", "-e", str(tmp_path / "source"))
    assert "good" in run(tmp_path, "-c", RUN_TWISTD, "devicehive", "--check-config", python=str(python))
    assert "file:PATH" in run(tmp_path, str(environment / "bin" / "devicehive"), "--help-providers", python=str(python))
    where = run(tmp_path, "-c", "import dhtwisted; print(dhtwisted.__file__)", python=str(python))
    assert where.startswith(str(tmp_path / "source"))


def metadata():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_listed():
    listed = set(metadata()["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "dhtwisted").rglob("__init__.py")}
    assert listed == found | {"twisted.plugins"}


def test_the_folders_of_the_drop_in_are_no_packages():
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


def test_the_build_system_is_among_the_requirements_of_the_tests():
    """Else the packages of these tests could be built only with a network."""
    (required,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert required in metadata()["options.extras_require"]["test"].splitlines()


def test_the_unit_runs_an_installed_command():
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "conf" / "devicehive.service")
    command = unit["Service"]["ExecStart"].split()
    assert Path(command[0]).name == "twistd"
    assert command[1:4] == ["--nodaemon", "--pidfile=", "devicehive"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_check_of_a_clean_checkout_is_the_one_that_the_readme_shows():
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    (command,) = [line for line in readme.splitlines() if "-m pytest" in line and "venv" in line]
    assert command in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
