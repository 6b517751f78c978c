"""The words of the API: what each member means, to what the server holds it, and which requests cannot do without it.

Facts that the structs of the action table do not have. Nothing here decodes or checks; handlers do. The tests of the API against its own
description find out where the two part.
"""

from __future__ import annotations

from collections import namedtuple

from dhtwisted.wire.fields import MAX_NAME, MAX_SUBSCRIPTION_LIST

Member = namedtuple("Member", "meaning keywords")
"""``keywords``: of JSON Schema, for values other than null."""


def _says(meaning, **keywords):
    return Member(meaning, keywords)


TEXT = {"pattern": r"^[^\x00]*$"}
NAME = {"minLength": 1, "maxLength": MAX_NAME} | TEXT
LABEL = {"minLength": 1, "maxLength": 128} | TEXT
KEY = {"minLength": 1, "maxLength": 32} | TEXT
NAMES = {"items": {"maxLength": MAX_NAME} | TEXT}
SEVERAL = {"maxItems": MAX_SUBSCRIPTION_LIST}
OWN_TIME = "its own time, as of a measurement; kept, also when it is long ago"
AHEAD = "More than a minute ahead of the server's time, or absent: the server's time"
BY_OWN_TIME = ", by the time that its client gave it if it gave one"
GIVEN_OR_NOW = "when it was inserted, or the time that its client gave it"
WRITTEN_TIMESTAMP = {"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}$"}
DEVICE_ID = {"pattern": "^[a-zA-Z0-9-]{1,48}$"}
TOKEN_IDS = {"items": {"pattern": r"^(\*|[0-9]{1,18})$"}}
ROLE, STATUS = {"enum": [0, 1]}, {"enum": [0, 1, 2]}
ORDER = {"enum": ["ASC", "DESC"]}
MESSAGE_ORDER = "Absent: descending with a `sortField` and over REST, else ascending"
CUT = "true when the list is cut at `limits.list_bytes` or `limits.list_size`"
NOT_CUT = "Else absent, and over REST"
BELOW = "Below 0: nothing over REST, refused over WebSocket"

