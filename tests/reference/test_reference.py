"""The published contract: the OpenAPI document is one, and the committed pages are those of this action table and these transcripts."""

import json
import re

import msgspec
import pytest
from openapi_spec_validator import validate

import dhtwisted
from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.reference import openapi
from dhtwisted.reference.members import members, published
from dhtwisted.reference.schemas import without_container
from dhtwisted.wire.declared import is_required, meaning
from dhtwisted.wire.fields import Fields, Members
from tests.support.reference import pages as written
from tests.support.reference.__main__ import main
from tests.support.reference.pages import COMMAND, FOLDER, pages

EVERY_ACTION = [*ACTIONS.values(), *REST_ONLY.values()]
PAGES = pages()


def structs(kind):
    """A struct and those inside it."""
    yield kind
    for field in members(kind):
        inner = without_container(field.type)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from structs(inner)


EVERY_STRUCT = {struct for action in EVERY_ACTION for kind in (action.fields, action.reply) if kind is not None for struct in structs(kind)}
EVERY_MEMBER = {
    f"{kind.__name__}.{field.encode_name}": field.type
    for kind in sorted(EVERY_STRUCT, key=lambda kind: kind.__name__)
    for field in members(kind, own_token=kind is ACTIONS["authenticate"].fields)
}


@pytest.fixture(scope="module")
def document():
    return openapi("/api/rest", dhtwisted.__version__)


def test_the_document_is_openapi(document):
    validate(document)
    assert json.loads(json.dumps(document)) == document


def test_it_has_every_route_and_no_other(document):
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert described == {(route.method, route.path) for action in EVERY_ACTION for route in action.routes}


def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for operation in operations(document)]
    assert len(names) == len(set(names))
    assert {"deviceSave", "commandPoll", "commandPollByDeviceId", "commandWait", "tokenRefresh", "info"} <= set(names)


def test_references_lead_somewhere(document):
    references = set(re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(document)))
    assert "components/schemas/Device" in references
    for reference in references:
        found = document
        for part in reference.split("/"):
            found = found[part]


def test_nothing_is_described_for_nobody(document):
    text = json.dumps(document)
    for section in ("schemas", "responses"):
        for name in document["components"][section]:
            assert f'"#/components/{section}/{name}"' in text, name
    assert {tag["name"] for tag in document["tags"]} == {tag for operation in operations(document) for tag in operation["tags"]}


def test_an_operation_in_full(document):
    operation = document["paths"]["/device/{deviceId}/command/{commandId}"]["put"]
    assert operation["security"] == [{"accessToken": ["UpdateDeviceCommand"]}]
    assert operation["summary"] == "Report what became of a command"
    assert [(parameter["name"], parameter["in"], parameter["required"]) for parameter in operation["parameters"]] == [
        ("deviceId", "path", True),
        ("commandId", "path", True),
    ]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/CommandChange"}
    assert set(operation["responses"]) == {"204", "400", "401", "403", "404", "408", "409", "413", "415", "500", "503"}


def test_answers_are_those_of_rest(document):
    def answer(path, status="200"):
        return document["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]

    assert answer("/device") == {"type": "array", "items": {"$ref": "#/components/schemas/Device"}}
    assert answer("/device/{deviceId}") == {"$ref": "#/components/schemas/Device"}
    assert answer("/device/count") == {"$ref": "#/components/schemas/Count"}
    wait = document["paths"]["/device/{deviceId}/command/{commandId}/poll"]["get"]
    assert {status for status in wait["responses"] if status < "300"} == {"200", "204"}


def test_what_an_object_has(document):
    new = document["components"]["schemas"]["NewCommand"]
    assert new["required"] == ["command"]
    assert new["properties"]["command"]["type"] == "string"
    assert new["properties"]["status"]["type"] == ["string", "null"]
    assert "type" not in new["properties"]["parameters"]
    command = document["components"]["schemas"]["Command"]
    assert command["required"] == list(command["properties"])
    assert re.fullmatch(command["properties"]["timestamp"]["pattern"], "2026-01-02T03:04:05.678")
    assert command["properties"]["lifetime"]["type"] == ["integer", "null"]


def test_who_asks_is_told_by_the_header_alone(document):
    assert '"requestId"' not in json.dumps(document)
    assert "token" not in {parameter["name"] for operation in operations(document) for parameter in operation["parameters"]}


@pytest.mark.parametrize("name", EVERY_MEMBER)
def test_a_member_has_a_meaning(name):
    assert meaning(EVERY_MEMBER[name]), f"give {name} a Meta(description=...)"


def test_only_requests_have_required_members():
    assert {name.partition(".")[0] for name, declared in EVERY_MEMBER.items() if is_required(declared)} <= {
        kind.__name__ for kind in EVERY_STRUCT if issubclass(kind, Fields | Members)
    }


def test_what_is_published_cites_nothing():
    assert published("One. REST reference, section 3.2. Two (section 4.4).\n\n``x`` (REST reference, section 9).") == "One. Two.\n\n`x`."
    assert not re.search(r"[Ss]ection \d|(?<!`)``(?!`)|:\w+:`", "".join(PAGES.values()) + json.dumps(openapi("/", "1")))


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_would_be_written(name):
    path = FOLDER / name
    assert path.exists() and path.read_text(encoding="utf-8") == PAGES[name], f"run {COMMAND} and commit docs/reference"


def test_no_other_pages_are_committed():
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES), f"run {COMMAND} and commit docs/reference"


@pytest.mark.slow
def test_the_program_writes_checks_and_removes_pages(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(written, "FOLDER", tmp_path / "reference")
    assert main([]) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in written.FOLDER.iterdir()} == PAGES
    assert capsys.readouterr().out.splitlines() == [f"docs/reference/{name} written" for name in sorted(PAGES)]
    (written.FOLDER / "users.md").write_text("old", encoding="utf-8")
    (written.FOLDER / "gone.md").write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [f"docs/reference/{name} is out of date" for name in ("gone.md", "users.md")]
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["docs/reference/gone.md removed", "docs/reference/users.md written"]
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")


def test_the_program_says_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "usage: .ci/reference [-h] [--check]" in capsys.readouterr().out


def test_links_lead_somewhere():
    anchors = {name: {anchor(line) for line in text.splitlines() if line.startswith("#")} for name, text in PAGES.items()}
    for name, text in PAGES.items():
        for page, place in re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", text):
            assert place in anchors[page or name], f"{name}: {page}#{place}"


def anchor(heading):
    return re.sub(r"[^\w-]", "", heading.lstrip("#").strip().lower().replace(" ", "-"))


def test_a_page_shows_what_clients_need():
    page = PAGES["devices.md"]
    assert "Permission: `RegisterDevice`" in page
    assert "REST: `PUT /device/{deviceId}`, `device` is the body; answers 204." in page
    assert '> {"action": "device/get", "requestId": "r-17", "deviceId": "pump-4"}\n< {"action": "device/get", ' in page
