"""Providers by name: found however they are declared, and one sentence for each mistake."""

import os
import subprocess
import sys

import pytest
import twisted.plugins
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from dhtwisted.config.settings import Settings
from dhtwisted.errors import ProviderError
from dhtwisted.interfaces import IProvider, ProviderContext
from dhtwisted.providers.builtin import PROVIDERS
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.providers.lookup import describe_all, find, open_provider
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from tests.support.packages import ROOT, path_of

GOOD = """
from dhtwisted.kit.provider import Provider
{name} = Provider("{role}", "{name}", "made for a test", "{form}", lambda argument, context: {built})
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package that declares one provider, by entry point or by drop-in."""
    before = set(sys.modules)

    def install_package(way, name, source):
        if way == "entry point":
            site = tmp_path / f"site_{name}"
            info = site / f"{name}_package-1.0.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[dhtwisted.providers]\n{name} = {name}_module:{name}\n")
            (site / f"{name}_module.py").write_text(source)
            monkeypatch.syspath_prepend(str(site))
        else:
            drop_ins = tmp_path / "twisted" / "plugins"
            drop_ins.mkdir(parents=True, exist_ok=True)
            (drop_ins / f"{name}_dropin.py").write_text(source)
            monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(drop_ins)])

    yield install_package
    for module in set(sys.modules) - before:
        if "_module" in module or "_dropin" in module:
            del sys.modules[module]


both_ways = pytest.mark.parametrize("way", ["entry point", "drop-in"])


def refusal(role, specification):
    """Ask in vain.

    :returns: what the person is told.
    """
    with pytest.raises(ProviderError) as raised:
        find(role, specification)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def context():
    return ProviderContext(Clock(), Settings(), MemoryStorage(Clock()))


@pytest.mark.parametrize(
    ("role", "specification", "kind"),
    [
        ("storage", "memory:", MemoryStorage),
        ("messages", "memory:", MemoryStorage),
        ("storage", "file:anywhere", FileStorage),
        ("messages", "file:C:\\data", FileStorage),
        ("bus", "local:", LocalBus),
        ("auth", "jwt:", JWTAuth),
    ],
)
def test_built_in_providers_open(role, specification, kind):
    assert isinstance(open_provider(role, specification, context()), kind)


def test_built_in_providers_are_what_they_say():
    for provider in PROVIDERS:
        assert verifyObject(IProvider, provider)


def test_all_after_the_first_colon_is_the_argument():
    assert find("storage", "file:a:b:c")[1] == "a:b:c"


def test_built_in_providers_are_found_without_any_drop_in(monkeypatch):
    monkeypatch.setattr(twisted.plugins, "__path__", [])
    for provider in PROVIDERS:
        assert find(provider.role, f"{provider.name}:{provider.argument_form}")[0] is provider


def test_built_in_providers_are_listed_once():
    assert describe_all().count("jwt:") == 1


@both_ways
def test_a_strangers_provider_is_found(install, way):
    install(way, "journal", GOOD.format(role="messages", name="journal", form="PATH", built="None"))
    provider, argument = find("messages", "journal:here")
    assert (provider.name, argument) == ("journal", "here")
    assert "journal:PATH" in describe_all()


@both_ways
def test_an_argument_in_brackets_may_be_left_out(install, way):
    install(way, "ring", GOOD.format(role="storage", name="ring", form="[SIZE]", built="None"))
    assert find("storage", "ring:")[1] == ""
    assert find("messages", "ring:5")[1] == "5"


@both_ways
def test_messages_do_not_serve_as_storage(install, way):
    install(way, "journal", GOOD.format(role="messages", name="journal", form="PATH", built="None"))
    assert "known are file: memory:" in refusal("storage", "journal:here")


@both_ways
def test_a_package_that_cannot_be_imported_says_why_when_asked_for_and_disturbs_nobody(install, way):
    install(way, "broken", "import no_such_driver")
    assert find("storage", "memory:")[0].name == "memory"
    assert "no_such_driver" in describe_all()
    name = "broken" if way == "entry point" else "broken_dropin"
    text = refusal("storage", f"{name}:x")
    assert "no_such_driver" in text
    assert "package broken-package" in text if way == "entry point" else "drop-in" in text


def test_a_declaration_that_is_no_provider_says_what_it_lacks(install):
    install("entry point", "nothing", "nothing = object()")
    assert "IProvider" in refusal("bus", "nothing:")


@both_ways
def test_a_provider_of_an_unknown_role_is_named(install, way):
    install(way, "odd", GOOD.format(role="kitchen", name="odd", form="", built="None"))
    assert "'kitchen'" in describe_all()
    assert "'kitchen'" in refusal("storage", "odd:")


@both_ways
def test_a_name_found_twice_is_refused_with_both_owners(install, way):
    install(way, "memory", GOOD.format(role="messages", name="memory", form="", built="None"))
    text = refusal("messages", "memory:")
    assert "dhtwisted itself" in text
    assert "memory-package" in text if way == "entry point" else "memory_dropin" in text
    assert find("storage", "memory:")[0] in PROVIDERS, "only the role in which both serve is ambiguous"


@both_ways
def test_what_does_not_fit_its_role_is_refused(install, way):
    install(way, "hollow", GOOD.format(role="storage", name="hollow", form="", built="object()"))
    with pytest.raises(ProviderError, match=r"hollow.*IStorage"):
        open_provider("storage", "hollow:", context())


def told_of(role, specification):
    """Open in vain.

    :returns: what the person who starts the server is told.
    """
    with pytest.raises(ProviderError) as raised:
        open_provider(role, specification, context())
    assert "\n" not in str(raised.value)
    return str(raised.value)


