"""Types of members that several requests and replies have: what a member means to a client, and which values the server takes.

A member's ``description`` is published in the reference, and so is ``extra_json_schema``. Neither of them is checked while a message is
decoded: handlers check, and tests compare what they refuse with what is published.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, UnsetType

from dhtwisted.wire.fields import MAX_NAME, MAX_SUBSCRIPTION_LIST, Integer

REQUIRED = Meta(extra={"required": True})
"""A request without this member is refused."""

# Texts

WITHOUT_NUL = {"pattern": r"^[^\x00]*$"}
Text = Annotated[str, Meta(extra_json_schema=WITHOUT_NUL)]
ShortText = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_NAME} | WITHOUT_NUL)]
MessageName = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_NAME} | WITHOUT_NUL)]
Label = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": 128} | WITHOUT_NUL)]
Description = Annotated[str, Meta(extra_json_schema={"maxLength": 128} | WITHOUT_NUL)]
ConfigurationName = Annotated[str, Meta(description="name of the value", extra_json_schema={"minLength": 1, "maxLength": 32} | WITHOUT_NUL)]
Login = Annotated[str, Meta(description="the login; no other user may have it", extra_json_schema={"pattern": "^[A-Za-z0-9_@.-]{3,128}$"})]
Password = Annotated[str, Meta(description="the password", extra_json_schema={"minLength": 6, "maxLength": 128})]
Time = Annotated[str, Meta(extra_json_schema={"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}$"})]
"""A time as the server writes it."""

# Ids

DEVICE_ID = {"pattern": "^[a-zA-Z0-9-]{1,48}$"}
DeviceId = Annotated[str, Meta(description="id of the device: 1 to 48 letters, digits and dashes", extra_json_schema=DEVICE_ID)]
UserId = Annotated[Integer, Meta(description="id of the user")]
NetworkId = Annotated[Integer, Meta(description="id of the network")]
DeviceTypeId = Annotated[Integer, Meta(description="id of the device type")]
CommandId = Annotated[Integer, Meta(description="id of the command")]
PermissionName = Annotated[Raw, Meta(extra_json_schema={"type": ["string", "integer"]})]
"""The name or number of a permission."""

RightsId = Annotated[str, Meta(extra_json_schema={"pattern": r"^(\*|[0-9]{1,18})$"})]
"""A network or device type in the rights of a token."""

AccessTokenText = Annotated[
    str, Meta(description="an access token: for `authenticate`, and for the REST header `Authorization: Bearer ...`")
]

# What clients store

ClientData = Annotated[Raw, Meta(description="any JSON that clients store here")]
ChangedClientData = Annotated[Raw, Meta(description="any JSON that clients store here. Unchanged if absent; null deletes it")]

# Users

IntroReviewed = Annotated[bool, Meta(description="a flag that clients store here")]
Role = Annotated[Integer, Meta(description="0: administrator, 1: client", extra_json_schema={"enum": [0, 1]})]
Status = Annotated[Integer, Meta(description="0: active, 1: locked out, 2: disabled", extra_json_schema={"enum": [0, 1, 2]})]

# Which ones a list has, and in which order

ExactName = Annotated[str, Meta(description="only with exactly this name")]
NamePattern = Annotated[ShortText, Meta(description="only names that match this pattern: `%` is any text, `_` is any one character")]
SortOrder = Annotated[str, Meta(description="ascending or descending. Default: ascending", extra_json_schema={"enum": ["ASC", "DESC"]})]
SortByIdOrName = Annotated[str, Meta(description="what to sort by", extra_json_schema={"enum": ["id", "name"]})]
Skip = Annotated[Integer, Meta(description="how many to skip", extra_json_schema={"minimum": 0})]
Take = Annotated[Integer, Meta(description="how many to return at most. Default: 100; over REST all", extra_json_schema={"minimum": 0})]
TakeOfAll = Annotated[Integer, Meta(description="how many to return at most. Default: all", extra_json_schema={"minimum": 0})]
More = Annotated[
    bool | UnsetType,
    Meta(
        description="true if the list was cut at `limits.list_bytes` or `limits.list_size`; a request with `skip` returns the rest. "
        "Absent otherwise, and always over REST",
        extra_json_schema={"const": True},
    ),
]
"""Of a reply that has a list. The member is called ``more``."""

# Messages

MessageOrder = Annotated[
    SortOrder, Meta(description="ascending or descending. Default: descending if `sortField` is given and over REST, else ascending")
]
MessageTake = Annotated[
    Integer, Meta(description="how many to return at most. Default: 100. Below 0: an empty list over REST, an error over WebSocket")
]
MessageSkip = Annotated[Integer, Meta(description="how many to skip. Below 0: an empty list over REST, an error over WebSocket")]
Payload = Annotated[Raw, Meta(description="any JSON, for the receiver")]
LIFETIME = Meta(
    description="in seconds, from when the server received the command, whatever its `timestamp` is. After that, a new subscription does "
    "not get the command from the storage. The server does nothing else with it; the rest is up to the receiver"
)
Result = Annotated[Raw, Meta(description="any JSON: the result of the command")]
OwnTime = Annotated[Time, Meta(description="when it was inserted, or the time that its client gave")]
LastUpdated = Annotated[Time, Meta(description="when it was inserted or last updated")]

# Filters of subscriptions and polls

AT_MOST = {"maxItems": MAX_SUBSCRIPTION_LIST}
MessageNames = Annotated[list[ShortText], Meta(description="only with one of these names")]
PollLimit = Annotated[
    Integer,
    Meta(
        description="how many to return at most; 0 means all. Default: 100 and the rest of the last one's millisecond",
        extra_json_schema={"minimum": 0},
    ),
]
WaitTimeout = Annotated[
    Integer, Meta(description="how long to wait at most, in seconds. Default: 30", extra_json_schema={"minimum": 0, "maximum": 60})
]
