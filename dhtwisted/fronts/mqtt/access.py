"""Who may publish and subscribe to which plain topics: the rules of ``[[mqtt.access]]``.

Nothing is permitted by default. Topics below ``dh/`` never go by these rules. What is below ``$SYS/`` administrators may hear, and nobody
may publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zope.interface import implementer

from dhtwisted.config.mqtt_tables import ADMINISTRATORS, ANONYMOUS, ANYBODY, CLIENTS, AccessRule
from dhtwisted.config.topic_templates import Template
from dhtwisted.core.access import ADMINISTRATOR_ONLY, Principal
from dhtwisted.fronts.mqtt.filters import covers, fits_level, matches
from dhtwisted.fronts.mqtt.interfaces import IPlainAccess
from dhtwisted.wire.mqtt.topics import DEVICEHIVE, SHARE, SYSTEM

CACHED_ANSWERS = 64
"""For how many topics a client's answers are kept; most clients publish to fewer."""

CACHED_CLIENTS = 20_000
"""For how many clients."""

_SYSTEM_LEVEL = SYSTEM.rstrip("/")
_DEVICEHIVE_LEVEL = DEVICEHIVE.rstrip("/")

Levels = tuple[str, ...]


class ClientAccess:
    """What one client may do with plain topics, as long as its user, role and client id stay the same.

    :param publish: filters of the topics to which it may publish.
    :param subscribe: filters of the topics that it may hear.
    :param is_administrator: whether it may hear ``$SYS/``.
    """

    __slots__ = ("_is_administrator", "_publish", "_published", "_subscribe")

    def __init__(self, publish: Sequence[Levels], subscribe: Sequence[Levels], is_administrator: bool) -> None:
        self._publish = publish
        self._subscribe = subscribe
        self._is_administrator = is_administrator
        self._published: dict[str, bool] | None = None

    def may_publish(self, topic: str) -> bool:
        """Whether the client may publish to a topic, also as its will.

        :param topic: a valid topic name.
        """
        answers = self._published
        if answers is None or len(answers) >= CACHED_ANSWERS:
            answers = self._published = {}
        answer = answers.get(topic)
        if answer is None:
            answer = answers[topic] = not topic.startswith((DEVICEHIVE, SYSTEM, SHARE)) and _match_any(self._publish, topic)
        return answer

    def may_subscribe(self, levels: Levels) -> bool:
        """Whether the client may hear every topic that a filter matches.

        Topics below ``dh/`` that it matches too do not matter here.

        :param levels: of a valid filter, for a shared subscription without its group.
        """
        if levels[0] == _SYSTEM_LEVEL:
            return self._is_administrator
        if levels[0] == _DEVICEHIVE_LEVEL and len(levels) > 1:
            return False
        return any(covers(outer, levels) for outer in self._subscribe)


@implementer(IPlainAccess)
class PlainAccess:
    """The rules of the configuration, for the clients of one server.

    Answers are kept until a user changes.

    :param rules: of ``mqtt.access``.
    :param entities: the :class:`~dhtwisted.core.entity_cache.EntityCache` of the server.
    """

    def __init__(self, rules: Iterable[AccessRule], entities: Any) -> None:
        self._entities = entities
        self._epoch = entities.users_epoch
        self._rules: dict[str, list[_Rule]] = {}
        self._clients: dict[tuple[Principal | None, str], ClientAccess] = {}
        self.change(rules)

    def change(self, rules: Iterable[AccessRule]) -> None:
        """Take on other rules."""
        self._clients.clear()
        self._rules.clear()
        for rule in rules:
            self._rules.setdefault(rule.who, []).append(_Rule(rule))

    def may_publish(self, principal: Principal | None, client_id: str, topic: str) -> bool:
        """See :meth:`ClientAccess.may_publish`.

        :param principal: who the client is; ``None`` for one that has not logged in.
        """
        return self.client(principal, client_id).may_publish(topic)

    def may_subscribe(self, principal: Principal | None, client_id: str, pattern: str) -> bool:
        """See :meth:`ClientAccess.may_subscribe`.

        :param pattern: a filter without ``$share/GROUP/``.
        """
        return self.client(principal, client_id).may_subscribe(tuple(pattern.split("/")))

    def client(self, principal: Principal | None, client_id: str) -> ClientAccess:
        """What a client may do now."""
        if self._epoch != self._entities.users_epoch or len(self._clients) > CACHED_CLIENTS:
            self._clients.clear()
            self._epoch = self._entities.users_epoch
        key = principal, client_id
        found = self._clients.get(key)
        if found is None:
            found = self._clients[key] = self._make(principal, client_id)
        return found

    def _make(self, principal: Principal | None, client_id: str) -> ClientAccess:
        if principal is None:
            return self._access([ANYBODY, ANONYMOUS], "", client_id, False)
        user = principal.user
        if user is None:
            return ClientAccess((), (), False)
        # The token of a device, and any other with fewer permissions, makes no administrator of whoever has it.
        is_administrator = principal.is_administrator and principal.permissions >= ADMINISTRATOR_ONLY
        kinds = [ANYBODY, ADMINISTRATORS if is_administrator else CLIENTS]
        return self._access(kinds if user.login in _WORDS else [*kinds, user.login], user.login, client_id, is_administrator)

    def _access(self, kinds: Iterable[str], login: str, client_id: str, is_administrator: bool) -> ClientAccess:
        rules = [rule for kind in kinds for rule in self._rules.get(kind, ())]
        values = {"login": login, "client_id": client_id}
        publish = tuple(levels for rule in rules for levels in _filled(rule.publish, values))
        subscribe = tuple(levels for rule in rules for levels in _filled(rule.subscribe, values))
        return ClientAccess(publish, subscribe, is_administrator)


_WORDS = frozenset({ANYBODY, ANONYMOUS, CLIENTS, ADMINISTRATORS})


class _Rule:
    """A rule with its filters split into levels."""

    def __init__(self, rule: AccessRule) -> None:
        self.publish = [_split(text) for text in rule.publish]
        self.subscribe = [_split(text) for text in rule.subscribe]


_Filter = tuple[Levels, tuple[Template, ...]]
"""The levels of a filter, and if it has placeholders the same as templates."""


def _split(text: str) -> _Filter:
    levels = tuple(text.split("/"))
    return levels, tuple(map(Template, levels)) if Template(text).placeholders else ()


def _filled(filters: Iterable[_Filter], values: Mapping[str, str]) -> Iterable[Levels]:
    """The filters of a rule for one client, without those that have a placeholder whose value would change what the filter means."""
    for levels, templates in filters:
        if not templates:
            yield levels
        elif all(fits_level(values[name]) for template in templates for name in template.placeholders):
            filled = tuple(template.fill(values) for template in templates)
            # A login or client id must not make a rule for other topics than those that the operator sees in it.
            if not filled[0].startswith("$") or levels[0].startswith("$"):
                yield filled


def _match_any(filters: Sequence[Levels], topic: str) -> bool:
    return any(matches(levels, topic) for levels in filters)
