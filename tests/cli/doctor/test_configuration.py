"""What the doctor says of where values come from, and of passwords."""

import pytest

from dhtwisted.cli.doctor import configuration as sources
from dhtwisted.config.sources import load_configuration

PASSWORDS = [
    "postgres:host=db password=swordfish",
    "postgres:postgresql://hive:swordfish@db/hive",
    "postgres:postgresql://db/hive?password=swordfish",
]


@pytest.fixture
def write(tmp_path):
    def write_file(text, mode=0o644):
        path = tmp_path / "hive.toml"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write_file


def passwords(*arguments):
    """Level and text of each finding about passwords."""
    findings = [(finding.level, finding.text) for finding in sources.check_passwords(load_configuration(*arguments))]
    assert not any("swordfish" in text for _, text in findings)
    return findings


@pytest.mark.parametrize("specification", PASSWORDS)
@pytest.mark.parametrize("option", ["storage.provider", "storage.messages", "bus.provider"])
def test_a_password_in_a_file_that_everybody_may_read(write, specification, option):
    section, _, key = option.partition(".")
    path = write(f'[{section}]\n{key} = "{specification}"')
    ((level, text),) = passwords(path)
    assert level == "warning"
    assert text == f"{path}: everybody may read it, and {option} has a password; run: chmod o= {path}"
    assert passwords(write(f'[{section}]\n{key} = "{specification}"', 0o640)) == []


def test_two_passwords_in_one_file_are_one_finding(write):
    ((_, text),) = passwords(write(f'[bus]\nprovider = "{PASSWORDS[0]}"\n[auth]\nadmin_password = "swordfish"'))
    assert "bus.provider and auth.admin_password has a password" in text


def test_a_password_in_the_environment_is_none_in_the_file(write):
    assert (
        passwords(write("[limits]\npolls = 5"), {"DHTWISTED_STORAGE_PROVIDER": PASSWORDS[0], "DHTWISTED_AUTH_ADMIN_PASSWORD": "swordfish"})
        == []
    )


def test_a_password_in_the_file_is_there_also_when_it_is_not_in_force(write):
    ((_, text),) = passwords(write(f'[storage]\nprovider = "{PASSWORDS[1]}"'), {"DHTWISTED_STORAGE_PROVIDER": "memory:"})
    assert "everybody may read it" in text


def test_a_password_on_the_command_line(write):
    ((level, text),) = passwords(write(""), {}, [("--messages", "storage", "messages", PASSWORDS[0])])
    assert level == "warning"
    assert "sees in the list of processes; give it in the configuration file or in DHTWISTED_STORAGE_MESSAGES" in text


@pytest.mark.parametrize(
    "specification", ["postgres:host=db", "postgres:postgresql://hive@db:5432/hive", "postgres:host=db passfile=/etc/pass"]
)
def test_a_connection_without_a_password(write, specification):
    assert passwords(write(f'[storage]\nprovider = "{specification}"')) == []


def test_what_is_in_force_and_what_is_left_out(write):
    path = write('[storage]\nprovider = "memory:"\nretention = "1d"')
    environment = {"DHTWISTED_STORAGE_RETENTION": "2d", "DHTWISTED_RETENTION": "3d"}
    overrides = [("--storage", "storage", "provider", "file:x")]
    *findings, strange = [str(finding) for finding in sources.check_sources(load_configuration(path, environment, overrides), path)]
    assert strange.startswith("warning  configuration: DHTWISTED_RETENTION: is no option of the server, and is ignored; did you mean ")
    assert findings == [
        f"ok       configuration: {path}, --storage, DHTWISTED_STORAGE_RETENTION: is good",
        f"ok       configuration: storage.provider: the value of --storage is in force, not that of {path}",
        f"ok       configuration: storage.retention: the value of DHTWISTED_STORAGE_RETENTION is in force, not that of {path}",
    ]