MEMBERS = {
    # Tokens and identity
    "Token.login": _says("the user's login", pattern=r"\S"),
    "Token.password": _says("the user's password", minLength=1),
    "Authenticate.token": _says("an access token"),
    "accessToken": _says("for `authenticate`, and for the header `Authorization: Bearer ...` of REST"),
    "refreshToken": _says("for `token/refresh`"),
    "TokenRefresh.refreshToken": _says("a refresh token", minLength=1),
    "UserUpdate.refreshToken": _says("a refresh token of the user, to be replaced when a new password of the caller's own ends it", **TEXT),
    "UserUpdateCurrent.refreshToken": _says("a refresh token of the user, to be replaced when the new password ends it", **TEXT),
    "payload": _says("the rights of the tokens"),
    "actions": _says("permissions, by name or number; `*` for all. Absent: none", items={"type": ["string", "integer"]}),
    "TokenPayload.userId": _says("whose tokens they are"),
    "TokenPayload.networkIds": _says("ids of networks; `*` for all. Absent: none", **TOKEN_IDS),
    "TokenPayload.deviceTypeIds": _says("ids of device types; `*` for all. Absent: all that the user may use", **TOKEN_IDS),
    "TokenPayload.deviceId": _says("the only device that the tokens are good for; it need not exist yet. Absent: any", **DEVICE_ID),
    "TokenPayload.label": _says("what `token/list` calls them; only together with `deviceId`", **LABEL),
    "TokenList.deviceId": _says("of this device. Absent: of any"),
    "TokenRevoke.tokenId": _says("an id that `token/list` gives"),
    "DeviceTokens.tokens": _says("what is kept of tokens for one device, the oldest first"),
    "DeviceTokenResource.id": _says("for `token/revoke`"),
    "DeviceTokenResource.label": _says("what their maker calls them"),
    "DeviceTokenResource.created": _says("when they were made", **WRITTEN_TIMESTAMP),
    "DeviceTokenResource.expires": _says("when the last of them ends", **WRITTEN_TIMESTAMP),
    "expiration": _says("when both tokens end. Absent: as after a login"),
    "refreshExpiration": _says("when the refresh token ends. Absent: `expiration`"),
    # Server
    "info": _says("about the server"),
    "apiVersion": _says("the version of the DeviceHive API that is spoken"),
    "serverTimestamp": _says("the server's time", **WRITTEN_TIMESTAMP),
    "restServerUrl": _says("where the REST API is"),
    "webSocketServerUrl": _says("where the WebSocket is"),
    "cacheInfo": _says("about the server's cache"),
    "cacheStats": _says("a text; how much is in the cache is told to those who say who they are"),
    "clusterInfo": _says("about the cluster"),
    "bootstrap.servers": _says("always `none`"),
    "zookeeper.connect": _says("always `none`"),
    # Devices
    "deviceId": _says("id of the device: letters, digits and dashes, at most 48", **DEVICE_ID),
    "device": _says("the device"),
    "devices": _says("the devices"),
    "DeviceResource.id": _says("id of the device"),
    "DeviceFields.name": _says("name of the device. Absent on creation: its id", **LABEL),
    "name": _says("the name"),
    "data": _says("whatever clients keep there. Absent: unchanged; null: cleared"),
    "DeviceResource.data": _says("whatever clients keep there"),
    "networkId": _says("id of the network"),
    "DeviceFields.networkId": _says("id of its network. Absent on creation: the lowest one assigned to the user"),
    "deviceTypeId": _says("id of the device type"),
    "DeviceFields.deviceTypeId": _says("id of its device type. Absent on creation: the lowest permitted one"),
    "isBlocked": _says("whether the device is blocked. Absent on creation: no"),
    "DeviceCount.name": _says("only with exactly this name"),
    "DeviceCount.networkId": _says("only in this network"),
    "DeviceCount.deviceTypeId": _says("only of this device type"),
    "DeviceCount.networkName": _says("only in the network with this name"),
    "DeviceList.sortField": _says("in which order; `network` and `devicetype` by id", enum=["name", "network", "devicetype", "status"]),
    # Networks and device types
    "network": _says("the network"),
    "networks": _says("the networks"),
    "deviceType": _says("the device type"),
    "deviceTypes": _says("the device types"),
    "description": _says("any text"),
    "NewGroup.id": _says("not to be given", const=None),
    "NewGroup.name": _says("the name, that no other one has", **LABEL),
    "NewGroup.description": _says("any text", maxLength=128, **TEXT),
    "GroupChange.name": _says("the name, that no other one has. Absent: unchanged", **LABEL),
    "GroupChange.description": _says("any text. Absent: unchanged", maxLength=128, **TEXT),
    "force": _says("with its devices; without this, one that has devices is not deleted"),
    "GroupWithDevices.devices": _says("those of its devices that the caller may use"),
    "more": _says(f"{CUT}: `skip` gives the rest. {NOT_CUT}", const=True),
    "GroupWithDevices.more": _says(f"{CUT}: `device/list` with the id and `skip` gives the rest. {NOT_CUT}", const=True),
    "UserWithNetworks.more": _says(f"{CUT}: all are there over REST. {NOT_CUT}", const=True),
    "NetworkCount.name": _says("only with exactly this name"),
    "NetworkList.sortField": _says("in which order", enum=["id", "name"]),
    "DeviceTypeCount.name": _says("only with exactly this name"),
    "DeviceTypeList.sortField": _says("in which order", enum=["id", "name"]),
    # Users
    "user": _says("the user"),
    "users": _says("the users"),
    "current": _says("the user who asks"),
    "userId": _says("id of the user"),
    "UserChange.login": _says("the login, that no other one has", pattern="^[A-Za-z0-9_@.-]{3,128}$"),
    "UserChange.password": _says("the password", minLength=6, maxLength=128),
    "UserChange.role": _says("0 administrator, 1 client", **ROLE),
    "UserChange.status": _says("0 active, 1 locked out, 2 disabled", **STATUS),
    "UserChange.introReviewed": _says("whatever clients keep there"),
    "NewUser.data": _says("whatever clients keep there"),
    "NewUser.status": _says("0 active, 1 locked out, 2 disabled. Absent: 0", **STATUS),
    "allDeviceTypesAvailable": _says("whether every device type is his, those to come too"),
    "NewUser.allDeviceTypesAvailable": _says("whether every device type is his, those to come too. Absent: yes"),
    "InsertedUserResource.data": _says("whatever clients keep there"),
    "introReviewed": _says("whatever clients keep there"),
    "lastLogin": _says("when he was last seen", **WRITTEN_TIMESTAMP),
    "UserResource.login": _says("the login"),
    "UserResource.role": _says("0 administrator, 1 client", **ROLE),
    "UserResource.status": _says("0 active, 1 locked out, 2 disabled", **STATUS),
    "quotas": _says("what he has used of each quota, by its name in the section `[quotas]` of the configuration"),
    "QuotaUse.used": _says("how much there is"),
    "QuotaUse.limit": _says("how much there may be; null: any amount"),
    "UserWithNetworks.networks": _says("the networks that are assigned to him"),
    "UserCount.login": _says("only with exactly this login"),
    "UserCount.loginPattern": _says("only logins like this; `login` is not read then", maxLength=MAX_NAME, **TEXT),
    "UserCount.role": _says("only with this role"),
    "UserCount.status": _says("only with this status"),
    "UserList.sortField": _says("in which order", enum=["id", "login"]),
    # Configuration
    "configuration": _says("the name and its value"),
    "ConfigurationGet.name": _says("the name", **KEY),
    "ConfigurationPut.name": _says("the name", **KEY),
    "ConfigurationPut.value": _says("the value", **LABEL),
    "ConfigurationDelete.name": _says("the name", **KEY),
    "value": _says("the value"),
    "entityVersion": _says("counts the changes"),
    # Lists
    "namePattern": _says("only names like this: `%` stands for any text, `_` for one character", maxLength=MAX_NAME, **TEXT),
    "sortOrder": _says("ascending or descending. Absent: ascending", **ORDER),
    "take": _says("at most so many. Absent: 100, over REST all", minimum=0),
    "TokenList.take": _says("at most so many. Absent: all", minimum=0),
    "UserGetDeviceTypes.take": _says("at most so many. Absent: all", minimum=0),
    "SubscriptionList.take": _says("at most so many. Absent: all", minimum=0),
    "skip": _says("without the first so many", minimum=0),
    "count": _says("how many there are"),
    # Commands and notifications
    "id": _says("its id"),
    "commandId": _says("id of the command"),
    "notificationId": _says("id of the notification"),
    "command": _says("the command"),
    "commands": _says("the commands"),
    "notification": _says("the notification"),
    "notifications": _says("the notifications"),
    "CommandResource.userId": _says("who inserted it"),
    "InsertedCommandResource.userId": _says("who inserted it"),
    "parameters": _says("any JSON, for the receiver"),
    "lifetime": _says(
        "in seconds, from when the server got the command, whatever its `timestamp`. Past that, it is not among the stored commands that a "
        "new subscription is sent; all else is for the receiver"
    ),
    "status": _says("what became of it"),
    "result": _says("any JSON, from whoever carried it out"),
    "lastUpdated": _says("when it was inserted or last updated", **WRITTEN_TIMESTAMP),
    "NewCommand.command": _says("name of the command", **NAME),
    "NewCommand.status": _says("a status to begin with", maxLength=MAX_NAME, **TEXT),
    "NewCommand.timestamp": _says(f"{OWN_TIME}, which also becomes its first `lastUpdated`. {AHEAD}"),
    "CommandChange.status": _says("what became of it. Absent: unchanged", maxLength=MAX_NAME, **TEXT),
    "CommandChange.result": _says("any JSON, from whoever carried it out. Absent: unchanged"),
    "CommandResource.command": _says("name of the command"),
    "CommandResource.timestamp": _says(GIVEN_OR_NOW, **WRITTEN_TIMESTAMP),
    "InsertedCommandResource.timestamp": _says(GIVEN_OR_NOW, **WRITTEN_TIMESTAMP),
    "NewNotification.notification": _says("name of the notification", **NAME),
    "NewNotification.timestamp": _says(f"{OWN_TIME}. {AHEAD}"),
    "NotificationResource.notification": _says("name of the notification"),
    "NotificationResource.timestamp": _says(GIVEN_OR_NOW, **WRITTEN_TIMESTAMP),
    "InsertedNotificationResource.timestamp": _says(GIVEN_OR_NOW, **WRITTEN_TIMESTAMP),
    "start": _says("only later than this"),
    "end": _says("only earlier than this"),
    "names": _says("only with one of these names", **NAMES),
    "returnUpdated": _says("only commands that have been updated"),
    "CommandList.sortOrder": _says(f"ascending or descending. {MESSAGE_ORDER}", **ORDER),
    "CommandList.take": _says(f"at most so many. Absent: 100. {BELOW}"),
    "CommandList.skip": _says(f"without the first so many. {BELOW}"),
    "CommandList.command": _says("only with this name; `names` is not read then"),
    "CommandList.status": _says("only with this status, in whatever case"),
    "CommandList.sortField": _says("in which order", enum=["timestamp", "command", "status"]),
    "NotificationList.sortOrder": _says(f"ascending or descending. {MESSAGE_ORDER}", **ORDER),
    "NotificationList.take": _says(f"at most so many. Absent: 100. {BELOW}"),
    "NotificationList.skip": _says(f"without the first so many. {BELOW}"),
    "NotificationList.notification": _says("only with this name; `names` is not read then"),
    "NotificationList.sortField": _says("in which order", enum=["timestamp", "notification"]),
    # Subscriptions and polls
    "subscriptionId": _says("id of the subscription; every event carries it"),
    "CommandUnsubscribe.subscriptionId": _says("which one. Absent: all subscriptions to commands"),
    "NotificationUnsubscribe.subscriptionId": _says("which one. Absent: all subscriptions to notifications"),
    "subscriptions": _says("the subscriptions of this connection"),
    "type": _says("`command` or `notification`"),
    "SubscriptionList.type": _says("only subscriptions to this: `command` or `notification`"),
    "SubscriptionResource.timestamp": _says("as it was given", **WRITTEN_TIMESTAMP),
    "deviceIds": _says("the older form of `deviceId`, which wins", items=DEVICE_ID, **SEVERAL),
    "networkIds": _says("only from these networks", **SEVERAL),
    "deviceTypeIds": _says("only from these device types", **SEVERAL),
    "NotificationSubscribe.names": _says("only with one of these names", **NAMES, **SEVERAL),
    "NotificationSubscribe.timestamp": _says(f"first what is stored from then on{BY_OWN_TIME}. Absent: nothing of it"),
    "NotificationSubscribe.limit": _says("at most so many of what is stored", minimum=0),
    "returnUpdatedCommands": _says("updates of commands instead of new commands"),
    "CommandGet.returnUpdatedCommands": _says("only if it has been updated"),
    "CommandPoll.timestamp": _says(
        f"only what is later{BY_OWN_TIME}. The next poll goes on from the `timestamp` of the last command, or from its `lastUpdated` when "
        "it polls for updates, else it brings them again. Absent: now"
    ),
    "CommandPoll.limit": _says("at most so many, and those of the last one's millisecond; 0 for all. Absent: 100", minimum=0),
    "NotificationPoll.timestamp": _says(
        f"only what is later{BY_OWN_TIME}. The next poll goes on from the `timestamp` of the last notification. Absent: now"
    ),
    "NotificationPoll.limit": _says("at most so many, and those of the last one's millisecond; 0 for all. Absent: 100", minimum=0),
    "waitTimeout": _says("seconds to wait at most. Absent: 30", minimum=0, maximum=60),
}
"""By wire name, or by struct and wire name where it means something else there. A struct has what its bases have."""

