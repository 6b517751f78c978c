"""The pages of ``docs/reference``: all actions, from the action table, with messages from the transcripts."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import FieldInfo

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.actions.table import WHOLE, Action, Route
from dhtwisted.reference.document import may_be_nothing
from dhtwisted.reference.groups import GROUPS, Group, group_of
from dhtwisted.reference.members import members, published
from dhtwisted.reference.schemas import Schemas, without_container
from dhtwisted.wire.declared import allows, is_required, meaning, plain_type
from dhtwisted.wire.fields import Timestamp
from dhtwisted.wire.resources import Resource
from tests.support.reference.examples import examples

FOLDER = Path(__file__).parents[3] / "docs" / "reference"
COMMAND = ".ci/reference"
NOTE = f"<!-- Written by `{COMMAND}` from dhtwisted/actions and tests/transcripts; changes belong there. -->\n"
INTRODUCTION = (Path(__file__).parent / "introduction.md").read_text(encoding="utf-8")

PLAIN_TYPES = {Raw: "any JSON", Timestamp: "timestamp", str: "string", int: "integer", bool: "boolean"}
LARGEST = 2**63 - 1


def pages() -> dict[str, str]:
    """All pages: name of the file -> text."""
    actions = (*ACTIONS.values(), *REST_ONLY.values())
    by_group = {group: [action for action in actions if group_of(action) is group] for group in GROUPS}
    found = {f"{group.name}.md": _page(group, declared) for group, declared in by_group.items() if declared}
    return found | {"README.md": _index(by_group)}


def committed() -> dict[str, str]:
    """The existing pages: name of the file -> text."""
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} if FOLDER.is_dir() else {}


def write(wanted: dict[str, str]) -> None:
    """Write pages, and remove all others."""
    FOLDER.mkdir(exist_ok=True)
    for name in committed().keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _index(by_group: dict[Group, list[Action]]) -> str:
    rows = []
    for group, declared in by_group.items():
        for action in declared:
            routes = "<br>".join(f"`{route.method} {route.path}`" for route in action.routes)
            message = f"`{action.name}`" if action.name in ACTIONS else ""
            rows.append((f"[{group.title}]({group.name}.md#{_anchor(_heading(action))})", message, routes, _permissions(action)))
    return NOTE + INTRODUCTION + "\n" + _table(("Page", "WebSocket", "REST", "Permission"), rows)


def _page(group: Group, declared: Sequence[Action]) -> str:
    parts = [NOTE + f"# {group.title}\n", group.description + ".\n"]
    parts += [_section(action) for action in declared]
    objects: dict[str, type[Struct]] = {}
    for action in declared:
        for kind in (action.fields, action.reply):
            if kind is not None:
                _gather(kind, objects)
    if objects:
        parts.append("## Objects\n")
        parts += [_object(name, objects[name]) for name in sorted(objects)]
    return "\n".join(parts)


def _heading(action: Action) -> str:
    return action.name if action.name in ACTIONS else " and ".join(f"{route.method} {route.path}" for route in action.routes)


def _anchor(heading: str) -> str:
    return "".join(letter for letter in heading.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _section(action: Action) -> str:
    parts = [f"## {_heading(action)}\n", published(action.documentation) + "\n", f"Permission: {_permissions(action)}\n"]
    parts += [_route(action, route) for route in action.routes]
    asked = members(action.fields, action.own_token)
    parts.append(_members("Request", action.fields, asked) if asked else "The request has no members of its own.\n")
    if action.reply is None:
        parts.append("The reply has no members of its own.\n")
    else:
        parts.append(_members("Reply", action.reply, members(action.reply)))
    parts += [f"{title}:\n\n```text\n{text}\n```\n" for title, text in examples(action.name)]
    return "\n".join(parts)


def _permissions(action: Action) -> str:
    return " or ".join(f"`{permission.wire_name}`" for permission in sorted(action.permissions)) or "none"


def _route(action: Action, route: Route) -> str:
    takes: str | None = None
    if route.body == WHOLE:
        takes = "the members as one object in the body"
    elif route.body is not None:
        takes = f"`{route.body}` is the body"
    elif len(members(action.fields)) > len(route.places):
        takes = "other members in the query" if route.places else "members in the query"
    for name, header in route.request_headers.items():
        takes = f"{takes}, `{name}` the header `{header}`"
    gives = [] if action.reply is None or route.reply_headers else [f"{route.status} and {_answer(action)}"]
    gives += ["204"] if may_be_nothing(action) else []
    gives += [f"204 with the members of the reply as headers {', '.join(route.reply_headers.values())}"] if route.reply_headers else []
    return f"REST: `{route.method} {route.path}`{', ' + takes if takes else ''}; answers {' or '.join(gives)}.\n"


def _answer(action: Action) -> str:
    if action.answer is None or action.reply is None:
        return "the members of the reply"
    field = next(field for field in msgspec.structs.fields(action.reply) if field.name == action.answer)
    return f"`{field.encode_name}` alone"


def _members(title: str, kind: type[Struct], fields: Iterable[FieldInfo]) -> str:
    """A table of members."""
    rows = [(f"`{field.encode_name}`", _type(field.type), _meaning(kind, field)) for field in fields]
    return _table((title, "Type", "Meaning"), rows)


def _meaning(kind: type[Struct], field: FieldInfo) -> str:
    said = [meaning(field.type), *_limits(Schemas().of_value(field.type))]
    if is_required(field.type):
        said.insert(0, "**required**")
    elif issubclass(kind, Resource) and allows(field.type, NoneType):
        said.append("may be null")
    return "; ".join(filter(None, said))


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    """The limits of a member in words. A pattern is explained by the meaning of the member."""
    if "enum" in schema:
        yield "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if high is not None:
        yield f"{low} to {high} characters" if low else f"at most {high} characters"
    least, most = schema.get("minimum", -LARGEST - 1), schema.get("maximum", LARGEST)
    if most != LARGEST:
        yield f"{least} to {most}"
    elif least > -LARGEST:
        yield f"not below {least}"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']} of them"


def _type(annotation: Any) -> str:
    """A declared type in words, with a link to an object."""
    annotation = plain_type(annotation)
    if get_origin(annotation) is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"object of {_type(get_args(annotation)[1])}"
    if annotation in PLAIN_TYPES:
        return PLAIN_TYPES[annotation]
    name = _object_name(annotation)
    return f"[{name}](#{_anchor(name)})"


def _object_name(kind: type) -> str:
    return kind.__name__.removesuffix("Resource")


def _gather(kind: type[Struct], objects: dict[str, type[Struct]]) -> None:
    """Collect the objects inside a struct by name."""
    for field in members(kind):
        inner = without_container(field.type)
        if isinstance(inner, type) and issubclass(inner, Struct):
            objects[_object_name(inner)] = inner
            _gather(inner, objects)


def _object(name: str, kind: type[Struct]) -> str:
    return f"### {name}\n\n{published(kind.__doc__ or '')}\n\n{_members('Member', kind, members(kind))}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
