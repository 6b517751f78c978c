"""What ``devicehive doctor`` says of a database: see :meth:`dhtwisted.interfaces.IExaminableProvider.examine`."""

from collections.abc import Iterator

from dhtwisted.kit.examination import login_findings, schema_finding
from dhtwisted.model import Examination, Finding, Node
from dhtwisted.providers.postgres.inspection import DatabaseFacts, find_nodes, inspect_database


def examine_database(dsn: str, place: str) -> Examination:
    """Look at a database.

    :param place: where the database is named, in words.
    """
    try:
        facts = inspect_database(dsn)
    except ValueError as error:
        return Examination(findings=[Finding("wrong", f"{place}: postgres: cannot be used ({error})", "see docs/postgres.md")])
    findings = [*_findings_of_data(facts, place), *_findings_of_settings(facts.settings)]
    return Examination(findings=findings, newest=facts.newest, nodes=_nodes(dsn), logins=facts.logins if facts.version else None)


def _nodes(dsn: str) -> list[Node]:
    try:
        return find_nodes(dsn)
    except ValueError:
        return []  # What is wrong is a finding already.


def _findings_of_data(facts: DatabaseFacts, place: str) -> Iterator[Finding]:
    if facts.is_old:
        yield Finding("wrong", f"postgres: {facts.release} is too old; 15 is the oldest that will do")
    yield schema_finding(f"PostgreSQL {facts.release}", facts.version, facts.known_version, "it answers")
    yield from login_findings("postgres", facts.logins)
    for problem in facts.problems:
        yield Finding("wrong", f"{place}: postgres: {problem}")


def _findings_of_settings(settings: dict[str, str]) -> Iterator[Finding]:
    for name in ("fsync", "full_page_writes"):
        if settings[name] == "off":
            cure = f"set {name} = on in postgresql.conf"
            yield Finding("wrong", f"postgres: {name} is off: a crash loses what was acknowledged", cure)
    if settings["data_checksums"] == "off":
        cure = "stop PostgreSQL and run pg_checksums --enable on its data directory"
        yield Finding("warning", "postgres: data_checksums is off, so what a disk changes is served as it is then", cure)
    state = settings["synchronous_commit"]
    if state in ("off", "local"):
        yield Finding("warning", f"postgres: synchronous_commit is {state}; the server sets it to on for itself, other programs do not")
