"""Configuration: precedence, forms, and one line for each mistake."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.config.kinds import Duration, Size
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import example_file, load_configuration, load_settings
from dhtwisted.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "devicehive.toml"
        path.write_text(text)
        return str(path)

    return write_file


def complaint(*arguments, **named):
    """Load a wrong configuration.

    :returns: what the person is told.
    """
    with pytest.raises(ConfigurationError) as raised:
        load_settings(*arguments, **named)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_nothing_given_means_defaults():
    assert load_settings() == Settings()


def test_defaults_are_those_that_other_tools_rely_on():
    settings = Settings()
    assert settings.server.listen == ("tcp:8080:interface=localhost",)
    assert settings.server.prefixes == ("", "/api", "/dh")
    assert settings.storage.provider == "file:devicehive.sqlite"
    assert settings.storage.retention == 7 * 24 * 3600
    assert settings.auth.access_lifetime == 1800
    assert settings.auth.refresh_lifetime * 1000 == 15_724_800_000
    assert settings.limits.message_size == 1_048_576
    assert settings.limits.output_queue == 524_288


def test_every_compatibility_switch_is_off():
    assert [value for value in vars(Settings().compatibility).values() if value not in (False, "raw")] == []


def test_example_file_equals_the_shipped_one():
    assert (ROOT / "conf" / "devicehive.toml").read_text() == example_file(), "run: devicehive --example-config > conf/devicehive.toml"


def test_example_file_is_the_defaults(write):
    assert load_settings(write(example_file())) == Settings()


def test_file_then_environment_then_command_line(write):
    path = write('[storage]\nprovider = "file:one"\nmessages = "file:one"\nretention = "1d"')
    environment = {"DHTWISTED_STORAGE_PROVIDER": "file:two", "DHTWISTED_STORAGE_MESSAGES": "file:two"}
    storage = load_settings(path, environment, [("--storage", "storage", "provider", "file:three")]).storage
    assert (storage.provider, storage.messages, storage.retention) == ("file:three", "file:two", 86400)


def test_lists_from_the_environment_have_commas():
    server = load_settings(environment={"DHTWISTED_SERVER_LISTEN": "tcp:1, tcp6:2", "DHTWISTED_SERVER_PREFIXES": ",/api"}).server
    assert server.listen == ("tcp:1", "tcp6:2")
    assert server.prefixes == ("", "/api")


def test_empty_text_in_the_environment_is_an_empty_list_or_an_empty_prefix():
    server = load_settings(environment={"DHTWISTED_SERVER_ORIGINS": "", "DHTWISTED_SERVER_PREFIXES": ""}).server
    assert (server.origins, server.prefixes) == ((), ("",))


def test_secret_comes_from_the_environment_and_is_never_shown():
    settings = load_settings(environment={"DHTWISTED_AUTH_SECRET": "opensesame", "DHTWISTED_AUTH_ADMIN_PASSWORD": "swordfish"})
    assert settings.auth.secret == "opensesame"
    assert "opensesame" not in repr(settings)
    assert "swordfish" not in repr(settings)


def test_secret_in_the_file_is_sent_elsewhere(write):
    assert "DHTWISTED_AUTH_SECRET" in complaint(write('[auth]\nsecret = "opensesame"'))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DHTWISTED_SERVICE_HOST", "10.0.0.1"),
        ("DHTWISTED_SERVICE_PORT", "8080"),
        ("DHTWISTED_SERVICE_PORT_HTTP", "8080"),
        ("DHTWISTED_PORT", "tcp://10.0.0.1:8080"),
        ("DHTWISTED_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("DHTWISTED_PORT_8080_TCP_ADDR", "10.0.0.1"),
        # Of a service that is named dhtwisted-metrics.
        ("DHTWISTED_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("DHTWISTED_METRICS_PORT", "tcp://10.0.0.1:9090"),
        ("DEVICEHIVE_HOME", "/srv"),
        ("PATH", "/bin"),
    ],
)
def test_variables_of_others_do_not_matter(variable, value):
    configuration = load_configuration(environment={variable: value})
    assert (configuration.settings, configuration.unknown_variables) == (Settings(), ())


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("DHTWISTED_RETENTION", "DHTWISTED_STORAGE_RETENTION"),
        ("dhtwisted_storage_provider", "DHTWISTED_STORAGE_PROVIDER"),
        ("DHTWISTED__STORAGE__PROVIDER", "DHTWISTED_STORAGE_PROVIDER"),
        ("DHTWISTEDSTORAGE_RETENTION", "DHTWISTED_STORAGE_RETENTION"),
        ("DEVICEHIVE_AUTH_SECRET", "DHTWISTED_AUTH_SECRET"),
        ("DHTWISTED_COLOUR", None),
    ],
)
def test_a_variable_that_looks_like_an_option_and_is_none_is_named(variable, right):
    configuration = load_configuration(environment={variable: "swordfish"})
    assert configuration.settings == Settings()
    (line,) = configuration.unknown_variables
    assert line.startswith(f"{variable}: is no option of the server, and is ignored; ")
    assert line.endswith(f"did you mean {right}?" if right else "devicehive --example-config lists all")
    assert "swordfish" not in line


def test_where_each_value_comes_from(write, tmp_path):
    path = write('[storage]\nprovider = "file:one"\nretention = "1d"\n[limits]\npolls = 5\n[auth]\nadmin_password = "swordfish"')
    (tmp_path / "admin-password").write_text("opensesame")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "DHTWISTED_STORAGE_RETENTION": "2d", "DHTWISTED_STORAGE_PROVIDER": "file:two"}
    found = load_configuration(path, environment, [("--storage", "storage", "provider", "file:three")])
    assert found.place("storage.provider") == "--storage"
    assert [source.kind for source in found.sources["storage.provider"]] == ["file", "environment", "command line"]
    assert found.place("storage.retention") == "DHTWISTED_STORAGE_RETENTION"
    assert found.place("limits.polls") == f"limits.polls in {path}"
    assert found.place("auth.admin_password") == f"{tmp_path}/admin-password"
    assert (found.place("limits.connections"), found.source("limits.connections")) == ("limits.connections", None)


EDITORS = {
    "a mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "ends of lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "both": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("saved", EDITORS.values(), ids=EDITORS)
def test_a_file_of_an_editor_on_windows(tmp_path, saved):
    path = tmp_path / "devicehive.toml"
    path.write_bytes(saved('# Größe\n[storage]\nretention = "1d"\n'))
    (tmp_path / "admin-password").write_bytes(saved("swordfish\n"))
    settings = load_settings(str(path), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (settings.storage.retention, settings.auth.admin_password) == (86400, "swordfish")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    path = tmp_path / "devicehive.toml"
    path.write_bytes('[storage]\nretention = "1d"\n'.encode(encoding))
    assert complaint(str(path)) == f"{path}: is in UTF-16, which some editors call Unicode; save it as UTF-8"
    (tmp_path / "admin-password").write_bytes("swordfish".encode(encoding))
    assert "the credential is in UTF-16" in complaint(environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "devicehive.toml"
    path.write_bytes("[storage]\n# Größe\n".encode("latin-1"))
    assert complaint(str(path)) == f"{path}: is not text in UTF-8 (line 2); save it as UTF-8"


def test_a_mark_before_a_key_is_no_part_of_it_and_is_not_dropped(tmp_path):
    (tmp_path / "auth-secret").write_bytes(b"\xef\xbb\xbf" + b"k" * 40)
    assert "byte order mark" in complaint(environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ("[storage]\nretension = '7d'", "storage.retension", "did you mean retention?"),
        ("[strage]\n", "strage", "did you mean storage?"),
        ("[zzz]\n", "zzz", "known are server, tls, storage, bus, auth, limits, quotas, mqtt, metrics, log, compatibility"),
        ("storage = 1", "storage", "[storage]"),
        ("[storage]\nretention = '7x'", "storage.retention", "'7x' is no duration"),
        ("[storage]\nretention = 7", "storage.retention", "7 is no duration"),
        ("[auth]\naccess_lifetime = '0s'", "auth.access_lifetime", "at least 1s"),
        ("[limits]\nmessage_size = '1MB'", "limits.message_size", '"64KiB"'),
        ("[limits]\nmessage_size = -1", "limits.message_size", "out of range"),
        ("[limits]\nconnections = true", "limits.connections", "no whole number"),
        ("[limits]\nconnections = '5'", "limits.connections", "no whole number"),
        ("[limits]\njson_depth = 100000", "limits.json_depth", "1 to 900"),
        ("[auth]\npassword_cost = 21", "auth.password_cost", "10 to 20"),
        ("[auth]\nstrict_expiry = 1", "auth.strict_expiry", "true or false"),
        ("[auth]\nadmin_login = 5", "auth.admin_login", "is no text"),
        ("[compatibility]\nsecret_encoding = 'hex'", "compatibility.secret_encoding", '"raw" or "base64-lenient"'),
        ("[server]\nlisten = 'tcp:8080'", "server.listen", "is no list"),
        ("[server]\nlisten = []", "server.listen", "is empty"),
        ("[server]\nlisten = [8080]", "server.listen", "no text"),
        ("[server]\nlisten = ['tcp']", "server.listen", "'tcp'"),
        ("[server]\nlisten = ['tcp:http']", "server.listen", "'tcp:http'"),
        ("[server]\nlisten = ['tcp:65536']", "server.listen", "above 65535"),
        ("[server]\nlisten = ['carrier-pigeon:1']", "server.listen", "carrier-pigeon"),
        ("[server]\nlisten = ['ssl:443:privateKey=/nowhere/key.pem']", "server.listen", "/nowhere/key.pem"),
        ("[server]\nprefixes = ['api']", "server.prefixes", "'api'"),
        ("[server]\nprefixes = ['/api/']", "server.prefixes", "'/api/'"),
        ("[server]\norigins = ['example.com']", "server.origins", "'example.com'"),
        ("[storage]\nprovider = 'fiel:x'", "storage.provider", "known are file: memory:"),
        ("[storage]\nprovider = ''", "storage.provider", "colon"),
        ("[storage]\nmessages = 'memory'", "storage.messages", "memory:"),
        ("[bus]\nprovider = 'memory:'", "bus.provider", "local:"),
        ("[auth]\nprovider = 'jwt:x'", "auth.provider", "takes no argument"),
        ("[auth]\nadmin_login = ''", "auth.admin_login", "3 to 128 letters"),
        ('["a\\nb"]\n', "'a\\nb'", "is no section"),
        ('[auth]\n"\\u001b[31m" = 1\n', "'\\x1b[31m'", "is no option"),
        ("[server", "TOML", "Expected ']'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_place_and_reason(write, document, place, words):
    path = write(document)
    text = complaint(path)
    assert text.startswith(f"{path}: ")
    assert place in text
    assert words in text


def test_a_wrong_password_type_does_not_show_the_password(write):
    assert "123456" not in complaint(write("[auth]\nadmin_password = 123456"))


@pytest.mark.parametrize("password", ["five5", "x" * 129])
def test_a_password_of_another_length_is_refused_and_not_shown(write, password):
    line = complaint(write(f'[auth]\nadmin_password = "{password}"'))
    assert "auth.admin_password" in line
    assert "6 to 128 characters" in line
    assert password not in line


@pytest.mark.parametrize("url", ["foo", "ftp://hive.example", "https://", "https://hive.example/?x"])
def test_a_public_url_that_clients_could_not_use_is_refused(write, url):
    assert "server.public_url" in complaint(write(f'[server]\npublic_url = "{url}"'))


def test_a_wrong_provider_does_not_show_its_argument(write):
    assert "swordfish" not in complaint(write("[storage]\nprovider = 'postgers:password=swordfish'"))


def test_a_long_value_is_shortened(write):
    assert len(complaint(write(f"[storage]\nretention = '{'9' * 10_000}'"))) < 400


def test_a_missing_file_is_named(tmp_path):
    assert complaint(str(tmp_path / "absent.toml")).startswith(f"{tmp_path}/absent.toml: cannot be read")


@pytest.mark.parametrize("content", [b"a = \0", b"a = " + b"1" * 5000, b"a = " + b"[" * 5000])
def test_what_is_no_toml(tmp_path, content):
    path = tmp_path / "devicehive.toml"
    path.write_bytes(content)
    assert "is not valid TOML" in complaint(str(path))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DHTWISTED_LIMITS_CONECTIONS", "5", "did you mean DHTWISTED_LIMITS_CONNECTIONS?"),
        ("DHTWISTED_STORAGE_RETENTOIN", "7d", "did you mean DHTWISTED_STORAGE_RETENTION?"),
        ("DHTWISTED_STORAGE", "file:x", "did you mean DHTWISTED_STORAGE_PROVIDER?"),
        ("DHTWISTED_STORGE_PROVIDER", "memory:", "did you mean DHTWISTED_STORAGE_PROVIDER?"),
        ("DHTWISTED_LIMITS_CONNECTIONS", "many", "no whole number"),
        ("DHTWISTED_AUTH_STRICT_EXPIRY", "yes", "true or false"),
        ("DHTWISTED_AUTH_ACCESS_LIFETIME", "30", "is no duration"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable, value, words):
    text = complaint(environment={variable: value})
    assert text.startswith(f"{variable}: ")
    assert words in text


def test_a_mistake_on_the_command_line_names_the_option():
    assert complaint(overrides=[("--listen", "server", "listen", ["tcp"])]).startswith("--listen: ")


@given(st.integers(0, 2 * 1024**3))
def test_sizes_are_read_as_they_are_written(size):
    kind = Size()
    assert kind.from_toml(tomllib.loads(f"x = {kind.to_toml(size)}")["x"]) == size


@given(st.integers(0, 10**8))
def test_durations_are_read_as_they_are_written(seconds):
    kind = Duration()
    assert kind.from_text(kind.to_toml(float(seconds)).strip('"')) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("250ms", 0.25), ("1.5h", 5400), ("0", 0)]
)
def test_durations(text, seconds):
    assert Duration().from_text(text) == pytest.approx(seconds)


@given(st.text())
def test_any_text_is_a_duration_and_a_size_or_a_value_error(text):
    for kind in (Duration(), Size()):
        try:
            assert kind.from_text(text) >= 0
        except ValueError as error:
            assert str(error).startswith("is ")


def test_credentials_of_systemd(write, tmp_path):
    (tmp_path / "auth-secret").write_text("opensesame\n")
    (tmp_path / "admin-password").write_text("swordfish")
    (tmp_path / "another").write_text("ignored")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    settings = load_settings(environment=environment)
    assert (settings.auth.secret, settings.auth.admin_password) == ("opensesame", "swordfish")
    assert load_settings(environment=environment | {"DHTWISTED_AUTH_SECRET": "mine"}).auth.secret == "mine"
    assert load_settings(write('[auth]\nsecret_file = "key"'), environment).auth.secret == "", "the file that is named wins"
    (tmp_path / "admin-password").write_text("short")
    said = complaint(environment=environment)
    assert f"{tmp_path}/admin-password: the value has another length" in said
    assert "short" not in said


def test_a_tls_endpoint_needs_a_certificate(write):
    said = complaint(write('[server]\nlisten = ["tls:tcp:8443"]'))
    assert "tls.certificate" in said
    assert load_settings(write('[server]\nlisten = ["tls:tcp:8443"]\n[tls]\ncertificate = "c.pem"')).tls.certificate == "c.pem"
