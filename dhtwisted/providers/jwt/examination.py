"""What ``devicehive doctor`` and ``--check-config`` say of the signing key."""

import os
from pathlib import Path

from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import CheckContext
from dhtwisted.model import Examination, Finding
from dhtwisted.providers.jwt.signing_key import FILE_NAME, GIVEN, SigningKey, fingerprint, look_for_key

TOPIC = "signing key"


def examine_key(context: CheckContext) -> Examination:
    """Look at the key with which a server would sign its tokens. None is made.

    :param context: its storage is built.
    """
    try:
        key = look_for_key(context.settings, context.storage)
    except ConfigurationError as error:
        return Examination(findings=[Finding("wrong", _with_source(context, str(error)), topic=TOPIC)])
    if key is None:
        return Examination(findings=_missing_key(context))
    return Examination(findings=[_present_key(context, key)], key=fingerprint(key))


def _with_source(context: CheckContext, text: str) -> str:
    """The text with the place where the key was given, if it was."""
    if context.settings.auth.secret:
        return text.replace(GIVEN, context.place_of("auth.secret"))
    return f"{context.place_of('auth.secret_file')}: {text}" if context.settings.auth.secret_file else text


def _present_key(context: CheckContext, key: SigningKey) -> Finding:
    if context.settings.compatibility.allow_weak_secret:
        place = context.place_of("compatibility.allow_weak_secret")
        return Finding("warning", f"{place} lets tokens be forged", "set it to false, with a key of 32 bytes", TOPIC)
    return Finding("ok", f"{len(key)} bytes, and nobody else may read it", topic=TOPIC)


def _missing_key(context: CheckContext) -> list[Finding]:
    path = Path(context.storage.state_directory, FILE_NAME)
    if not path.parent.is_dir():
        return []
    if context.data_file is not None and os.path.exists(context.data_file):
        reason = "is gone, and the next start makes another, with which no token of now is good"
        return [Finding("warning", f"{path}: {reason}", "put it back from a backup", TOPIC)]
    return [Finding("ok", f"{path}: is made at the first start", topic=TOPIC)]