RAISING = """
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.provider import Provider
def build(argument, context):
    raise {error}
{name} = Provider("storage", "{name}", "made for a test", "PATH", build)
"""


@both_ways
def test_what_a_stranger_says_of_the_argument_names_the_provider_and_its_package(install, way):
    install(way, "strict", RAISING.format(name="strict", error="ConfigurationError('there is no\\ndirectory')"))
    whose = (
        "package strict-package 1.0, entry point strict_module:strict" if way == "entry point" else "drop-in twisted.plugins.strict_dropin"
    )
    assert told_of("storage", "strict:x") == f"storage provider strict of {whose}: there is no directory"


@both_ways
@pytest.mark.parametrize("error", ["ZeroDivisionError('x\\ny')", "SystemExit('x y')", "ConfigurationError"])
def test_a_mistake_of_a_stranger_is_called_so_with_its_place(install, way, error):
    install(way, "clumsy", RAISING.format(name="clumsy", error=error))
    text = told_of("storage", "clumsy:x")
    assert "storage provider clumsy of " in text
    assert f"a mistake in it: {error.partition('(')[0]}: " in text
    assert "line 5)" in text


def test_a_provider_with_the_name_of_a_submodule_is_found_again_after_it_was_opened(install, tmp_path):
    built = "__import__('shadow_module.shadow') and __import__('dhtwisted.providers.local_bus').providers.local_bus.LocalBus()"
    install("entry point", "shadow", GOOD.format(role="bus", name="shadow", form="", built=built))
    package = tmp_path / "site_shadow" / "shadow_module"
    package.mkdir()
    (tmp_path / "site_shadow" / "shadow_module.py").rename(package / "__init__.py")
    (package / "shadow.py").touch()
    first = find("bus", "shadow:")
    open_provider("bus", "shadow:", context())
    assert find("bus", "shadow:") == first


def test_a_stranger_that_exits_while_it_is_loaded_stops_nobody_else(install):
    install("entry point", "leaving", "raise SystemExit('bye')")
    assert find("storage", "memory:")[0].name == "memory"
    text = refusal("storage", "leaving:x")
    assert "package leaving-package 1.0, entry point leaving_module:leaving cannot be used: SystemExit: bye" in text


@pytest.mark.parametrize(("attribute", "value"), [("role", ["storage"]), ("name", None), ("description", 5), ("argument_form", b"")])
def test_a_declaration_that_is_no_text_is_told(install, attribute, value):
    source = GOOD.format(role="storage", name="odd", form="", built="None")
    install("entry point", "odd", f"{source}\nobject.__setattr__(odd, {attribute!r}, {value!r})")
    assert f"its {attribute} is {value!r}, which is no text" in describe_all()
    assert find("storage", "memory:")[0].name == "memory"


CLOSED_STORAGE = """
from dhtwisted.kit.provider import Provider
from dhtwisted.providers.memory import MemoryStorage
class Closed(MemoryStorage):
    async def open(self):
        raise ConnectionError("nobody answers")
closed = Provider("storage", "closed", "made for a test", "", lambda argument, context: Closed(context.reactor))
"""
CLOSED_BUS = """
from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.kit.provider import Provider
class Closed(LocalBus):
    async def start(self, receive, changed):
        raise ConnectionError("nobody answers")
closed = Provider("bus", "closed", "made for a test", "", lambda argument, context: Closed())
"""


@pytest.mark.parametrize(("role", "source"), [("storage", CLOSED_STORAGE), ("bus", CLOSED_BUS)], ids=["storage", "bus"])
def test_a_mistake_of_a_stranger_is_one_line_at_the_start(install, tmp_path, role, source):
    install("entry point", "closed", source)
    command = [sys.executable, "-m", "dhtwisted", "--listen", "tcp:0:interface=127.0.0.1"]
    environment = os.environ | {"PYTHONPATH": path_of(tmp_path / "site_closed", ROOT), "DHTWISTED_STORAGE_PROVIDER": "memory:"}
    environment[f"DHTWISTED_{role.upper()}_PROVIDER"] = "closed:"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert (
        f"Cannot start: {role} provider closed of package closed-package 1.0, entry point closed_module:closed: a mistake in it: " in said
    )
    assert "ConnectionError: nobody answers" in said
    assert "Traceback" not in said


def test_messages_without_a_life_are_refused(install):
    source = """
from zope.interface import implementer
from dhtwisted.interfaces import IMessageStorage
@implementer(IMessageStorage)
class Lifeless:
    def append(self, messages): "x"
    def update_command(self, device_id, command_id, changes): "x"
    def get_message(self, kind, device_id, message_id): "x"
    def find_messages(self, kind, query): "x"
    def forget_messages(self, kind, query): "x"
    def restore(self, messages): "x"
"""
    install("entry point", "lifeless", source + GOOD.format(role="messages", name="lifeless", form="", built="Lifeless()"))
    with pytest.raises(ProviderError, match="no open and close"):
        open_provider("messages", "lifeless:", context())


@pytest.mark.parametrize(
    ("role", "specification", "words"),
    [
        ("storage", "", "name:argument"),
        ("storage", "memory", "memory:"),
        ("storage", "memory:5", "takes no argument"),
        ("storage", "file:", "file:PATH"),
        ("storage", "fiel:x", "known are file: memory:"),
        ("bus", "memory:", "known are local:"),
        ("auth", "\n:", "known are jwt:"),
    ],
)
def test_a_mistake_says_what_is_right(role, specification, words):
    assert words in refusal(role, specification)
