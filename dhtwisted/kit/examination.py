"""Findings that storages with a schema and users have in common, for ``IExaminableProvider.examine``."""

from collections.abc import Iterable, Iterator

from dhtwisted.model import Finding, alike

MOST_NAMED = 10
"""Groups of logins in a finding."""


def schema_finding(subject: str, version: int, known_version: int, state: str) -> Finding:
    """Compare the schema of the data with that of this program.

    :param subject: what has the schema, such as a path.
    :param version: of the schema; 0 for none yet.
    :param known_version: the newest schema that this program knows.
    :param state: what else is known of the data, in a few words.
    """
    if version > known_version:
        reason = f"has schema {version}, newer than schema {known_version} of this program"
        return Finding("wrong", f"{subject}: {reason}", "install the newer release")
    if version < known_version:
        return Finding("ok", f"{subject}: schema {version}, which the next start brings to {known_version}; {state}")
    return Finding("ok", f"{subject}: schema {version}; {state}")


def login_findings(subject: str, logins: Iterable[str]) -> Iterator[Finding]:
    """Name the users of older releases whose logins are the same login for this release.

    :param subject: what has the users, such as a path.
    :param logins: of all users.
    """
    groups = alike(logins)
    if groups:
        names = "; ".join(", ".join(group) for group in groups[:MOST_NAMED]) + ("; ..." if len(groups) > MOST_NAMED else "")
        cure = "they go on, but an import refuses them; give one of each another login by the API (user/update)"
        yield Finding("warning", f"{subject}: logins differ in case alone: {names}", cure)