REQUIRED = {
    "Authenticate": "token",
    "Token": "login password",
    "TokenRefresh": "refreshToken",
    "TokenCreate": "payload",
    "TokenPayload": "userId",
    "DeviceGet": "deviceId",
    "DeviceSave": "deviceId device",
    "DeviceDelete": "deviceId",
    "NetworkGet": "networkId",
    "NetworkInsert": "network",
    "NewGroup": "name",
    "NetworkUpdate": "networkId network",
    "NetworkDelete": "networkId",
    "DeviceTypeGet": "deviceTypeId",
    "DeviceTypeInsert": "deviceType",
    "DeviceTypeUpdate": "deviceTypeId deviceType",
    "DeviceTypeDelete": "deviceTypeId",
    "UserGet": "userId",
    "UserInsert": "user",
    "NewUser": "login password role",
    "UserUpdate": "userId user",
    "UserUpdateCurrent": "user",
    "UserDelete": "userId",
    "UserGetNetwork": "userId networkId",
    "UserAssignNetwork": "userId networkId",
    "UserUnassignNetwork": "userId networkId",
    "UserGetDeviceType": "userId deviceTypeId",
    "UserGetDeviceTypes": "userId",
    "UserAssignDeviceType": "userId deviceTypeId",
    "UserUnassignDeviceType": "userId deviceTypeId",
    "UserAllowAllDeviceTypes": "userId",
    "UserDisallowAllDeviceTypes": "userId",
    "ConfigurationGet": "name",
    "ConfigurationPut": "name value",
    "ConfigurationDelete": "name",
    "CommandInsert": "deviceId command",
    "NewCommand": "command",
    "CommandGet": "deviceId commandId",
    "CommandList": "deviceId",
    "CommandUpdate": "deviceId commandId command",
    "CommandWait": "deviceId commandId",
    "NotificationInsert": "deviceId notification",
    "NewNotification": "notification",
    "NotificationGet": "deviceId notificationId",
    "NotificationList": "deviceId",
}
"""Struct of a request -> the members without which it is refused."""
